"""Moments of the past: which of them can be asked about."""

from datetime import UTC, datetime

from registry.db import jobs
from registry.db.connection import Reader
from registry.errors import MomentUnknown

_US = 1_000_000


async def check_moment(reader: Reader, at: int, *, window_s: int) -> None:
    """Return if what was there at a moment can be told, by the database's clock.

    Args:
        at: microseconds since the epoch.
        window_s: `history.window`.

    Raises:
        MomentUnknown: it has not come yet, or was before the window.
    """
    now = await jobs.clock(reader)
    if at > now:
        raise MomentUnknown(f"{shown(at)} has not come yet: it is {shown(now)} here")
    oldest = now - window_s * _US
    if at < oldest:
        raise MomentUnknown(f"{shown(at)} is too long ago: history.window keeps what was there since {shown(oldest)}")


def shown(at: int) -> str:
    """Return a moment as RFC 3339 has it, no more exactly than it is: whole seconds, or microseconds."""
    seconds, fraction = divmod(at, _US)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{fraction:06d}Z" if fraction else f"{text}Z"
