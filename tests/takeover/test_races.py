"""Pushes to the other registry in the middle of a run: what is seen of them is whole."""

from collections.abc import AsyncIterator, Callable

import pytest

from registry.db.sqlite import SqliteDatabase
from registry.services.takeover import Rules, Takeover
from registry.services.takeover_report import Report
from storage.foreign import ForeignStorage
from tests.takeover.conftest import Ours
from tests.takeover.storages import Storage

pytestmark = pytest.mark.anyio


class Interrupted:
    """A storage into which somebody pushes when a folder is about to be listed."""

    def __init__(self, storage: ForeignStorage, before: str, push: Callable[[], object]) -> None:
        self._storage = storage
        self._before = before
        self._push = push
        self.place, self.at_once = storage.place, storage.at_once
        self.check, self.read, self.sizes, self.close = storage.check, storage.read, storage.sizes, storage.close

    def folders(self, path: str) -> AsyncIterator[list[str]]:
        if path.endswith(self._before):
            self._push()
        return self._storage.folders(path)


@pytest.mark.parametrize("before", ["_layers", "_manifests/revisions", "_manifests/tags"])
async def test_what_is_pushed_meanwhile_is_whole_or_not_seen(ours: Ours, before: str) -> None:
    storage = Storage(ours.there.root)
    storage.image("app", "v1")
    folder = Interrupted(ours.there.foreign(), f"app/{before}", lambda: storage.image("app", "v2"))
    database, report = SqliteDatabase(ours.data / "stowage.sqlite3"), Report()
    await database.start()
    try:
        await Takeover(database, folder, Rules(4 * 1024 * 1024, "deny"), report).run()
    finally:
        await folder.close()
        await database.stop()
    assert report.left_out.listed == []
    assert (report.tags, report.manifests, report.blobs) == (2, 2, 4)
    assert ours.rows("SELECT count(*) FROM sparse_edges") == [(0,)]
