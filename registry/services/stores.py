"""The places that blobs lie in: the registry's own store, and those of registries that were taken over."""

import asyncio
from collections.abc import Awaitable, Callable

from registry.db import stores
from registry.db.connection import Database
from registry.db.stores import Store
from storage.driver import BlobDriver
from storage.errors import StorageError, StorageUnavailable

Build = Callable[[str, str, Callable[[], Awaitable[bool]]], BlobDriver]
"""Makes the driver of another registry's store of its name, its place, and who is asked before a deletion. May block.

Raises StorageUnavailable.
"""


def _unmeasured(driver: BlobDriver) -> BlobDriver:
    return driver


class Stores:
    """Drivers by the name that blobs' rows give. Those of other registries are opened when they are first asked for.

    Args:
        own: where everything new goes.
        build: makes drivers of other registries' stores.
        measured: puts what measures around a driver.
    """

    def __init__(
        self,
        database: Database,
        own: BlobDriver,
        build: Build,
        measured: Callable[[BlobDriver], BlobDriver] = _unmeasured,
    ) -> None:
        self._database = database
        self._build = build
        self._measured = measured
        self._own = own.name
        self._drivers = {own.name: own}
        self._opened: list[BlobDriver] = []
        self._opening = asyncio.Lock()

    async def driver_of(self, name: str) -> BlobDriver:
        """Return the driver of a store.

        A store that another process made known a moment ago is found: what is not known here is looked up.

        Raises:
            StorageUnavailable: there is no such store, or its driver can't be made.
        """
        driver = self._drivers.get(name)
        if driver is None:
            driver = await self._open(name)
        return driver

    async def check_imported(self) -> None:
        """Ask each store of another registry in which blobs lie whether it answers.

        Raises:
            StorageUnavailable: one does not; the message names those that don't, where they are, and why.
            Unavailable: the database does not.
        """
        asked = await stores.in_use(self._database)
        answers = await asyncio.gather(*map(self._fault, asked))
        faults = [
            f"{one.name}, taken over from {one.place}: {fault}"
            for one, fault in zip(asked, answers, strict=True)
            if fault
        ]
        if faults:
            raise StorageUnavailable("; ".join(faults))

    async def to_delete_from(self) -> list[str]:
        """Return the stores whose objects are the registry's own: not those whose takeover goes on."""
        return [self._own, *await stores.finished(self._database)]

    async def close(self) -> None:
        """Close the drivers that were opened here: not the registry's own."""
        for driver in self._opened:
            await driver.close()
        self._opened.clear()

    async def _open(self, name: str) -> BlobDriver:
        store = await stores.find(self._database, name)
        if store is None:
            raise StorageUnavailable(f"the store {name!r} is not known: it is neither configured nor taken over")
        async with self._opening:
            known = self._drivers.get(name)
            if known is not None:  # another request was faster
                return known
            driver = await asyncio.to_thread(
                self._build, name, store.place, lambda: stores.is_finished(self._database, name)
            )
            self._opened.append(driver)
            self._drivers[name] = self._measured(driver)
            return self._drivers[name]

    async def _fault(self, store: Store) -> str:
        try:
            await (await self.driver_of(store.name)).check()
        except StorageError as error:
            return str(error)
        return ""
