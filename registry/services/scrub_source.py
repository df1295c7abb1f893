"""Another place where the bytes of damaged blobs may be had from: a folder that holds them by their digests."""

import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

from registry.db import blobs, scrub
from registry.db.blobs import Blob
from registry.db.connection import Database, Transaction
from registry.services.scrub import record_recovery
from registry.services.takeover_blobs import Copier
from registry.services.takeover_report import Report
from storage.digest import Digest, algorithm_of, encoded_of
from storage.distribution import LAYOUT, key_of
from storage.driver import BlobDriver
from storage.errors import StorageError, StorageUnavailable
from storage.filesystem import FilesystemDriver

_BLOBS = "blobs"


class FolderSource:
    """Blobs in a folder: storage or data of Stowage, the root of CNCF distribution, an OCI image layout.

    Raises:
        StorageUnavailable: the folder is none of these.
    """

    def __init__(self, folder: Path, database: Database, own: BlobDriver) -> None:
        roots = [root for root in (folder, folder / "storage", folder / LAYOUT) if (root / _BLOBS).is_dir()]
        if not roots:
            raise StorageUnavailable(
                f"there are no blobs in {folder}: expected a storage or data folder of Stowage, the root of another "
                "registry's storage (with docker/registry/v2 in it) or an OCI image layout"
            )
        self._database = database
        self._own = own
        self._drivers = [FilesystemDriver(Path(os.path.realpath(root))) for root in roots]

    async def replace(self, damaged: Blob) -> bool:
        """Copy a quarantined blob's bytes from here, and serve those. Return False if they are not here.

        Raises:
            Unavailable: the database or the registry's own storage does not take them.
        """
        for driver in self._drivers:
            copier = Copier(driver, self._own, Report())
            async for key in _keys(driver, damaged.digest):
                copied = await copier.copy(damaged.digest, key)
                if copied.key:
                    return await self._use(damaged, copied.key)
        return False

    async def close(self) -> None:
        """Let go of the folder."""
        for driver in self._drivers:
            await driver.close()

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
