"""The reserve on the database's disk, on a small disk of its own."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.db.migrate import migrate_sqlite
from registry.db.reserve import Reserve
from registry.errors import NoSpace
from tests.support.mounts import fill, small_disk

SIZE = 1024 * 1024


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Path]:
    """Where a database would be, on a disk of 4 MiB."""
    with small_disk(tmp_path / "disk", "4m") as disk:
        yield disk / "db"


def kept(database: Path) -> int:
    file = database.with_name("db.reserve")
    return file.stat().st_blocks * 512 if file.exists() else 0


def admit_several(reserve: Reserve) -> None:
    """So many that it looks at the disk again."""
    for _ in range(20):
        reserve.admit()


def test_it_is_given_up_in_pieces_and_made_again_before_anything_may_grow(database: Path) -> None:
    reserve, filler = Reserve(database, SIZE), database.with_name("filler")
    reserve.start()
    reserve.admit()
    assert kept(database) == SIZE
    fill(filler)
    reserve.tend()
    with pytest.raises(NoSpace):
        admit_several(reserve)
    assert reserve.give()
    assert SIZE // 2 < kept(database) < SIZE
    filler.write_bytes(bytes(2 * SIZE + SIZE // 4))  # leaves room for what stays free, not for the file too
    reserve.tend()
    while reserve.give():
        pass
    assert kept(database) == 0
    with pytest.raises(NoSpace):
        admit_several(reserve)
    filler.unlink()
    reserve.tend()
    assert kept(database) == SIZE
    reserve.admit()


def test_at_the_end_it_takes_what_room_there_is(database: Path) -> None:
    reserve, filler = Reserve(database, SIZE), database.with_name("filler")
    reserve.start()
    while reserve.give():
        pass
    filler.write_bytes(bytes(4 * SIZE - SIZE // 2))
    reserve.tend()
    assert kept(database) == 0
    reserve.fill()
    assert 0 < kept(database) <= SIZE // 2
    again = Reserve(database, SIZE)
    again.start()
    with pytest.raises(NoSpace):
        admit_several(again)
    filler.unlink()
    again.tend()
    assert kept(database) == SIZE


def test_at_the_end_it_takes_a_small_share_where_the_setting_asks_for_more_than_there_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with small_disk(tmp_path / "disk", "128m") as disk:
        before = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        reserves = [Reserve(disk / "db", 1024 * SIZE) for _ in range(20)]
        for reserve in reserves:  # each process that stops, a command's too
            reserve.start()
            reserve.fill()
            after = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
            assert before - before // 16 <= after < before
            assert kept(disk / "db") <= before // 16
        assert "asks for 1073741824 bytes" in caplog.text
        had = kept(disk / "db")
        late = Reserve(disk / "db", 16 * SIZE)
        late.start()
        assert kept(disk / "db") == 16 * SIZE
        (disk / "filler").write_bytes(bytes(110 * SIZE))
        reserves[0].fill()  # knows of less than another process made of it meanwhile
        assert had < kept(disk / "db") == 16 * SIZE


def test_it_makes_way_only_where_there_is_no_room_at_all(database: Path) -> None:
    reserve = Reserve(database, SIZE)
    reserve.start()
    reserve.make_way()
    assert kept(database) == SIZE
    fill(database.with_name("filler"))
    reserve.make_way()
    assert 0 < kept(database) < SIZE
    database.with_name("log").write_bytes(bytes(64 * 1024))


def test_it_follows_the_setting(database: Path) -> None:
    Reserve(database, SIZE).start()
    Reserve(database, SIZE // 2).start()
    assert kept(database) == SIZE // 2
    none = Reserve(database, 0)
    none.start()
    assert not database.with_name("db.reserve").exists()
    fill(database.with_name("filler"))
    none.admit()
    assert not none.give()


def test_a_copy_that_is_all_holes_is_made_whole(database: Path) -> None:
    with database.with_name("db.reserve").open("wb") as file:
        file.truncate(SIZE)
    Reserve(database, SIZE).start()
    assert kept(database) == SIZE


def test_what_finds_no_room_at_all_says_so(database: Path) -> None:
    migrate_sqlite(database)
    fill(database.with_name("filler"))
    with pytest.raises(NoSpace, match="disk is full; make room"):
        migrate_sqlite(database)
