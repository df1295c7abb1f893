"""The id of each request: taken from `X-Request-Id` or made here, told in the answer and in every line of the log."""

import itertools
import re
import secrets
from collections.abc import Callable

HEADER = b"x-request-id"

# What can stand in a header, a log line and a shell without being quoted.
_fits = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:/+=@~-]{0,127}").fullmatch


def taken_id(header: bytes) -> str | None:
    """Return the id that a client, or a proxy before us, gave; None if it is unfit."""
    return header.decode("ascii") if _fits(header) else None


def new_ids() -> Callable[[], str]:
    """Return what makes ids that no other process makes: a random part and a number. To be called in each process."""
    random, numbers = f"{secrets.token_hex(8)}-", itertools.count(1)
    return lambda: random + str(next(numbers))
