"""Another place where the bytes of damaged blobs may be had from: a folder that has them, or another registry."""

import os
from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from registry.db import blobs, scrub
from registry.db.blobs import Blob
from registry.db.connection import Database, Transaction
from registry.services.scrub import record_recovery
from registry.services.takeover_blobs import Copied, copy_in
from registry.services.takeover_report import Report
from storage.digest import Digest, algorithm_of, encoded_of
from storage.distribution import LAYOUT, key_of
from storage.driver import BlobDriver, ObjectReader
from storage.errors import ObjectMissing, StorageError, StorageUnavailable
from storage.filesystem import FilesystemDriver
from storage.remote import RemoteRegistry

_BLOBS = "blobs"
_MOST_ASKED = 20
"""So many repositories of another registry are asked for one blob."""


class Origin(Protocol):
    """A place that may have the bytes of a blob."""

    async def fetch(self, damaged: Blob) -> Copied | None:
        """Copy the bytes into the registry's own storage, if they hash to the blob's digest.

        Returns the last thing that was wrong if they could not be had whole, None if they are not there.

        Raises:
            Unavailable: the registry's own storage does not take them.
        """

    async def close(self) -> None:
        """Let go of it."""


class Source:
    """Puts bytes from elsewhere in the place of damaged ones.

    Attributes:
        trouble: what was wrong last with bytes that were there; "" if nothing was.
    """

    def __init__(self, origin: Origin, database: Database, own: BlobDriver) -> None:
        self._origin = origin
        self._database = database
        self._own = own
        self.trouble = ""

    async def replace(self, damaged: Blob) -> bool:
        """Copy a quarantined blob's bytes from there, and serve those. Return False if they can't be had there.

        Raises:
            Unavailable: the database or the registry's own storage does not take them.
        """
        copied = await self._origin.fetch(damaged)
        if copied is None:
            return False
        if not copied.key:
            self.trouble = f"{damaged.digest}: {copied.fault}"
            return False
        return await self._use(damaged, copied.key)

    async def _use(self, damaged: Blob, key: str) -> bool:
        async def work(transaction: Transaction) -> bool:
            names = await scrub.lock(transaction, damaged)
            if names is None:
                return False
            await blobs.move(transaction, damaged, size=damaged.size, store=self._own.name, key=key)
            await record_recovery(transaction, names, damaged, actor="scrub")
            return True

        if await self._database.write(work):
            return True
        with suppress(StorageError):  # somebody pushed it meanwhile; what stays has no row, and a job sweeps it up
            await self._own.delete(key)
        return False


class Folder:
    """An Origin: storage or data of Stowage, the root of CNCF distribution, an OCI image layout.

    Raises:
        StorageUnavailable: the folder is none of these.
    """

    def __init__(self, folder: Path, own: BlobDriver) -> None:
        roots = [root for root in (folder, folder / "storage", folder / LAYOUT) if (root / _BLOBS).is_dir()]
        if not roots:
            raise StorageUnavailable(
                f"there are no blobs in {folder}: expected a storage or data folder of Stowage, the root of another "
                "registry's storage (with docker/registry/v2 in it) or an OCI image layout"
            )
        self._own = own
        self._drivers = [FilesystemDriver(Path(os.path.realpath(root))) for root in roots]

    async def fetch(self, damaged: Blob) -> Copied | None:
        """Try each file that may have the bytes."""
        last: Copied | None = None
        for driver in self._drivers:
            async for key in _keys(driver, damaged.digest):
                last = await _tried(self._own, damaged.digest, driver.open(key)) or last
                if last is not None and last.key:
                    return last
        return last

    async def close(self) -> None:
        """Let go of the folder."""
        for driver in self._drivers:
            await driver.close()


class Registry:
    """An Origin: another registry, asked for a blob in the repositories that show it here, which may be many."""

    def __init__(self, remote: RemoteRegistry, database: Database, own: BlobDriver) -> None:
        self._remote = remote
        self._database = database
        self._own = own

    async def fetch(self, damaged: Blob) -> Copied | None:
        """Ask for it in one repository after the other."""
        last: Copied | None = None
        for _, name in (await scrub.linking(self._database, damaged.id))[:_MOST_ASKED]:
            opening = self._remote.open(name, damaged.digest, damaged.size)
            last = await _tried(self._own, damaged.digest, opening) or last
            if last is not None and last.key:
                return last
        return last

    async def close(self) -> None:
        """Nothing is held between requests."""


async def _tried(own: BlobDriver, digest: Digest, opening: Awaitable[ObjectReader]) -> Copied | None:
    """Copy what can be opened, and say how that went; None if it is not there."""
    try:
        reader = await opening
    except ObjectMissing:
        return None
    except StorageError as error:
        return Copied("", str(error))
    return await copy_in(own, digest, reader, Report())


async def _keys(driver: FilesystemDriver, digest: Digest) -> AsyncIterator[str]:
    """Yield where a digest's bytes may be: as an image layout has them, as distribution has, as Stowage has."""
    algorithm, encoded = algorithm_of(digest), encoded_of(digest)
    yield f"{_BLOBS}/{algorithm}/{encoded}"
    yield key_of(digest)
    prefix = f"{_BLOBS}/{algorithm}/{encoded[:2]}/{encoded}-"
    with suppress(StorageError):
        async for found in driver.objects(prefix):
            if not found.name.startswith(prefix):
                return
            yield found.name
