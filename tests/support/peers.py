"""Other registries, whose storage is taken over: what is pushed to them, and whether Stowage serves the same."""

import json
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from bench.on_s3 import DistributionOnS3, DockerRegistryOnS3
from bench.servers import PEERS, Server
from tests.factories import PushedImage, digest_of, new_image
from tests.support.images import EVERY_MANIFEST, OCI_MANIFEST
from tests.support.ports import free_port
from tests.support.s3 import BUCKET, S3Server

_ON_S3 = {"distribution": DistributionOnS3, "docker-registry": DockerRegistryOnS3}
ACCEPT = {"Accept": EVERY_MANIFEST}


class Peer:
    """CNCF distribution v3, or Debian's docker-registry; they answer a little differently from Stowage.

    Args:
        folder: where its log goes, and its data, if there is no `store`.
        store: has its data in the bucket, below a prefix with the name of the folder.

    Attributes:
        root: where its files are: of versitygw every object is one.
    """

    def __init__(self, kind: str, folder: Path, store: S3Server | None = None) -> None:
        if store is None:
            self._server: Server = PEERS[kind](folder)
            self.root = folder / "data"
        else:
            self._server = _ON_S3[kind](store, folder)
            self.root = store.data / BUCKET / folder.name
        self._server.port = free_port()  # its own is one that the kernel may give to a connection before it listens
        self.address = f"127.0.0.1:{self._server.port}"
        self.client = httpx.Client(base_url=f"http://{self.address}", trust_env=False, timeout=120)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.client.close()
        self._server.stop()

    def push_blob(self, repository: str, content: bytes, algorithm: str = "sha256") -> str:
        """Push a blob and return the digest it was pushed by."""
        started = self.client.post(f"/v2/{repository}/blobs/uploads/")
        assert started.status_code == 202, started.text
        digest = digest_of(content, algorithm)
        url = httpx.URL(started.headers["location"]).copy_merge_params({"digest": digest})
        pushed = self.client.put(url, content=content)
        assert pushed.status_code == 201, pushed.text
        return digest

    def push_manifest(
        self, repository: str, content: bytes, reference: str = "", media_type: str = OCI_MANIFEST
    ) -> str:
        """Push a manifest, by digest if no tag is given, and return its digest."""
        answer = self.client.put(
            f"/v2/{repository}/manifests/{reference or digest_of(content)}",
            content=content,
            headers={"Content-Type": media_type},
        )
        assert answer.status_code == 201, answer.text
        return digest_of(content)

    def push_image(self, repository: str, *tags: str, **fields: object) -> PushedImage:
        """Push a new image under tags."""
        image = new_image(**fields)  # type: ignore[arg-type]  # fields of the manifest
        for blob in image.blobs:
            self.push_blob(repository, blob)
        for tag in tags or ("",):
            self.push_manifest(repository, image.manifest, tag)
        return image

    def tags(self, repository: str) -> list[str]:
        """Every tag."""
        return sorted(self.client.get(f"/v2/{repository}/tags/list").json()["tags"] or [])


def assert_same(peer: httpx.Client, stowage: httpx.Client, repository: str, references: list[str]) -> set[str]:
    """Pull everything below the references from both, compare every byte, and return the digests that were compared."""
    compared: set[str] = set()
    waiting = list(references)
    while waiting:
        reference = waiting.pop()
        if reference in compared:
            continue
        there, here = (one.get(f"/v2/{repository}/manifests/{reference}", headers=ACCEPT) for one in (peer, stowage))
        assert (there.status_code, here.status_code) == (200, 200), (repository, reference, here.text)
        assert there.content == here.content
        assert there.headers["content-type"] == here.headers["content-type"]
        digest = here.headers["docker-content-digest"]
        assert digest_of(here.content) == digest == there.headers["docker-content-digest"]
        compared |= {digest, reference}
        manifest = json.loads(here.content)
        waiting += [child["digest"] for child in manifest.get("manifests", [])]
        for blob in [*filter(None, [manifest.get("config")]), *manifest.get("layers", [])]:
            if blob["digest"] in compared:
                continue
            bytes_there, bytes_here = (one.get(f"/v2/{repository}/blobs/{blob['digest']}") for one in (peer, stowage))
            assert (bytes_there.status_code, bytes_here.status_code) == (200, 200), (repository, blob)
            assert bytes_there.content == bytes_here.content
            assert digest_of(bytes_here.content, blob["digest"].partition(":")[0]) == blob["digest"]
            compared.add(blob["digest"])
    return {one for one in compared if ":" in one}
