"""Ports for servers that a test starts.

Below those that the kernel gives to connections (ip(7), ip_local_port_range), so that none is taken between being
found and being listened on; and in a part of them that no other process of this test run uses.
"""

import itertools
import os
import socket
from collections.abc import Iterator
from functools import cache

_FIRST = 10_240
_LAST = 32_768
_RUNS = 16
"""Parts that the ports are cut into: as many processes may run tests at once."""


@cache
def _candidates() -> Iterator[int]:
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    size = (_LAST - _FIRST) // _RUNS
    ports = range(_FIRST + process % _RUNS * size, _FIRST + (process % _RUNS + 1) * size)
    begin = os.getpid() * 61 % size  # where another run, at the same time or not long ago, does not
    return itertools.cycle([*ports[begin:], *ports[:begin]])


def free_port() -> int:
    """A TCP port on loopback that nothing listens on."""
    for port in itertools.islice(_candidates(), (_LAST - _FIRST) // _RUNS):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what was closed a minute ago is free
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise RuntimeError("all ports for tests are taken")
