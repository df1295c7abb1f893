"""A collector of traces: a real HTTP server that takes OTLP in protobuf, and keeps the spans."""

import threading
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector:
    """Listens on loopback until the `with` block ends.

    Attributes:
        paths: where exports were sent.
        resources: the attributes of each export's resource.
        headers: those of the last export, names in lower case.
    """

    def __init__(self) -> None:
        self.paths: set[str] = set()
        self.resources: list[dict[str, str]] = []
        self.headers: dict[str, str] = {}
        self._spans: list[Span] = []
        self._lock = threading.Lock()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                collector._take(self)

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the library's name
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def spans(self) -> list[Span]:
        """Every span that came so far."""
        with self._lock:
            return list(self._spans)

    def named(self, name: str) -> list[Span]:
        """The spans of this name."""
        return [span for span in self.spans if span.name == name]

    def _take(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["content-length"]))
        export = ExportTraceServiceRequest.FromString(body)
        with self._lock:
            self.paths.add(handler.path)
            self.headers = {name.lower(): value for name, value in handler.headers.items()}
            for one in export.resource_spans:
                self.resources.append(attributes(one.resource.attributes))
                for scope in one.scope_spans:
                    self._spans += scope.spans
        handler.send_response(200)
        handler.send_header("content-length", "0")
        handler.end_headers()


def attributes(pairs: Iterable[KeyValue]) -> dict[str, str]:
    """Attributes as text, by name."""
    found: dict[str, str] = {}
    for pair in pairs:
        value = pair.value
        found[pair.key] = str(getattr(value, str(value.WhichOneof("value"))))
    return found
