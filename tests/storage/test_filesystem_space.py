"""The room that a filesystem store leaves free, on a small disk of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.errors import StorageFull
from storage.filesystem_space import Space
from tests.support.mounts import fill, small_disk

MIB = 1024 * 1024


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MiB."""
    with small_disk(tmp_path / "disk", "8m") as folder:
        yield folder


def test_several_that_write_at_once_stop_before_the_reserve(disk: Path) -> None:
    spaces = [Space(str(disk), 2 * MIB) for _ in range(8)]
    written, size = 0, 32 * 1024
    with (disk / "data").open("wb", buffering=0) as file:
        for _ in range(1000):
            for space in list(spaces):
                try:
                    space.admit(size)
                except StorageFull:
                    spaces.remove(space)
                    continue
                written += file.write(bytes(size))
    assert spaces == []
    assert 5 * MIB < written <= 6 * MIB


def test_what_grows_goes_on_as_soon_as_there_is_room(disk: Path) -> None:
    space, filler = Space(str(disk), 2 * MIB), disk / "filler"
    space.admit(MIB)
    fill(filler)
    with pytest.raises(StorageFull, match="reserve"):
        space.admit(MIB)
        space.admit(MIB)
    with pytest.raises(StorageFull):
        space.admit()
    filler.unlink()
    space.admit(5 * MIB)


def test_without_a_reserve_the_disk_decides(disk: Path) -> None:
    fill(disk / "filler")
    Space(str(disk), 0).admit(MIB)


def test_a_folder_that_is_gone_is_no_full_disk(tmp_path: Path) -> None:
    Space(str(tmp_path / "gone"), MIB).admit(MIB)
    assert Space(str(tmp_path / "gone"), MIB).beyond_reserve() is None


def test_a_filesystem_without_a_limit_is_never_full(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "0") as folder:
        Space(str(folder), MIB).admit(MIB)
