"""Watches requests from their head to the end of their answer: gives them ids, counts, logs and traces them.

The server calls it, not an application in front of another: only the server knows of requests that its parser refused,
how much of an answer was really sent, and that a client left.
"""

import logging
from collections.abc import Mapping
from contextvars import Token
from time import perf_counter
from typing import Any, Protocol

from registry.http.access_log import AGENT, AccessLog
from registry.http.request_id import HEADER, new_ids, taken_id
from registry.logs import request_id as current_id
from registry.metrics.families import NO_ROUTE
from registry.metrics.figures import Figures
from registry.tracing import Tracing

ROUTE = "stowage.route"
"""Where the name of a request's route stands in an ASGI scope, once it is known."""

_GIVEN_ID = "stowage.given_id"
NOTED_HEADERS = {HEADER: _GIVEN_ID, b"user-agent": AGENT}
"""Headers that the parser puts into the scope, and where: to look for them there takes less than among all headers."""

CLIENT_LEFT = 499
"""The status, told to nobody, of a request whose client went away before it was answered; it is nginx's."""

_logger = logging.getLogger("stowage.http")


class Exchange(Protocol):
    """A request and its answer, as far as they have come.

    Attributes:
        request_id: set by `begin`.
        began: when `begin` was called, by `perf_counter`.
        span: what tracing knows of it.
        waited: `waits` was called for it.
        status: of the answer, 0 before it is known.
        sent: bytes of the answer's body.
        response_complete: the answer is whole.
    """

    scope: Any
    request_id: str
    began: float
    span: Any
    waited: bool
    status: int
    sent: int
    response_complete: bool

    @property
    def received(self) -> int:
        """Bytes of the request's body."""

    @property
    def is_cut(self) -> bool:
        """Whether the answer was begun and not ended."""


class Observer:
    """What one process sees. Without arguments it gives ids and does nothing else.

    Args:
        figures: where requests are counted.
        pages: names of the routes beside the distribution API, by path.
        access_log: gets a line for each request.
        tracing: gets a span for each request.
    """

    def __init__(
        self,
        figures: Figures | None = None,
        *,
        pages: Mapping[str, str] | None = None,
        access_log: AccessLog | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._figures = figures
        self._pages = pages or {}
        self._access_log = access_log
        self._tracing = tracing
        self._new_id = new_ids()

    def begin(self, exchange: Exchange) -> "Token[str]":
        """A request's turn has come. What runs until `leave`, and the tasks begun there, belongs to it."""
        exchange.began = perf_counter()
        given = exchange.scope.get(_GIVEN_ID)
        chosen = self._new_id() if given is None else taken_id(given) or self._new_id()
        exchange.request_id = chosen
        if self._tracing is not None:
            exchange.span = self._tracing.begin(exchange.scope, chosen)
        return current_id.set(chosen)

    def leave(self, exchange: Exchange, token: "Token[str]") -> None:
        """What runs now belongs to no request."""
        current_id.reset(token)
        if self._tracing is not None:
            self._tracing.leave(exchange.span)

    def waits(self, exchange: Exchange) -> None:
        """The request could not be answered at once."""
        if self._figures is not None:
            exchange.waited = True
            self._figures.waits(exchange.scope.get(ROUTE) or self._page(exchange.scope), 1)

    def finished(self, exchange: Exchange) -> None:
        """The request is answered, or never will be."""
        now = perf_counter()
        seconds = now - exchange.began
        scope, status, received = exchange.scope, exchange.status or CLIENT_LEFT, exchange.received
        method, route = scope["method"], scope.get(ROUTE) or self._page(scope)
        try:
            if self._figures is not None:
                self._figures.request(route, method, status, seconds, received, exchange.sent)
                if exchange.waited:
                    self._figures.waits(route, -1)
                if not exchange.response_complete and exchange.is_cut:
                    self._figures.cut()
            if self._access_log is not None:
                self._access_log.add(now, exchange.request_id, scope, status, received, exchange.sent, seconds)
            if self._tracing is not None:
                self._tracing.end(exchange.span, scope, route, status)
        except Exception:  # a defect here must not cost the client its connection
            _logger.exception("a request could not be recorded")

    def refused(self, scope: Any, status: int, client: tuple[str, int] | None) -> str:
        """A request was refused before it was one. Return its id. `scope` is what is known of it, perhaps nothing."""
        request_id = taken_id(scope.get(_GIVEN_ID, b"")) or self._new_id()
        if self._figures is not None:
            self._figures.refused(scope.get("method", ""), status)
        if self._access_log is not None:
            self._access_log.add(perf_counter(), request_id, {**scope, "client": client}, status, 0, 0, 0)
        return request_id

    def connections(self, now: int, *, accepted: bool = False) -> None:
        """A connection was accepted, or ended: `now` are open."""
        if self._figures is not None:
            self._figures.connections(now, accepted=accepted)

    def _page(self, scope: Any) -> str:
        return self._pages.get(scope["path"], NO_ROUTE)
