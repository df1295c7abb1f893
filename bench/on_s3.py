"""Servers that keep their blobs in a bucket of versitygw, each below a prefix of its own."""

import json
from pathlib import Path

from bench.servers import Distribution, DockerRegistry, Stowage
from tests.support.s3 import ACCESS_KEY_ID, BUCKET, REGION, SECRET_ACCESS_KEY, S3Server, server_settings


class StowageOnS3(Stowage):
    """Stowage with its blobs in the bucket, and its database in a folder."""

    def __init__(self, store: S3Server, folder: Path) -> None:
        super().__init__(folder)
        self._store = store

    def environment(self) -> dict[str, str]:
        """Return the environment, with the settings of the bucket."""
        return {**super().environment(), **server_settings(self._store.url, prefix=self.folder.name)}


class DistributionOnS3(Distribution):
    """CNCF distribution v3 with everything in the bucket. It sends layers itself, as Stowage does by default."""

    def __init__(self, store: S3Server, folder: Path) -> None:
        super().__init__(folder)
        self._store = store

    def driver(self) -> str:
        """Return the line of the configuration that says where it stores."""
        return s3_driver(self._store, self.folder.name)


class DockerRegistryOnS3(DockerRegistry):
    """Debian's docker-registry with everything in the bucket."""

    def __init__(self, store: S3Server, folder: Path) -> None:
        super().__init__(folder)
        self._store = store

    def driver(self) -> str:
        """Return the line of the configuration that says where it stores."""
        return s3_driver(self._store, self.folder.name)


def s3_driver(store: S3Server, prefix: str) -> str:
    """Return the lines of distribution's configuration for the driver `s3`."""
    options = {
        "accesskey": ACCESS_KEY_ID,
        "secretkey": SECRET_ACCESS_KEY,
        "region": REGION,
        "regionendpoint": store.url,
        "forcepathstyle": True,
        "bucket": BUCKET,
        "rootdirectory": f"/{prefix}",
    }
    return f"s3: {json.dumps(options)}\n  redirect: {{disable: true}}"
