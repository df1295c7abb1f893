"""What is shown while the copy of a database grows."""

import io
import time
from pathlib import Path

import pytest

from registry.cli.copying import shown_copying
from registry.cli.progress import bar, size


class Terminal(io.StringIO):
    """Where what is written can be read, and which says that a person reads it."""

    def isatty(self) -> bool:
        return True


def test_a_person_sees_how_far_the_copy_has_come_and_nothing_is_left_of_it(tmp_path: Path) -> None:
    database, partial = tmp_path / "db", tmp_path / "db.before-0001.partial"
    database.write_bytes(bytes(4096))
    terminal = Terminal()
    with shown_copying(database, terminal):
        partial.write_bytes(bytes(1024))
        deadline = time.monotonic() + 20
        while "1.0 KiB of 4.0 KiB" not in terminal.getvalue():
            assert time.monotonic() < deadline, terminal.getvalue()
            time.sleep(0.01)
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_without_a_copy_or_a_person_nothing_is_written(tmp_path: Path) -> None:
    for stream in (Terminal(), io.StringIO()):
        with shown_copying(tmp_path / "db", stream):
            if not stream.isatty():
                (tmp_path / "db.before-0001.partial").write_bytes(b"something")
        assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 * 1024**3, "5.0 GiB"), (2**60, "1048576.0 TiB")],
)
def test_sizes_are_written_as_people_write_them(count: int, text: str) -> None:
    assert size(count) == text


def test_a_bar_grows_to_its_end_and_not_beyond() -> None:
    assert bar(5, 0) == ""
    assert bar(0, 4) == f"[{'.' * 20}]   0% "
    assert bar(1, 4) == f"[{'#' * 5}{'.' * 15}]  25% "
    assert bar(9, 4) == f"[{'#' * 20}] 100% "
