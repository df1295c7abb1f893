"""A registry as commands have it: its database and storage, opened without a server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from auth.policy import OpenPolicy
from registry.db.connection import Database
from registry.db.place import place_of
from registry.drivers import build_driver, build_imported
from registry.services.blobs import Blobs
from registry.services.expiry_labels import ExpiryLabels
from registry.services.manifests import Manifests
from registry.services.stores import Stores
from registry.settings import Settings
from storage.contents import Contents
from storage.driver import BlobDriver


@dataclass(frozen=True, slots=True)
class Opened:
    """A registry as commands work on it, beside the servers that may run."""

    database: Database
    driver: BlobDriver
    stores: Stores
    blobs: Blobs
    manifests: Manifests


@asynccontextmanager
async def open_registry(settings: Settings) -> AsyncIterator[Opened]:
    """Open database and storage for a command. The schema must be this version's.

    Raises:
        Unavailable, StorageUnavailable: they can't be used.
    """
    database = place_of(settings).open()
    driver = build_driver(settings)
    stores = Stores(database, driver, partial(build_imported, settings))
    try:
        await database.start()
        await driver.start()
        hold_s = settings.collection.hold
        blobs = Blobs(database, driver, stores, OpenPolicy(), Contents(0), hold_s=hold_s)
        labels = ExpiryLabels(database, blobs) if settings.retention.labels else None
        manifests = Manifests(database, sparse=settings.manifests.sparse, labels=labels)
        yield Opened(database, driver, stores, blobs, manifests)
    finally:
        await database.stop()
        await stores.close()
        await driver.close()
