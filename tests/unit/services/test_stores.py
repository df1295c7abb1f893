"""Which driver has a blob's bytes: the own one, or one of a registry that was taken over meanwhile."""

from functools import partial
from pathlib import Path

import pytest

from registry.db import stores
from registry.db.sqlite import SqliteDatabase
from registry.drivers import build_imported
from registry.services.stores import Stores
from registry.services.together import together
from registry.settings import Settings
from storage.digest import digest_bytes
from storage.distribution import LAYOUT, key_of
from storage.errors import StorageUnavailable
from storage.memory import MemoryDriver
from tests.support.databases import new_sqlite

pytestmark = pytest.mark.anyio


async def test_a_store_is_found_when_it_is_first_asked_for_and_deletes_once_it_is_finished(tmp_path: Path) -> None:
    key = key_of(digest_bytes(b"content"))
    file = tmp_path / "there" / LAYOUT / key
    file.parent.mkdir(parents=True)
    file.write_bytes(b"content")
    new_sqlite(tmp_path / "db")
    database = SqliteDatabase(tmp_path / "db")
    await database.start()
    own = MemoryDriver()
    known = Stores(database, own, partial(build_imported, Settings()))
    try:
        assert await known.driver_of(own.name) is own
        with pytest.raises(StorageUnavailable, match="imported-1"):
            await known.driver_of("imported-1")
        place = str(tmp_path / "there")
        store = await database.write(lambda tx: stores.find_or_add(tx, place))
        driver, same = await together(known.driver_of(store.name), known.driver_of(store.name))
        assert driver is same
        with pytest.raises(StorageUnavailable, match="not finished"):
            await driver.delete(key)
        assert await database.write(lambda tx: stores.finish(tx, store.id))
        assert not await database.write(lambda tx: stores.finish(tx, store.id))
        await driver.delete(key)
        assert not file.exists()
    finally:
        await known.close()
        await database.stop()
