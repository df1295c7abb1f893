"""A rollback, an undelete, a purge that is killed: of each repository all is done, or nothing."""

import os
import signal
import subprocess
import sys

import pytest

from registry.db.connection import Database
from registry.oci.names import RepositoryName
from registry.services.moments import shown
from storage.digest import Digest
from tests.support.databases import Place, PostgresPlace, SqlitePlace
from tests.support.server import ROOT
from tests.unit.services.undoing import Registry

pytestmark = pytest.mark.anyio
NAMES = ("team/a", "team/b", "team/c")
TAGS = tuple(f"t{number}" for number in range(5))


def run(place: Place, number: int, *arguments: str) -> int:
    """Run a command that is killed at the `number`th tag it moves; 0 for never. Return its status."""
    assert isinstance(place, PostgresPlace | SqlitePlace)
    url = place.url if isinstance(place, PostgresPlace) else f"sqlite:///{place.path}"
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.killed", str(number), *arguments],
        cwd=ROOT,
        env={**os.environ, "STOWAGE_DATABASE__URL": url},
        capture_output=True,
        timeout=240,
        check=False,
    )
    assert done.returncode in {0, -signal.SIGKILL}, done.stderr
    return done.returncode


async def test_all_or_nothing_of_a_repository_is_done(place: Place, database: Database) -> None:
    registry = Registry(database)
    first: dict[str, Digest] = {}
    for name in NAMES:
        for tag in TAGS:
            first[name] = await registry.push_image(name, b"a", tag=tag)
    at = shown(await registry.moment())
    second = {name: await registry.push_image(name, b"b", tag=TAGS[0]) for name in NAMES}
    for name in NAMES:
        for tag in TAGS[1:]:
            await registry.push_image(name, b"b", tag=tag)

    async def tags_of(name: str) -> dict[str, Digest]:
        return await registry.tags_at(RepositoryName(name), await registry.moment())

    for number, whole in ((3, 0), (len(TAGS) + 2, 1)):
        # All are tried first, which moves as many tags, and undoes it.
        assert run(place, len(NAMES) * len(TAGS) + number, "rollback", "--project", "team", "--to", at) != 0
        for place_in_order, name in enumerate(NAMES):
            expected = first if place_in_order < whole else second
            assert await tags_of(name) == dict.fromkeys(TAGS, expected[name]), (number, name)
    assert run(place, 0, "rollback", "--project", "team", "--to", at) == 0
    for name in NAMES:
        assert await tags_of(name) == dict.fromkeys(TAGS, first[name])
    assert place.sql("SELECT count(*) FROM tag_history WHERE cause = 'rollback'") == [(str(len(NAMES) * len(TAGS)),)]
    assert place.sql("SELECT count(*) FROM outbox WHERE payload LIKE '%rollback%'") == [(str(len(NAMES) * len(TAGS)),)]


async def test_all_or_nothing_of_a_manifest_comes_back_or_goes(place: Place, database: Database) -> None:
    registry, name = Registry(database), NAMES[0]
    digest = await registry.push_image(name, b"a", tag=TAGS[0])
    await registry.push_image(name, b"a", tag=TAGS[1])
    await registry.delete(name, digest)
    what = f"{name}@{digest}"
    rows = "SELECT count(*) FROM tags UNION ALL SELECT count(*) FROM manifests WHERE deleted_at IS NULL"
    assert run(place, 2, "undelete", what) != 0  # one tag is there again, as that transaction sees it
    assert place.sql(rows) == [("0",), ("0",)]
    await registry.undelete(name, digest)
    assert place.sql(rows) == [("2",), ("1",)]
    await registry.delete(name, digest)
    assert run(place, 1, "purge", what) != 0  # the rows are gone, as that transaction sees it
    assert len(await registry.pull_at(name, digest, await registry.moment() - 60_000_000)) == 2
    await registry.purge(name, digest)
    left = "SELECT count(*) FROM manifests UNION ALL SELECT count(*) FROM links"
    assert place.sql(left) == [("0",), ("0",)]
    assert place.sql("SELECT action FROM audit_entries ORDER BY id DESC LIMIT 1") == [("purge",)]
