"""Moments as people say them: a time, or how long ago."""

from datetime import UTC, datetime, timedelta

from pydantic import TypeAdapter, ValidationError

from registry.setting_types import Duration

EXPECTED = "expected a time like 2024-05-01 or 2024-05-01T10:00:00Z, or 24h, 7d ago"

_US = 1_000_000
_DURATION = TypeAdapter[int](Duration)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC)


def parse_moment(text: str) -> int:
    """Return a moment in microseconds since the epoch, or, if it is negative, how long before now it is.

    It is one that can be said: the year 9999 ends later west of Greenwich.

    Raises:
        ValueError: it is none; the message says what is expected.
    """
    try:
        return -_DURATION.validate_python(text) * _US
    except ValidationError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(EXPECTED) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    # Not by way of a float, which takes microseconds away: what is said to be undone would be another moment's.
    return max(0, (min(moment, _LAST) - _EPOCH) // timedelta(microseconds=1))


def moment_at(when: int, now: int) -> int:
    """Return a moment that was parsed, as of `now`: both in microseconds since the epoch, 1 at least."""
    return max(1, now + when if when < 0 else when)
