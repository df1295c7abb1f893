"""Moments as people say them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.moments import parse_moment
from registry.services.moments import shown

_LAST = 253_402_300_799_999_999


@given(at=st.integers(0, _LAST))
def test_what_is_shown_is_the_same_moment_when_it_is_said(at: int) -> None:
    """To the microsecond: `stowage rollback` prints the moment that undoes it."""
    assert parse_moment(shown(at)) == at


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("1970-01-01", 0),
        ("0001-01-01T00:00:00+23:59", 0),
        ("2026-11-01T12:00:00.000001+02:00", 1_793_527_200_000_001),
        ("9999-12-31T23:59:59-23:59", _LAST),
        ("90m", -5_400_000_000),
    ],
)
def test_moments_are_read(text: str, at: int) -> None:
    assert parse_moment(text) == at
