"""The places that blobs lie in: the registry's own store, and those of registries that were taken over."""

from collections.abc import Callable
from pathlib import Path

from registry.db import stores
from registry.db.connection import Database
from storage.distribution import DistributionDriver
from storage.driver import BlobDriver
from storage.errors import StorageUnavailable


def _unmeasured(driver: BlobDriver) -> BlobDriver:
    return driver


class Stores:
    """Drivers by the name that blobs' rows give. Those of other registries are opened when they are first asked for.

    Args:
        own: where everything new goes.
        measured: puts what measures around a driver.
    """

    def __init__(
        self, database: Database, own: BlobDriver, measured: Callable[[BlobDriver], BlobDriver] = _unmeasured
    ) -> None:
        self._database = database
        self._measured = measured
        self._own = own.name
        self._drivers = {own.name: own}
        self._opened: list[BlobDriver] = []

    async def driver_of(self, name: str) -> BlobDriver:
        """Return the driver of a store.

        A store that another process made known a moment ago is found: what is not known here is looked up.

        Raises:
            StorageUnavailable: there is no such store.
        """
        driver = self._drivers.get(name)
        if driver is None:
            driver = await self._open(name)
        return driver

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
        known = self._drivers.get(name)
        if known is not None:  # another request was faster
            return known
        driver = DistributionDriver(name, Path(store.place), lambda: stores.is_finished(self._database, name))
        self._opened.append(driver)
        self._drivers[name] = self._measured(driver)
        return self._drivers[name]
