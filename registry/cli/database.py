"""What commands do that work on a registry's database, whether a server runs on it or not."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from registry.cli.options import fail, settings_of
from registry.db.connection import Database
from registry.db.migrate import REVISION
from registry.db.place import place_of
from registry.errors import Unavailable
from registry.settings import Settings

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

    with failing_if_unavailable():
        return asyncio.run(run())


@contextmanager
def failing_if_unavailable() -> Iterator[None]:
    """End the command, saying why, if the database can't be used."""
    try:
        yield
    except Unavailable as error:
        fail(str(error))
