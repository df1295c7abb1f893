"""Moments to pull at: whole seconds, in which nothing happens."""

import math
import time
from datetime import UTC, datetime


def moment() -> str:
    """Wait until a whole second is over, and return what names begin with that mean it: `at-20261101t120000z`."""
    at = math.ceil(time.time())
    while (left := at + 0.01 - time.time()) > 0:
        time.sleep(left)
    return named(at)


def named(at: float) -> str:
    """Return what names begin with that mean a time in seconds since the epoch."""
    return datetime.fromtimestamp(at, UTC).strftime("at-%Y%m%dt%H%M%Sz")
