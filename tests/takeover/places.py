"""Where the storage lies that is taken over: in a folder, or in a bucket whose objects are files of versitygw."""

from dataclasses import dataclass, field
from pathlib import Path

from storage.distribution import LAYOUT
from storage.foreign import ForeignStorage
from storage.foreign_bucket import ForeignBucket
from storage.foreign_folder import ForeignFolder
from storage.s3_options import Credentials, S3Options
from tests.support.peers import Peer
from tests.support.s3 import ACCESS_KEY_ID, BUCKET, REGION, SECRET_ACCESS_KEY, S3Server


@dataclass(frozen=True)
class There:
    """A place for the storage of another registry.

    Attributes:
        root: the folder that has, or will have, `docker/registry/v2`.
        source: what `--from` is given.
        settings: environment variables of a Stowage that reads it.
    """

    folder: Path
    root: Path
    source: str
    settings: dict[str, str] = field(default_factory=dict)
    store: S3Server | None = None

    def peer(self, kind: str = "distribution") -> Peer:
        """Another registry that stores there, not started."""
        return Peer(kind, self.folder, self.store)

    def foreign(self) -> ForeignStorage:
        """What reads it for a takeover."""
        if self.store is None:
            return ForeignFolder(self.root)
        return ForeignBucket(self.source, self.options())

    def options(self) -> S3Options:
        """How the bucket is reached."""
        assert self.store is not None
        return S3Options(
            BUCKET,
            endpoint=self.store.url,
            region=REGION,
            prefix=f"{self.folder.name}/{LAYOUT}",
            credentials=Credentials(ACCESS_KEY_ID, SECRET_ACCESS_KEY),
            threads=8,
        )


def in_folder(folder: Path) -> There:
    """A place in a folder."""
    return There(folder, folder / "data", str(folder / "data"))


def in_bucket(folder: Path, store: S3Server) -> There:
    """A place in the bucket, below the name of a folder."""
    credentials = {"ACCESS_KEY_ID": ACCESS_KEY_ID, "SECRET_ACCESS_KEY": SECRET_ACCESS_KEY}
    settings = {"ENDPOINT": store.url, "REGION": REGION, **credentials}
    return There(
        folder,
        store.data / BUCKET / folder.name,
        f"s3://{BUCKET}/{folder.name}",
        {f"STOWAGE_STORAGE__S3__{name}": value for name, value in settings.items()},
        store,
    )
