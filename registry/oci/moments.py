"""Moments in the names of repositories: `at-20261101t120000z/team/app` is `team/app` as its tags were then.

The first component of such a name is no project. Whatever begins like one, `at-` and eight digits, is reserved, so that
a moment that was mistyped is never somebody's repository.
"""

import re
from datetime import UTC, datetime

RESERVED = r"at-[0-9]{8}"
"""What a reserved name begins with, for patterns that look for that, or for anything else."""

_RESERVED = re.compile(RESERVED).match
_MOMENT = re.compile(r"at-([0-9]{8}t[0-9]{6})z", re.ASCII).fullmatch

EXPECTED = "expected at-YYYYMMDDtHHMMSSz, a time in UTC, and a repository's name after it"


def is_reserved(name: str) -> bool:
    """Say whether a name, of a project or a repository, begins with a moment, or like one."""
    return _RESERVED(name) is not None


def parse_moment_name(component: str) -> int | None:
    """Return the moment that a name's first component says, in microseconds since the epoch; None if it says none."""
    match = _MOMENT(component)
    if match is None:
        return None
    try:
        moment = datetime.strptime(match[1], "%Y%m%dt%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    return int(moment.timestamp()) * 1_000_000
