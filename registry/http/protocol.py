"""What a connection is to the server: uvicorn's httptools protocol, with bounds and refusals of our own.

Unlike uvicorn's it offers `http.response.zerocopysend`, refuses what is not HTTP/1.1 in the registry's own form and
never into the middle of another answer, and bounds what a client may send before a handler sees it. It ignores
WebSockets and `limit_concurrency`.
"""

import asyncio
import logging
import re
from urllib.parse import unquote_to_bytes

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from registry.http import zerocopy
from registry.http.zerocopy import ZERO_COPY_SEND, Cycle, Flow, error_body, error_headers

HEAD_BYTES = 64 * 1024
"""Most bytes of a request's head, trailers included."""
HEADER_COUNT = 100
"""Most headers of a request."""
PIPELINED_REQUESTS = 100
"""Most requests that may wait on one connection for the answers before theirs."""

_LINGER_SECONDS = 2
_GOODBYE_SECONDS = 2  # for clients to take what is left, and to answer TLS's close_notify
# Not a visible ASCII character, a fragment, a percent sign without two hex digits, an encoded NUL.
_BAD_TARGET = re.compile(rb"[^\x21-\x7e]|#|%(?![0-9A-Fa-f]{2})|%00")

_logger = logging.getLogger("stowage.http")


