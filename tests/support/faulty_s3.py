"""An HTTP relay in front of an S3 server that lets requests fail, of the kind and in the way that the test chose."""

import http.client
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

_CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: `name` is the object's, without the bucket; `query` as it stands in the URL."""

    method: str
    name: str
    query: str

    @property
    def is_part(self) -> bool:
        """Whether it sends a part."""
        return self.method == "PUT" and "partNumber=" in self.query

    @property
    def is_object(self) -> bool:
        """Whether it sends an object as a whole."""
        return self.method == "PUT" and not self.query

    @property
    def completes(self) -> bool:
        """Whether it completes a multipart upload."""
        return self.method == "POST" and "uploadId=" in self.query


@dataclass(slots=True)
class Fault:
    """What happens to the next requests that `meets` says yes to.

    Attributes:
        times: to how many.
        status, body: what is answered instead of what the store would; the store never hears of the request.
        after_ms: how long the answer is late.
        cut_request_at: the connection ends when so many bytes of the request's body were read.
        cut_answer_at: the connection ends when so many bytes of the answer's body were sent; the store did all.
        loses_answer: the store does what it is asked, and nobody hears of it.
        repeats: the store gets the request a second time, so many milliseconds later.
    """

    meets: Callable[[Asked], bool]
    times: int = 1
    status: int = 0
    body: bytes = b""
    after_ms: int = 0
    cut_request_at: int = -1
    cut_answer_at: int = -1
    loses_answer: bool = False
    repeats: int = -1
    met: int = field(default=0, init=False)


class FaultyS3:
    """The relay. `faults` may be changed at any time; `asked` is every request so far.

    Args:
        url: the S3 server's endpoint.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.target = (str(parts.hostname), int(parts.port or 80))
        self.faults: list[Fault] = []
        self.asked: list[Asked] = []
        self.lock = threading.Lock()
        relay = self

        class Handler(_Handler):
            faulty = relay

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    @property
    def url(self) -> str:
        """The relay's endpoint."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def fail(self, fault: Fault) -> Fault:
        """Let requests fail, beside those that fail already."""
        with self.lock:
            self.faults.append(fault)
        return fault

    def heal(self) -> None:
        """Let everything through."""
        with self.lock:
            self.faults.clear()

    def fault_for(self, asked: Asked) -> Fault | None:
        """Note a request, and say what is to happen to it."""
        with self.lock:
            self.asked.append(asked)
            for fault in self.faults:
                if fault.met < fault.times and fault.meets(asked):
                    fault.met += 1
                    return fault
        return None


class _Handler(BaseHTTPRequestHandler):
    faulty: FaultyS3
    protocol_version = "HTTP/1.1"

    def handle_one_request(self) -> None:
        """Relay one request; a client that went away is no error here."""
        try:
            super().handle_one_request()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def _relay(self) -> None:
        parts = urlsplit(self.path)
        asked = Asked(self.command, parts.path.lstrip("/").partition("/")[2], parts.query)
        fault = self.faulty.fault_for(asked) or Fault(lambda _: False)
        length = int(self.headers.get("Content-Length", 0))
        if 0 <= fault.cut_request_at < length:
            self.rfile.read(fault.cut_request_at)
            self._cut()
            return
        body = self.rfile.read(length)
        if fault.after_ms:
            time.sleep(fault.after_ms / 1000)
        if fault.status:
            self._answer(fault.status, [("Content-Type", "application/xml")], fault.body, -1)
            return
        status, headers, answer = self._ask(body)
        if fault.repeats >= 0:
            time.sleep(fault.repeats / 1000)
            self._ask(body)
        if fault.loses_answer:
            self._cut()
            return
        self._answer(status, headers, answer, fault.cut_answer_at)

    def _ask(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(*self.faulty.target, timeout=120)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in {"expect", "connection"}:
                    connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            return response.status, response.getheaders(), response.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes, cut_at: int) -> None:
        self.send_response_only(status)
        length = next((value for name, value in headers if name.lower() == "content-length"), str(len(body)))
        for name, value in headers:
            if name.lower() not in {"content-length", "connection", "transfer-encoding"}:
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command == "HEAD":
            return
        if 0 <= cut_at < len(body):
            self.wfile.write(body[:cut_at])
            self._cut()
            return
        self.wfile.write(body)

    def _cut(self) -> None:
        self.wfile.flush()
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has in the standard library
        """Write nothing."""

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _relay  # noqa: N815 - the names that http.server looks for
