"""What lies in a server's storage, looked at from outside: a folder, or a bucket whose S3 server keeps files."""

import os
import time
from pathlib import Path
from typing import Protocol

from tests.support.s3 import BUCKET, S3Server


class Stored(Protocol):
    """The storage of a server. Keys are as rows of `blobs` have them.

    Attributes:
        locks: whether who writes to an upload keeps others out; else who comes last has it.
    """

    locks: bool

    def path_of(self, key: str) -> Path:
        """The file that has an object's bytes, whether it is there or not."""

    def objects(self) -> dict[str, int]:
        """Sizes of all objects, by their keys."""

    def uploads(self) -> list[str]:
        """A name for each thing that uploads have not finished."""

    def all(self) -> list[str]:
        """A name for everything that lies there, probes of whether it can be written to left out."""

    def age(self, seconds: float) -> None:
        """Have everything in it be older."""


class InFolder:
    """Storage of the filesystem's driver."""

    locks = True

    def __init__(self, root: Path) -> None:
        self._root = root

    def path_of(self, key: str) -> Path:
        return self._root / key

    def objects(self) -> dict[str, int]:
        return _sizes(self._root, self._root / "blobs")

    def uploads(self) -> list[str]:
        return [file.name for file in (self._root / "uploads").iterdir()]

    def all(self) -> list[str]:
        return list(_sizes(self._root, self._root))

    def age(self, seconds: float) -> None:
        _make_older(self._root, seconds)


class InBucket:
    """Storage of the driver for S3, on versitygw.

    Args:
        server: which keeps the bucket.
        prefix: of all names.
    """

    locks = False

    def __init__(self, server: S3Server, prefix: str) -> None:
        self._server = server
        self._prefix = prefix
        self._root = server.folder(prefix)

    def path_of(self, key: str) -> Path:
        return self._root / "objects" / key

    def objects(self) -> dict[str, int]:
        return _sizes(self._root / "objects", self._root / "objects")

    def uploads(self) -> list[str]:
        return list(_sizes(self._root, self._root / "uploads")) + self._multiparts()

    def all(self) -> list[str]:
        kept = [name for name in _sizes(self._root, self._root) if name != "probe"]
        return kept + self._multiparts()

    def age(self, seconds: float) -> None:
        _make_older(self._root, seconds)
        _make_older(self._server.folder(".sgwtmp"), seconds)

    def _multiparts(self) -> list[str]:
        client, begun = self._server.client(), []
        pages = client.get_paginator("list_multipart_uploads").paginate(Bucket=BUCKET, Prefix=f"{self._prefix}/")
        for page in pages:
            begun += [f"unfinished {one['Key']}" for one in page.get("Uploads", [])]
        client.close()
        return begun


def _sizes(root: Path, folder: Path) -> dict[str, int]:
    """Sizes of all that is not a folder, by path below `root`; what goes meanwhile is left out."""
    found = {}
    for path, _, names in os.walk(folder):
        for name in names:
            file = Path(path) / name
            try:
                found[str(file.relative_to(root))] = file.lstat().st_size
            except FileNotFoundError:
                pass
    return found


def _make_older(folder: Path, seconds: float) -> None:
    then = time.time() - seconds
    for path, folders, names in os.walk(folder):
        for name in (*folders, *names):
            os.utime(Path(path) / name, (then, then), follow_symlinks=False)
