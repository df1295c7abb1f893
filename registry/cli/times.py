"""Times as commands show them."""

from datetime import UTC, datetime


def shown_time(microseconds: int) -> str:
    """Return a time since the epoch as RFC 3339 has it, in whole seconds, UTC."""
    return datetime.fromtimestamp(microseconds // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
