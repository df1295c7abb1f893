"""Contents: what is kept, what goes first, and that the room is never exceeded."""

from collections import OrderedDict

from hypothesis import given
from hypothesis import strategies as st

from storage.contents import LARGEST, Contents

KEYS = st.sampled_from([f"key{number}" for number in range(8)])


def test_what_is_kept_is_found_and_counted() -> None:
    contents = Contents(10_000)
    assert contents.get("a") is None
    contents.keep("a", b"content")
    assert contents.get("a") == b"content"
    assert (contents.hits, contents.misses) == (1, 1)


def test_what_was_not_used_for_longest_goes_first() -> None:
    contents = Contents(3 * 1512)
    for key in "abc":
        contents.keep(key, bytes(1000))
    contents.get("a")
    contents.keep("d", bytes(1000))
    assert [contents.get(key) is None for key in "abcd"] == [False, True, False, False]


def test_without_room_nothing_is_kept() -> None:
    contents = Contents(0)
    assert not contents.takes(0)
    contents.keep("a", b"")
    assert contents.get("a") is None
    assert contents.used == 0


def test_large_objects_are_left_alone() -> None:
    contents = Contents(10 * LARGEST)
    assert contents.takes(LARGEST)
    assert not contents.takes(LARGEST + 1)
    contents.keep("a", bytes(LARGEST + 1))
    assert contents.get("a") is None


@given(st.integers(0, 20_000), st.lists(st.tuples(KEYS, st.none() | st.integers(0, 6000))))
def test_it_is_a_dictionary_that_forgets_and_stays_within_its_room(
    room: int, steps: list[tuple[str, int | None]]
) -> None:
    contents, kept = Contents(room), OrderedDict[str, bytes]()
    for key, size in steps:
        if size is None:
            assert contents.get(key) in {None, kept.get(key)}
        else:
            content = kept.get(key, bytes(size))  # an object never changes
            contents.keep(key, content)
            kept[key] = content
        assert 0 <= contents.used <= room
