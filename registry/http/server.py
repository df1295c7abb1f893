"""A worker: uvicorn with a protocol of our own, on sockets that the supervisor opened, and an orderly end."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import uvicorn
import uvicorn.lifespan.on  # uvicorn and uvloop import these when they start: better once, in the supervisor
import uvloop  # noqa: F401 - imported for the workers, as above
from starlette.types import ASGIApp

from registry.http.limits import Limits
from registry.http.observer import Observer
from registry.http.protocol import ZeroCopyProtocol
from registry.http.sockets import BACKLOG, anyone_waits, refuse_new
from registry.http.tls import ServerTls

READY = b"a"
"""What a worker tells the supervisor when it answers requests."""
STOP = b"s"
"""The order to accept what waits in the sockets' queues, close them, answer all and end. So is the supervisor's death:
who serves next needs the port at once, and what was sent to this worker nobody else can answer."""
RETIRE = b"r"
"""The order to leave the sockets to the worker that has them now, answer all and end."""

_ACCEPT_SECONDS = 0.2  # for connections whose handshake is under way
_HANDSHAKE_SECONDS = 1  # for TLS's, which no protocol knows of before they are through
_CANCEL_SECONDS = 0.5  # for what was cancelled to be answered
_TICK_SECONDS = 0.05
_OPERATORS = 100  # connections for health checks and the like, when all others are taken

_logger = logging.getLogger("stowage.worker")


class CannotStart(Exception):
    """Workers can't be started, or their application's lifespan failed. The log has the cause."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """What one worker serves.

    Attributes:
        app: the application.
        observer: sees every request.
        operations: another application, without a lifespan, for the sockets of `Serving.operations`.
        ending: called when the worker is to end, before it waits for the answers that are due: those that would go on
            for as long as the client listens are to end then.
    """

    app: ASGIApp
    observer: Observer = field(default_factory=Observer)
    operations: ASGIApp | None = None
    ending: Callable[[], None] = lambda: None


@dataclass(frozen=True, kw_only=True, slots=True)
class Serving:
    """What workers serve, and how.

    Attributes:
        make_app: called in each worker, so that nothing which an application opens is shared, with the number of the
            worker's region of the supervisor's board.
        tls: certificate and key; without it plain HTTP.
        limits: what connections may cost.
        drain: seconds that requests in flight may go on when a worker is to end.
        operations: host and port of sockets that serve what is for operators, in plain HTTP.
        headers: what every answer has.
    """

    make_app: Callable[[int], Served]
    limits: Limits
    tls: ServerTls | None = None
    loop: Literal["uvloop", "asyncio"] = "uvloop"
    drain: float = 30
    operations: frozenset[tuple[str, int]] = frozenset()
    headers: tuple[tuple[str, str], ...] = ()


def work(serving: Serving, sockets: Sequence[socket.socket], orders: socket.socket, region: int) -> None:
    """Serve until an order to end has been carried out. Closes `sockets`.

    Args:
        sockets: listening, one for each address.
        region: given to `serving.make_app`.
        orders: connected to the supervisor, non-blocking: tells READY, reads STOP, RETIRE or the end.

    Raises:
        CannotStart: the application's lifespan failed.
    """
    served = serving.make_app(region)
    _Worker(serving, served, orders).run(list(sockets))


def _config(serving: Serving, app: ASGIApp, observer: Observer, *, operations: bool) -> uvicorn.Config:
    tls = None if operations else serving.tls
    limits = serving.limits
    if operations:
        limits = replace(limits, connections=limits.connections + _OPERATORS)
    return uvicorn.Config(
        app=app,
        http=ZeroCopyProtocol.under(limits, observer),  # type: ignore[arg-type]  # called, not more
        ws="none",
        loop=serving.loop,
        lifespan="off" if operations else "on",
        interface="asgi3",
        workers=1,  # given, and the addresses below: uvicorn would else ask the environment
        proxy_headers=False,
        forwarded_allow_ips="",
        log_config=None,
        access_log=False,
        server_header=False,
        headers=list(serving.headers),
        backlog=BACKLOG,
        ssl_context_factory=None if tls is None else lambda *_: tls.context,
    )


class _Worker(uvicorn.Server):
    """uvicorn's server, which ends by order instead of by signal, and then answers whoever has asked."""

    def __init__(self, serving: Serving, served: Served, orders: socket.socket) -> None:
        super().__init__(_config(serving, served.app, served.observer, operations=False))
        self._operations: uvicorn.Config | None = None
        if served.operations is not None:
            self._operations = _config(serving, served.operations, served.observer, operations=True)
        self._operations_addresses = serving.operations
        self._drain = serving.drain
        self._tls = serving.tls
        self._orders = orders
        self._ending = served.ending
        self._order = b""
        self._ordered = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave signals to the supervisor."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        own = [one for one in sockets or [] if self._is_for_operators(one)]
        try:
            await super().startup([one for one in sockets or [] if one not in own])
        except SystemExit:
            raise CannotStart("the application did not start: the log says why") from None
        for one in own:
            self.servers.append(await asyncio.get_running_loop().create_server(self._to_operators, sock=one))
        asyncio.get_running_loop().add_reader(self._orders, self._take_order)
        with contextlib.suppress(OSError):  # the supervisor has gone: `_take_order` learns it too
            self._orders.send(READY)

    def _is_for_operators(self, one: socket.socket) -> bool:
        return one.getsockname()[:2] in self._operations_addresses

    def _to_operators(self) -> asyncio.Protocol:
        """Return the protocol of a connection on the operators' port."""
        config = self._operations
        assert config is not None  # noqa: S101 - who listens there has it
        if not config.loaded:
            config.load()
        protocol: Callable[..., asyncio.Protocol] = config.http_protocol_class
        return protocol(config=config, server_state=self.server_state, app_state=self.lifespan.state)

    def _take_order(self) -> None:
        try:
            self._order = self._orders.recv(1)
        except BlockingIOError:
            return
        except OSError:
            pass  # as good as the end
        asyncio.get_running_loop().remove_reader(self._orders)
        if not self._order:
            _logger.warning("the supervisor has gone: this worker answers what was asked, and ends")
        self._ending()
        self._ordered.set()

    async def main_loop(self) -> None:
        """Wait for an order. Once a second the `Date` of answers is made anew, and the certificate looked at."""
        while not self._ordered.is_set():
            await self.on_tick(0)
            if self._tls is not None:
                self._tls.refresh()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._ordered.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer everybody who has asked, as far as there is time, then end the application."""
        deadline = asyncio.get_running_loop().time() + self._drain
        if self._order != RETIRE:
            await self._accept_rest(sockets or [], deadline)
        for server in self.servers:
            server.close()
        for one in sockets or []:
            one.close()
        await self._answer_rest(deadline)
        await self.lifespan.shutdown()

    async def _accept_rest(self, sockets: list[socket.socket], deadline: float) -> None:
        loop = asyncio.get_running_loop()
        for one in sockets:
            refuse_new(one)
        until = loop.time() + _ACCEPT_SECONDS
        while loop.time() < until or (anyone_waits(sockets) and loop.time() < deadline):
            await self._tick()

    async def _answer_rest(self, deadline: float) -> None:
        loop, state = asyncio.get_running_loop(), self.server_state
        until = loop.time() + (0 if self.config.ssl is None else _HANDSHAKE_SECONDS)
        await self._tick()  # connections just accepted are known one turn later
        while loop.time() < until or ((state.connections or state.tasks) and loop.time() < deadline):
            await self._tick()
        if state.connections or state.tasks:
            _logger.error("%d requests were cut off: %g s are over", len(state.tasks), self._drain)
            for task in list(state.tasks):
                task.cancel()
            await asyncio.sleep(_CANCEL_SECONDS)

    async def _tick(self) -> None:
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await asyncio.sleep(_TICK_SECONDS)
