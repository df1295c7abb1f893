"""What a connection is to the server: uvicorn's httptools protocol, with bounds and refusals of our own.

Unlike uvicorn's it offers `http.response.zerocopysend`, refuses what is not HTTP/1.1 in the registry's own form and
never into the middle of another answer, and bounds what a client may send before a handler sees it. It ignores
WebSockets and `limit_concurrency`.
"""

import asyncio
import functools
import logging
from collections.abc import Callable
from typing import Any, Self

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from registry.http import eager, heads
from registry.http.cycle import Application, Cycle
from registry.http.deadline import Deadline
from registry.http.heads import BODILESS, Refusal, body_too_large, check_headers, decode_path, split_target
from registry.http.limits import NOTICEABLE_BYTES, Limits
from registry.http.observer import NOTED_HEADERS, Observer
from registry.http.places import Places
from registry.http.request_id import HEADER as REQUEST_ID
from registry.http.splicing import SPLICE
from registry.http.zerocopy import ZERO_COPY_SEND, Flow, error_body, error_headers

PIPELINED_REQUESTS = 100
"""Most requests that may wait on one connection for the answers before theirs."""

_LAST_CALL_SECONDS = 1  # for a request that is on its way while the worker ends
_LINGER_SECONDS = 2
_GOODBYE_SECONDS = 2  # for clients to take what is left, and to answer TLS's close_notify
_RETRY_AFTER_SECONDS = 5

_logger = logging.getLogger("stowage.http")


