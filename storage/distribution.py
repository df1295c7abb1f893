"""The layout of CNCF distribution's storage, and a driver that serves blobs from where they lie in a folder.

Source: distribution, `registry/storage/paths.go`. Keys are paths below `docker/registry/v2`, so that a row says which
file is meant. Nothing is ever written there.
"""

import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from storage import beneath
from storage.attic import check_name
from storage.deleting import delete_each
from storage.digest import Digest, Hasher, algorithm_of, encoded_of
from storage.driver import StoredObject, UploadWriter
from storage.errors import InvalidKey, ObjectMissing, StorageError, StorageUnavailable
from storage.filesystem import THREADS, FilesystemDriver
from storage.filesystem_files import delete_file, explained
from storage.filesystem_reader import READ_NOW_LIMIT, FilesystemReader
from storage.threads import Threads

LAYOUT = "docker/registry/v2"
"""Where everything is, below the root that the registry's configuration names."""

_KEY = re.compile(r"blobs/(?:sha256/([0-9a-f]{2})/\1[0-9a-f]{62}|sha512/([0-9a-f]{2})/\2[0-9a-f]{126})/data\Z")


def key_of(digest: Digest) -> str:
    """Return the path, below LAYOUT, of the file that holds the bytes with this digest."""
    encoded = encoded_of(digest)
    return f"blobs/{algorithm_of(digest)}/{encoded[:2]}/{encoded}/data"


def is_key(text: str) -> bool:
    """Say whether `text` is what `key_of` returns for some digest."""
    return _KEY.match(text) is not None


def checked(key: str) -> str:
    """Return `key` if it is one. Raises InvalidKey if it is not."""
    if not is_key(key):
        raise InvalidKey(f"not a key of this store: {key[:200]!r}")
    return key


class NoAttic:
    """Nothing is kept in another registry's storage."""

    def __init__(self, store: str) -> None:
        self._store = store

    async def put(self, name: str, source: Path) -> None:
        """Raise StorageUnavailable."""
        self._refuse(name)

    async def get(self, name: str, target: Path) -> None:
        """Raise ObjectMissing."""
        raise ObjectMissing(f"{check_name(name)} does not exist")

    async def remove(self, name: str) -> None:
        """Remove nothing."""
        check_name(name)

    async def files(self) -> list[StoredObject]:
        """List nothing."""
        return []

    def _refuse(self, name: str) -> NoReturn:
        check_name(name)
        raise StorageUnavailable(f"the store {self._store} belongs to another registry: nothing is written there")


class ForeignDriver:
    """What drivers of other registries' storage have in common: they are read, and deleted from where that is allowed.

    Args:
        name: of the store.
        may_delete: asked before each deletion.
    """

    def __init__(self, name: str, may_delete: Callable[[], Awaitable[bool]]) -> None:
        self._name = name
        self._attic = NoAttic(name)
        self._may_delete = may_delete

    @property
    def name(self) -> str:
        """What a blob's row records as its store."""
        return self._name

    @property
    def locks(self) -> bool:
        """True: there are no uploads that anybody could fight over."""
        return True

    @property
    def attic(self) -> NoAttic:
        """Where files that are no content are kept."""
        return self._attic

    async def uploads(self) -> AsyncIterator[StoredObject]:
        """List nothing: uploads there are the other registry's."""
        none: tuple[StoredObject, ...] = ()
        for upload in none:
            yield upload

    async def create_upload(self, upload_id: str) -> str:
        """Raise StorageUnavailable: nothing is written here."""
        self._refuse()

    async def open_upload(
        self, upload_id: str, state: str, offset: int, hasher: Hasher, *, contested: bool = False
    ) -> UploadWriter:
        """Raise StorageUnavailable: nothing is written here."""
        self._refuse()

    async def remove_upload(self, upload_id: str, state: str) -> None:
        """Raise StorageUnavailable: uploads here are the other registry's."""
        self._refuse()

    async def check_deletable(self, key: str) -> None:
        """Return if an object may be deleted. Raises InvalidKey, StorageUnavailable."""
        checked(key)
        if not await self._may_delete():
            raise StorageUnavailable(
                f"cannot delete {key} of the store {self._name}: its takeover is not finished, "
                "and the registry that it belongs to may still need it"
            )

    def _refuse(self) -> NoReturn:
        raise StorageUnavailable(f"the store {self._name} belongs to another registry: nothing is written there")


class DistributionDriver(ForeignDriver):
    """A BlobDriver for blobs that another registry has stored in a folder.

    Args:
        name: of the store.
        root: the other registry's `rootdirectory`.
        may_delete: asked before each deletion; while it says no, `delete` raises StorageUnavailable.
    """

    def __init__(self, name: str, root: Path, may_delete: Callable[[], Awaitable[bool]]) -> None:
        super().__init__(name, may_delete)
        self._root = os.path.join(os.path.realpath(root), LAYOUT)
        self._listing = FilesystemDriver(Path(self._root))
        self._threads = Threads(THREADS)
        self._scratch = memoryview(bytearray(READ_NOW_LIMIT))

    @property
    def redirects(self) -> bool:
        """False: the folder is this machine's."""
        return False

    async def start(self) -> None:
        """Like `check`."""
        await self.check()

    async def check(self) -> None:
        """Look at the folder. Raises StorageUnavailable."""
        self._check_there()

    async def close(self) -> None:
        """End the threads. Readers must be closed before."""
        await self._threads.close()
        await self._listing.close()

    async def open(self, key: str) -> FilesystemReader:
        """Open an object. Raises ObjectMissing, InvalidKey, StorageUnavailable."""
        try:
            descriptor = beneath.open_file(self._root, checked(key))
        except FileNotFoundError:
            raise self._missing(key) from None
        try:
            with explained("look at", key):
                return FilesystemReader(descriptor, key, self._threads, self._scratch)
        except StorageUnavailable:
            os.close(descriptor)
            raise

    async def size(self, key: str) -> int:
        """Return an object's size in bytes. Raises like `open`."""
        try:
            return beneath.size_of(self._root, checked(key))
        except FileNotFoundError:
            raise self._missing(key) from None

    async def address(self, key: str, client: str) -> str | None:
        """Return None. Raises InvalidKey."""
        checked(key)
        return None

    async def delete(self, key: str) -> None:
        """Delete an object and its folder, durably, in a thread.

        Raises InvalidKey, and StorageUnavailable while the takeover is not finished.
        """
        await self.check_deletable(key)
        await self._threads.run(self._delete, key)
        self._check_there()

    async def delete_many(self, keys: Sequence[str]) -> dict[str, StorageError]:
        """Delete objects, a few at a time. Return what could not be deleted, and why."""
        return await delete_each(self.delete, keys)

    async def objects(self, after: str = "") -> AsyncIterator[StoredObject]:
        """List objects by key, those of manifests too."""
        async for found in self._listing.objects(after):
            if is_key(found.name):
                yield found

    def _delete(self, key: str) -> None:
        folder = os.path.dirname(key)
        try:
            os.close(beneath.open_folder(self._root, folder))
        except FileNotFoundError:
            return
        delete_file(self._root, key)
        with suppress(OSError):  # somebody put something beside it: it stays
            os.rmdir(os.path.join(self._root, folder))

    def _missing(self, key: str) -> ObjectMissing:
        self._check_there()
        return ObjectMissing(f"{key} does not exist")

    def _check_there(self) -> None:
        """Raise StorageUnavailable if the whole store is gone, say unmounted: then nothing is known to be missing."""
        with explained("look at", f"the store {self._name}, {self._root}"):
            os.stat(os.path.join(self._root, "blobs"))
