"""What hot statements found is remembered until any process commits, and never a moment longer."""

import asyncio
import random
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pysqlite3 as sqlite3
import pytest
from sqlalchemy import text

from registry.db.sqlite import SqliteDatabase, connect
from registry.db.sqlite_remembered import Remembered
from registry.db.statements import Statement, parameter
from tests.support.server import ROOT

pytestmark = pytest.mark.anyio

FIND = Statement(text("SELECT since, message FROM maintenance WHERE id = :id").bindparams(parameter("id")), hot=True)
SET = Statement(
    text(
        "INSERT INTO maintenance (id, since, message, retry_after) VALUES (:id, :since, 'x', 1) "
        "ON CONFLICT (id) DO UPDATE SET since = excluded.since"
    ).bindparams(parameter("id"), parameter("since"))
)
CLEAR = Statement(text("DELETE FROM maintenance WHERE id = :id").bindparams(parameter("id")))

# Commits numbers one after another, and prints each when it is committed; then is killed, or told the next one.
WRITER = """
import sys
import pysqlite3 as sqlite3
raw = sqlite3.connect(sys.argv[1], isolation_level=None)
for line in sys.stdin:
    raw.execute("INSERT INTO maintenance VALUES (1, ?, 'x', 1) ON CONFLICT (id) DO UPDATE SET since = excluded.since", (int(line),))
    print(line.strip(), flush=True)
"""  # noqa: E501 - a statement to a line


@pytest.fixture
async def database(path: Path) -> AsyncIterator[SqliteDatabase]:
    """A file with the schema of this version, opened."""
    opened = SqliteDatabase(path)
    await opened.start()
    yield opened
    await opened.stop()


@pytest.fixture
async def replica(path: Path, database: SqliteDatabase) -> AsyncIterator[SqliteDatabase]:
    """A second view of the same file."""
    opened = SqliteDatabase(path)
    await opened.start()
    yield opened
    await opened.stop()


async def set_to(database: SqliteDatabase, since: int, row: int = 1) -> None:
    await database.write(lambda tx: tx.run(SET, id=row, since=since), durable=False)


async def found(database: SqliteDatabase, row: int = 1) -> int | None:
    answer = await database.first(FIND, id=row)
    return None if answer is None else answer[0]


async def test_a_commit_is_seen_at_once_by_its_own_process_and_by_others(
    database: SqliteDatabase, replica: SqliteDatabase
) -> None:
    views = [database, replica]
    chance = random.Random(7)
    expected: dict[int, int] = {}
    for number in range(600):
        row = chance.randrange(4)
        match chance.randrange(3):
            case 0:
                await set_to(chance.choice(views), number, row)
                expected[row] = number
            case 1:
                await chance.choice(views).write(lambda tx, row=row: tx.run(CLEAR, id=row), durable=False)  # type: ignore[misc]  # a lambda's default
                expected.pop(row, None)
            case _:
                assert await found(chance.choice(views), row) == expected.get(row)


async def test_other_processes_commits_are_seen_at_once_even_if_they_are_killed(
    path: Path, database: SqliteDatabase
) -> None:
    number = 0
    for _ in range(5):
        writer = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WRITER, path, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert writer.stdin is not None and writer.stdout is not None
        for _ in range(20):
            number += 1
            writer.stdin.write(b"%d\n" % number)
            assert await writer.stdout.readline() == b"%d\n" % number
            assert [await found(database) for _ in range(3)] == [number] * 3
        writer.kill()
        await writer.wait()
        assert await found(database) == number


async def test_what_was_rolled_back_is_never_found(database: SqliteDatabase) -> None:
    await set_to(database, 1)
    assert await found(database) == 1

    async def fails(transaction: object) -> None:
        await database.first(FIND, id=1)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await database.write(fails)
    assert await found(database) == 1


@pytest.mark.parametrize("mode", ["PASSIVE", "RESTART", "TRUNCATE"])
async def test_checkpoints_change_nothing(path: Path, database: SqliteDatabase, mode: str) -> None:
    raw = connect(path)
    for number in range(1, 30):
        await set_to(database, number)
        assert await found(database) == number
        raw.execute(f"PRAGMA wal_checkpoint({mode})").fetchall()
        assert await found(database) == number
    raw.execute("VACUUM")
    assert await found(database) == 29
    raw.close()


async def test_a_statement_is_not_asked_again_until_something_is_committed(
    path: Path, database: SqliteDatabase, replica: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    await set_to(database, 1)
    asked = 0
    fetch = database._reader.fetch  # type: ignore[union-attr]  # it is open

    def counting(*arguments: object) -> object:
        nonlocal asked
        asked += 1
        return fetch(*arguments)  # type: ignore[arg-type]  # whatever it is called with

    monkeypatch.setattr(database._reader, "fetch", counting)
    assert [await found(database) for _ in range(10)] == [1] * 10
    assert asked == 1
    await set_to(replica, 2)
    assert [await found(database) for _ in range(10)] == [2] * 10
    assert asked == 2


async def test_memory_is_bounded_and_large_rows_are_not_kept(path: Path, database: SqliteDatabase) -> None:
    remembered = Remembered(path)
    try:
        assert remembered.find(("large",)) is None
        remembered.keep(("large",), ("digest", bytes(70_000)))
        assert remembered.find(("large",)) is None
        row = ("digest", bytes(50_000))
        for number in range(1000):
            assert remembered.find((number,)) is None
            remembered.keep((number,), row)
            assert remembered.find((number,)) == row
        held = sum(remembered.find((number,)) is not None for number in range(1000))
        assert 1 <= held <= 170
    finally:
        remembered.close()


async def test_readers_and_a_writer_of_several_processes_agree(path: Path, database: SqliteDatabase) -> None:
    """Numbers only grow: a reader that sees one go back, or a committed one missing, was told the past."""
    committed = 0
    done = asyncio.Event()

    async def read() -> None:
        last = 0
        while not done.is_set():
            before = committed
            number = await found(database) or 0
            assert number >= last
            assert number >= before
            last = number
            await asyncio.sleep(0)

    async def write() -> None:
        nonlocal committed
        for number in range(1, 300):
            await set_to(database, number)
            committed = number
        done.set()

    await asyncio.gather(write(), read(), read())


async def test_without_the_file_that_is_shared_it_does_not_start(tmp_path: Path) -> None:
    raw = sqlite3.connect(tmp_path / "plain")
    raw.execute("CREATE TABLE t (x)")
    raw.close()
    with pytest.raises(FileNotFoundError):
        Remembered(tmp_path / "plain")