class _Refusal(Exception):
    """Raised in the parser's callbacks: the request is answered with `status` and `message`, the connection closed."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class ZeroCopyProtocol(HttpToolsProtocol):
    """One connection. Offers `http.response.zerocopysend` where there is no TLS."""

    flow: Flow
    _running: RequestResponseCycle | None = None  # the request whose turn it is; `cycle` is the last one parsed
    _refusal: tuple[int, str] | None = None  # once set, what else comes in is discarded
    _in_body = False
    _head_bytes = 0
    _silent_bytes = 0  # fed to the parser since it last told of something: what it must hold in memory

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, with the time for the first request running."""
        super().connection_made(transport)
        self.flow = Flow(transport)
        self._await_head(self.timeout_keep_alive)

    def connection_lost(self, exc: Exception | None) -> None:
        """End, and tell the request that is being answered."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self.pipeline.clear()
        if isinstance(self._running, Cycle):
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
            if not isinstance(refusal, _Refusal):
                _logger.error("a request could not be parsed", exc_info=refusal)
                refusal = _Refusal(500, "the server could not handle the request: its log says why")
            self._refuse(refusal)
        except httptools.HttpParserError as error:
            self._refuse(_Refusal(400, f"the request is not HTTP/1.1: {error}"))
        else:
            if self._silent_bytes > HEAD_BYTES:
                self._refuse(_head_too_large())

    def _feed(self, data: bytes) -> None:
        while data:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                # The parser takes what follows for another protocol, a body too. Tell it the request without.
                self.parser = httptools.HttpRequestParser(self)
                data = self._head_without_upgrade() + data[upgrade.args[0] :]

    def _head_without_upgrade(self) -> bytes:
        version = self.scope["http_version"].encode()
        lines = [self.scope["method"].encode() + b" " + self.url + b" HTTP/" + version]
        for name, value in self.headers:
            if name == b"connection":
                value = b", ".join(token for token in value.split(b",") if token.strip().lower() != b"upgrade")
            if name != b"upgrade":
                lines.append(name + b": " + value)
        return b"\r\n".join([*lines, b"", b""])

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._head_bytes = 0
        if self.scheme == "http":
            self.scope["extensions"] = {ZERO_COPY_SEND: {}}

    def on_url(self, url: bytes) -> None:
        """A part of the request's target."""
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header or a trailer, whole."""
        self._silent_bytes = 0
        self._count_head(len(name) + len(value) + 4)
        if self._in_body:
            return  # a trailer: nothing here reads them, and they must not pass for headers
        if len(self.headers) >= HEADER_COUNT:
            raise _Refusal(431, f"the request has more than {HEADER_COUNT} headers")
        super().on_header(name, value)

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > HEAD_BYTES:
            raise _head_too_large()

    def on_headers_complete(self) -> None:
        """The head is whole: start the request, or queue it behind the one that is being answered."""
        self._unset_keepalive_if_required()
        version = self.parser.get_http_version()
        self.scope["method"] = self.parser.get_method().decode("ascii")
        self.scope["http_version"] = version
        _check_headers(self.scope["method"], version, self.headers)
        if self.parser.should_upgrade():
            return  # comes again from `_feed`, without
        raw_path, self.scope["query_string"] = _split_target(self.url)
        self.scope["raw_path"] = self.root_path.encode("ascii") + raw_path
        self.scope["path"] = self.root_path + _decode(raw_path)
        if len(self.pipeline) >= PIPELINED_REQUESTS:
            raise _Refusal(400, f"more than {PIPELINED_REQUESTS} requests were sent ahead of their answers")
        self._in_body = True
        self.cycle = Cycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version == "1.1" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if self._running is None or self._running.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.hold()  # or reading on would let the requests that wait grow without bound
            self.pipeline.appendleft((self.cycle, self.app))

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._silent_bytes = 0
        if isinstance(self.cycle, Cycle) and not self.parser.should_upgrade() and not self.cycle.response_complete:
            self.cycle.take(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        if self.parser.should_upgrade():
            return
        self._in_body = False
        self._silent_bytes = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer is whole: it is the next request's turn, or that of a refusal."""
        if self._refusal is None and len(self.pipeline) <= 1:
            self.flow.release()
        super().on_response_complete()
        if self.transport.is_closing():
            self._close(zerocopy.STALL_SECONDS)
        elif self._refusal is not None and (self._running is None or self._running.response_complete):
            self._send_refusal()

    def _refuse(self, refusal: _Refusal) -> None:
        """Answer `refusal` after the answers that are still due, and close. Never into the middle of another answer."""
        _logger.debug("refused a request of %s: %d, %s", self.client, refusal.status, refusal.message)
        self._refusal = (refusal.status, refusal.message)
        self.flow.hold()
        culprit = self.cycle if self._in_body else None  # the request whose body is at fault
        if culprit is not None and culprit is not self._running:
            self.pipeline.popleft()
        elif isinstance(culprit, Cycle):
            if culprit.response_complete:
                self._close(zerocopy.STALL_SECONDS)
            elif culprit.response_started:
                self.transport.abort()
            else:
                culprit.disconnect()
                self._send_refusal()
            return
        if self._running is None or self._running.response_complete:
            self._send_refusal()

    def _send_refusal(self) -> None:
        if self._refusal is None or self.transport.is_closing():
            return
        status, message = self._refusal
        body = error_body("UNKNOWN" if status == 500 else "UNSUPPORTED", message)
        headers = [*self.server_state.default_headers, *error_headers(body)]
        lines = [STATUS_LINE[status], *(name + b": " + value + b"\r\n" for name, value in headers), b"\r\n", body]
        self.transport.write(b"".join(lines))
        self._unset_keepalive_if_required()
        if not self.transport.can_write_eof():
            self._close(_GOODBYE_SECONDS)
            return
        # Closing with bytes unread would reset the connection, and the client might never see the answer.
        self.transport.write_eof()
        self.flow.release()
        self.flow.resume_reading()
        self._await_head(_LINGER_SECONDS)

    def _await_head(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        """No request came in time."""
        self._close(zerocopy.STALL_SECONDS)

    def shutdown(self) -> None:
        """The server ends: close when no answer is due, else after it."""
        super().shutdown()
        if self.transport.is_closing():
            self._close(_GOODBYE_SECONDS)

    def _close(self, patience: float) -> None:
        """Close the connection, within `patience` seconds of the last byte that the client took."""
        self._unset_keepalive_if_required()
        self.transport.close()
        left = self.transport.get_write_buffer_size()
        self.timeout_keep_alive_task = self.loop.call_later(patience, self._abort_if_stuck, patience, left)

    def _abort_if_stuck(self, patience: float, left_before: int) -> None:
        if 0 < self.transport.get_write_buffer_size() < left_before:
            self._close(patience)
        else:
            self.transport.abort()


def _head_too_large() -> _Refusal:
    return _Refusal(431, f"the request's head is over {HEAD_BYTES} bytes")


def _check_headers(method: str, version: str, headers: list[tuple[bytes, bytes]]) -> None:
    """Refuse what the parser lets through and RFC 9110 and 9112 forbid, or we don't speak."""
    if version not in {"1.0", "1.1"}:
        raise _Refusal(505, "the server speaks HTTP/1.1 and HTTP/1.0")
    if method == "CONNECT":
        raise _Refusal(400, "CONNECT is for proxies, and this is none")
    hosts = 0
    for name, value in headers:
        if name == b"host":
            hosts += 1
        elif name == b"transfer-encoding":
            if version == "1.0":  # RFC 9112, 6.1
                raise _Refusal(400, "HTTP/1.0 has no Transfer-Encoding")
            if value.lower() != b"chunked":
                raise _Refusal(501, "the only Transfer-Encoding understood is chunked")
    if hosts > 1 or (hosts == 0 and version == "1.1"):  # RFC 9112, 3.2
        raise _Refusal(400, "a request has exactly one Host header")


def _split_target(target: bytes) -> tuple[bytes, bytes]:
    """The path and the query, both still encoded, of what stands in the request line."""
    bad = _BAD_TARGET.search(target)
    if bad:
        raise _Refusal(400, f"the request's target has what a URL can't: {bad[0].decode('latin-1')!r}")
    try:
        parsed = httptools.parse_url(target)
    except httptools.HttpParserInvalidURLError:
        raise _Refusal(400, "the request's target is not a URL") from None
    return parsed.path or b"/", parsed.query or b""


def _decode(path: bytes) -> str:
    if b"%" not in path:
        return path.decode("ascii")
    try:
        return unquote_to_bytes(path).decode()
    except UnicodeDecodeError:
        raise _Refusal(400, "the request's path is not UTF-8 behind its percent encoding") from None
