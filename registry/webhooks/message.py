"""What is sent: a body, and the headers that say what it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Message:
    """A body and its headers, names in lower case. The same event makes the same message on each try."""

    body: bytes
    headers: Mapping[str, str]


def rfc3339(microseconds: int) -> str:
    """Return a time since the epoch as RFC 3339 has it, in UTC, to the microsecond."""
    whole, rest = divmod(microseconds, 1_000_000)
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}.{rest:06d}Z"