class ZeroCopyProtocol(HttpToolsProtocol):
    """One connection. Offers `http.response.zerocopysend` where there is no TLS.

    Args:
        limits: what it may cost.
        places: those of the worker's connections, this one's among them.
        observer: sees every request and refusal.
    """

    flow: Flow
    cycle: Cycle  # type: ignore[assignment]  # the last request parsed
    _running: Cycle | None = None  # the request whose turn it is
    _task: asyncio.Task[None] | None = None  # that of the request whose turn it is, if it had to wait
    _refusal: Refusal | None = None  # once set, what else comes in is discarded
    _refused: Cycle | None = None  # the request whose body is at fault, if its turn had come
    _ending = False  # the worker ends, and the connection with it
    _in_head = False
    _in_body = False
    _resuming = False  # a new parser is told where in a body it begins
    _watched = False  # the body that comes is being watched for progress
    _head_bytes = 0
    _body_bytes = 0
    _silent_bytes = 0  # fed to the parser since it last told of something: what it must hold in memory

    def __init__(self, *arguments: Any, limits: Limits, places: Places, observer: Observer, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._limits = limits
        self._places = places
        self._observer = observer
        self._deadline = Deadline(self.loop)

    @classmethod
    def under(cls, limits: Limits, observer: Observer) -> Callable[..., Self]:
        """Return what makes connections for one worker, all of them under these limits."""
        return functools.partial(cls, limits=limits, places=Places(limits.connections), observer=observer)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # it is always one
        """Begin, with the time for the first request running; or be turned away, where all places are taken."""
        super().connection_made(transport)
        self._observer.connections(len(self.connections), accepted=True)
        self.flow = Flow(transport, self._limits.stall)
        if self._places.take(len(self.connections)):
            self._await_head()
        elif self._places.turn_away(self):
            most = self._limits.connections
            self._refuse(Refusal(503, f"all {most} connections are in use: try again later", "TOOMANYREQUESTS"))
        else:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """End, and tell the request that is being answered."""
        super().connection_lost(exc)
        self._observer.connections(len(self.connections))
        self._deadline.cancel()
        self._places.forget(self)
        self.pipeline.clear()
        if self._running is not None:
            self._running.disconnect()

    def data_received(self, data: bytes) -> None:
        """Parse `data`, or refuse it."""
        # Unlike uvicorn's, this leaves the timer on until the head is whole: trickling bytes wins no time.
        if self._refusal is not None:
            return
        self._silent_bytes += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserCallbackError as error:
            refusal = error.__context__
            if not isinstance(refusal, Refusal):
                _logger.error("a request could not be parsed", exc_info=refusal)
                refusal = Refusal(500, "the server could not handle the request: its log says why", "UNKNOWN")
            self._refuse(refusal)
        except httptools.HttpParserError as error:
            self._refuse(Refusal(400, f"the request is not HTTP/1.1: {error}"))
        else:
            if self._silent_bytes > self._limits.head_size:
                self._refuse(self._head_too_large())
            elif self._in_body and not self._watched and not self.cycle.response_complete:
                self._watched = True
                self._begin_window()

    def _feed(self, data: bytes) -> None:
        while data:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                # The parser takes what follows for another protocol, a body too. Tell it the request without.
                self.parser = httptools.HttpRequestParser(self)
                start = f"{self.scope['method']} {self.url.decode('latin-1')} HTTP/{self.scope['http_version']}"
                data = heads.head_without_upgrade(start, self.headers) + data[upgrade.args[0] :]

    def on_message_begin(self) -> None:
        """A request begins."""
        if self._resuming:
            return
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = 0
        if self.scheme == "http":
            self.scope["extensions"] = {ZERO_COPY_SEND: {}, SPLICE: {}}

    def on_url(self, url: bytes) -> None:
        """A part of the request's target."""
        if self._resuming:
            return
        self._head_bytes += len(url)
        if self._head_bytes > self._limits.head_size:
            raise self._head_too_large()
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header or a trailer, whole."""
        self._silent_bytes = 0
        if self._resuming:
            return
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > self._limits.head_size:
            raise self._head_too_large()
        if self._in_body:
            return  # a trailer: nothing here reads them, and they must not pass for headers
        if len(self.headers) >= self._limits.headers:
            raise Refusal(431, f"the request has more than {self._limits.headers} headers")
        name = name.lower()
        self.headers.append((name, value))
        noted = NOTED_HEADERS.get(name)
        if noted is not None:
            self.scope[noted] = value  # type: ignore[literal-required]  # ours, beside ASGI's
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True

    def _head_too_large(self) -> Refusal:
        return Refusal(431, f"the request's head is over {self._limits.head_size} bytes")

    def on_headers_complete(self) -> None:
        """The head is whole: start the request, or queue it behind the one that is being answered."""
        if self._resuming:
            return
        version = self.parser.get_http_version()
        self.scope["method"] = self.parser.get_method().decode("ascii")
        self.scope["http_version"] = version
        length = check_headers(self.scope["method"], version, self.headers, self._limits.ignored_body)
        if self.parser.should_upgrade():
            return  # comes again from `_feed`, without
        self._in_head = self._watched = False
        self._body_bytes = 0
        self._deadline.clear()
        self._places.leave(self)
        raw_path, self.scope["query_string"] = split_target(self.url)
        self.scope["raw_path"] = self.root_path.encode("ascii") + raw_path
        self.scope["path"] = self.root_path + decode_path(raw_path)
        if len(self.pipeline) >= PIPELINED_REQUESTS:
            raise Refusal(400, f"more than {PIPELINED_REQUESTS} requests were sent ahead of their answers")
        self._in_body = True
        self.cycle = Cycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            default_headers=self.server_state.default_headers,
            expect_100_continue=self.expect_100_continue,
            keep_alive=version == "1.1" and self.parser.should_keep_alive() and not self._ending,
            connection=self,
            observer=self._observer,
            content_length=length,
        )
        if self._running is None or (self._running.response_complete and not self.pipeline):
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.hold()  # or reading on would let the requests that wait grow without bound
            self.pipeline.appendleft((self.cycle, self.app))  # type: ignore[arg-type]  # our cycle is in its place

    def _start_asgi_task(self, cycle: Cycle, app: Application) -> None:  # type: ignore[override]  # our cycle and application
        self._running = cycle
        token = self._observer.begin(cycle)
        self._task = task = eager.start(self.loop, cycle.run(app))
        self._observer.leave(cycle, token)
        if task is not None:
            self._observer.waits(cycle)
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._silent_bytes = 0
        if self.parser.should_upgrade():
            return
        self._body_bytes += len(body)
        if self._body_bytes > self._limits.ignored_body and self.scope["method"] in BODILESS:
            raise body_too_large(self.scope["method"], self._limits.ignored_body)
        if not self.cycle.response_complete:
            self.cycle.take(body)

    def note_received(self, count: int) -> None:
        """Count bytes of the body that came around the parser."""
        self._body_bytes += count

    def expect_body(self, left: int) -> None:
        """Put a parser behind the bytes that went around the last one: it expects `left` more of the body."""
        if self.transport.is_closing():
            return
        self.parser = httptools.HttpRequestParser(self)
        if left == 0:
            self.on_message_complete()
            return
        self._resuming = True
        self.parser.feed_data(b"PUT / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % left)
        self._resuming = False

    def on_message_complete(self) -> None:
        """The request is whole."""
        if self.parser.should_upgrade():
            return
        self._in_body = False
        self._silent_bytes = 0
        if not self.cycle.response_complete:
            self._deadline.clear()
            self.cycle.take_end()

    def on_response_complete(self) -> None:
        """The answer is whole: it is the next request's turn, or that of a refusal."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self._close(self._limits.stall)
        elif self.pipeline:
            self.loop.call_soon(self._start_next)  # not now: a hundred answers within each other are too deep
        elif self._refusal is not None:
            self._send_refusal()
        else:
            self.flow.resume_reading()
            self._await_head()

    def _start_next(self) -> None:
        if not self.pipeline or self.transport.is_closing():
            return
        cycle, app = self.pipeline.pop()
        if self._refusal is None and not self.pipeline:
            self.flow.release()
            self.flow.resume_reading()
        self._start_asgi_task(cycle, app)  # type: ignore[arg-type]  # our cycle is in its place

    def _begin_window(self) -> None:
        """See after a while whether the body has come on."""
        self.flow.was_paused = self.flow.read_paused and not self.flow.handed_over
        self._deadline.set(self._limits.stall, functools.partial(self._end_window, self._body_bytes))

    def _end_window(self, bytes_before: int) -> None:
        waits_for_us = self.flow.was_paused or self.cycle.asked_to_wait
        if waits_for_us or self._body_bytes - bytes_before >= NOTICEABLE_BYTES:
            self._begin_window()
        else:
            what = f"less than {NOTICEABLE_BYTES} bytes of the body came in {self._limits.stall:g} s: send it again"
            self._refuse(Refusal(408, what, "SIZE_INVALID"))

    def _refuse(self, refusal: Refusal) -> None:
        """Answer `refusal` after the answers that are still due, and close. Never into the middle of another answer."""
        _logger.debug("refused a request of %s: %d, %s", self.client, refusal.status, refusal.message)
        self._refusal = refusal
        self._deadline.clear()
        self._places.leave(self)
        self.flow.hold()
        culprit = self.cycle if self._in_body else None  # the request whose body is at fault
        if culprit is not None and culprit is not self._running:
            self.pipeline.popleft()
        elif culprit is not None:
            if culprit.response_complete:
                self._close(self._limits.stall)
            elif culprit.response_started:
                self.transport.abort()
            else:
                self._refused = culprit
                culprit.status = refusal.status
                culprit.disconnect()
                if self._task is None:
                    self._send_refusal()
                else:  # who reads it may rely on the upload's state being what it will stay
                    self._task.add_done_callback(lambda _: self._send_refusal())
            return
        if self._running is None or self._running.response_complete:
            self._send_refusal()

    def _send_refusal(self) -> None:
        if self._refusal is None or self.transport.is_closing():
            return
        status = self._refusal.status
        body = error_body(self._refusal.code, self._refusal.message)
        headers = [*self.server_state.default_headers, *error_headers(body)]
        headers.append((REQUEST_ID, self._id_of_refused(status).encode()))
        if status == 503:
            headers.append((b"retry-after", b"%d" % _RETRY_AFTER_SECONDS))
        lines = [STATUS_LINE[status], *(name + b": " + value + b"\r\n" for name, value in headers), b"\r\n", body]
        self.transport.write(b"".join(lines))
        if not self.transport.can_write_eof():
            self._close(_GOODBYE_SECONDS)
            return
        # Closing with bytes unread would reset the connection, and the client might never see the answer.
        self.transport.write_eof()
        self.flow.release()
        self.flow.resume_reading()
        self._deadline.set(_LINGER_SECONDS, functools.partial(self._close, self._limits.stall))

    def _id_of_refused(self, status: int) -> str:
        """Return the id of the request that is refused, as far as it is known. One that never began is told of."""
        if self._refused is not None:
            return self._refused.request_id
        known = self._in_head or self._in_body
        return self._observer.refused(self.scope if known else {}, status, self.client)

    def _await_head(self) -> None:
        self._places.wait(self)
        self._deadline.set(_LAST_CALL_SECONDS if self._ending else self._limits.idle, self._on_idle)

    def _on_idle(self) -> None:
        if self._in_head:
            self._refuse(Refusal(408, f"the request's head took more than {self._limits.idle:g} s"))
        else:
            self._close(self._limits.stall)

    def make_room(self) -> None:
        """Close, since another connection needs the place."""
        if self._in_head:
            self._refuse(Refusal(408, "the request's head took so long that another connection got its place"))
        else:
            self._close(_GOODBYE_SECONDS)

    def shutdown(self) -> None:
        """The worker ends: close after the answers that are due, or when no request comes for a moment.

        The last answer says so if its head is not written yet. May be called again and again.
        """
        if self._ending:
            return
        self._ending = True
        if self.transport.is_closing():
            self._close(_GOODBYE_SECONDS)
        elif self._refusal is not None:
            return  # it ends already
        elif self._running is None or self.cycle.response_complete:
            self._await_head()
        elif not self.cycle.response_started:
            self.cycle.keep_alive = False

    def _close(self, patience: float) -> None:
        """Close the connection, once the client has taken what is left, or stopped taking it for `patience` seconds."""
        if self._ending:
            patience = min(patience, _GOODBYE_SECONDS)
        self._places.leave(self)
        self.transport.close()
        self._deadline.set(patience, functools.partial(self._abort_if_stuck, patience, self.flow.untaken()))

    def _abort_if_stuck(self, patience: float, untaken_before: int) -> None:
        untaken = self.flow.untaken()
        # A worker that ends has a time of its own for what is left. What it need not wait for is TLS's close_notify.
        if untaken_before - untaken >= NOTICEABLE_BYTES or (self._ending and untaken):
            self._close(patience)
        else:
            self.transport.abort()
