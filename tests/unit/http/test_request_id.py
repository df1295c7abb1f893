"""Ids of requests: which are taken, and that new ones are new."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.http.request_id import new_ids, taken_id


@given(st.binary(max_size=200))
def test_what_is_taken_needs_no_quotes_anywhere(header: bytes) -> None:
    found = taken_id(header)
    if found is not None:
        assert found.encode() == header
        assert 1 <= len(found) <= 128
        assert not set(found) & set(" \t\r\n\"'\\`$;&|<>(){}[]*?!#%,")


@pytest.mark.parametrize("header", [b"a", b"0", b"Root=1-2", b"x" * 128, b"0123:4/5+6@7~8_9.a"])
def test_what_others_use_is_taken(header: bytes) -> None:
    assert taken_id(header) == header.decode()


def test_two_processes_make_no_id_twice() -> None:
    one, other = new_ids(), new_ids()
    made = [make() for _ in range(1000) for make in (one, other)]
    assert len(set(made)) == 2000
    assert all(taken_id(text.encode()) == text for text in made)
