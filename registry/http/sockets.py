"""Listening sockets: one a worker for each address, of which the first keeps a second server off the port."""

import contextlib
import ctypes
import errno
import select
import socket
import struct
from collections.abc import Sequence
from types import TracebackType
from typing import Self

BACKLOG = 2048
"""Most connections that wait in one socket's queue to be accepted."""

_SO_ATTACH_FILTER = 26  # asm-generic/socket.h
# Classic BPF (linux/filter.h) on the TCP header: drop what has SYN in its 14th byte, keep the rest.
_DROP_SYN = ((0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))


class CannotListen(Exception):
    """The address, or its certificate, can't be used. The message is one line: what, cause, way out."""


class Listeners:
    """The sockets of a server: first bound, which refuses a second server, later listening.

    A context manager that closes them all.
    """

    def __init__(self, where: str, port: int, first: list[socket.socket]) -> None:
        self._where = where
        self._port = port
        self._first = first
        self._opened = contextlib.ExitStack()
        for one in first:
            self._opened.enter_context(one)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._opened.close()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, the real one, of the first socket."""
        host, port = self._first[0].getsockname()[:2]
        return host, port

    @property
    def addresses(self) -> frozenset[tuple[str, int]]:
        """Host and port of every socket."""
        return frozenset(one.getsockname()[:2] for one in self._first)

    def listen(self, workers: int) -> list[list[socket.socket]]:
        """Begin to listen, and return for each worker its sockets, one for each address.

        The kernel spreads connections over the sockets of an address. A connection that is to be accepted waits in one
        socket's queue until somebody accepts it there, or the last copy of this socket is closed.

        Raises:
            CannotListen: another server was faster.
        """
        slots = [list(self._first)]
        try:
            for one in self._first:
                # Listening without SO_REUSEPORT fails where anyone listens already, of two that begin together as
                # well. Only then is the port opened, to sockets of ours: a server of its own begins without, and fails.
                one.listen(BACKLOG)
            for one in self._first:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            for _ in range(workers - 1):
                slots.append([self._open_like(one) for one in self._first])
        except OSError as error:
            raise _refused(self._where, self._port, error) from error
        return slots

    def _open_like(self, first: socket.socket) -> socket.socket:
        one = self._opened.enter_context(socket.socket(first.family, first.type, first.proto))
        _set_up(one, only_v6=first.family == socket.AF_INET6 and bool(_v6_only(first)))
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind(first.getsockname())
        one.listen(BACKLOG)
        return one


def bind(host: str, port: int) -> Listeners:
    """Take every address of `host`, without listening yet: clients are refused meanwhile, not kept waiting.

    Args:
        port: 0 takes a free one.

    Raises:
        CannotListen: not an address of this machine, or somebody listens there.
    """
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    with contextlib.ExitStack() as opened:
        sockets: list[socket.socket] = []
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, kind, protocol, _, address in dict.fromkeys(found):
                one = opened.enter_context(socket.socket(family, kind, protocol))
                _set_up(one, only_v6=family == socket.AF_INET6 and len(found) > 1)
                chosen = sockets[0].getsockname()[1] if sockets else port
                one.bind((address[0], chosen, *address[2:]))
                sockets.append(one)
        except OSError as error:
            raise _refused(where, port, error) from error
        opened.pop_all()
        return Listeners(where, port, sockets)


def refuse_new(listening: socket.socket) -> None:
    """Begin no more connections here. What is in the queue or on its way into it can still be accepted.

    A socket that is closed resets what its queue holds. With new ones kept away first, the queue can be emptied. The
    client's system asks again after a second: the server that has the port by then answers, or it is refused.
    Where the kernel has no such filters, nothing changes.
    """
    program = b"".join(struct.pack("HBBI", *step) for step in _DROP_SYN)
    buffer = ctypes.create_string_buffer(program)
    with contextlib.suppress(OSError):
        listening.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(_DROP_SYN), ctypes.addressof(buffer))
        )


def anyone_waits(listening: Sequence[socket.socket]) -> bool:
    """Say whether there is a connection to be accepted."""
    poll = select.poll()
    for one in listening:
        poll.register(one, select.POLLIN)
    return bool(poll.poll(0))


def _set_up(one: socket.socket, *, only_v6: bool) -> None:
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if one.family == socket.AF_INET6:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only_v6)
    one.setblocking(False)


def _v6_only(one: socket.socket) -> int:
    return one.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)


def _refused(where: str, port: int, error: OSError) -> CannotListen:
    return CannotListen(f"cannot listen on {where}: {_cause(error, port)}")


def _cause(error: OSError, port: int) -> str:
    if isinstance(error, socket.gaierror):
        return "the host's name has no address here: give an address of this machine"
    if error.errno == errno.EADDRINUSE:
        return "the port is in use: stop the server that has it, or choose another port"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address: choose one of its own, or 0.0.0.0 for all"
    if error.errno in {errno.EACCES, errno.EPERM} and port < 1024:
        return "ports below 1024 need a privilege (CAP_NET_BIND_SERVICE): choose a higher one"
    return f"{error.strerror}: choose another address or port"
