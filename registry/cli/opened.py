"""What commands do that work on a registry's database and storage, whether a server runs on them or not."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from registry.cli.options import fail, settings_of
from registry.db.connection import Database
from registry.db.migrate import REVISION
from registry.db.place import place_of
from registry.errors import RegistryError, Unavailable
from registry.opened import Opened, open_registry
from registry.settings import Settings
from storage.errors import StorageError

T = TypeVar("T")


def registry_settings(config: Path | None, data: Path | None) -> Settings:
    """Return the settings of a registry whose database is there and has this version's schema, or end the command."""
    settings = settings_of(config, {"data": data})
    place = place_of(settings)
    try:
        place.make_way()  # on a full disk it can't even be read
        found = place.inspect()
    except Unavailable as error:
        fail(str(error))
    if found.revision is None:
        fail(f"there is no registry's database at {place.name}: say --data or --config as for `stowage serve`")
    has = f"the database {place.name} has schema {found.revision}"
    if found.is_newer:
        fail(f"{has}, which this version does not know: run a newer version")
    if found.is_older:
        fail(f"{has}, {REVISION} is needed: run `stowage migrate` first")
    return settings


def in_database(settings: Settings, work: Callable[[Database], Awaitable[T]]) -> T:
    """Run `work` on the open database, or end the command with what is wrong."""

    async def run() -> T:
        database = place_of(settings).open()
        await database.start()
        try:
            return await work(database)
        finally:
            await database.stop()

    try:
        return asyncio.run(run())
    except Unavailable as error:
        fail(str(error))


def in_registry(settings: Settings, work: Callable[[Opened], Awaitable[T]]) -> T:
    """Run `work` on the open database and storage, or end the command with what is wrong."""

    async def run() -> T:
        async with open_registry(settings) as opened:
            return await work(opened)

    try:
        return asyncio.run(run())
    except (RegistryError, StorageError) as error:
        fail(str(error))
