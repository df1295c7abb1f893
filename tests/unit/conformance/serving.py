"""Serves a `Tiny` registry on a loopback port, with the ways to ask for credentials that registries have."""

import base64
import re
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

from tests.unit.conformance.tiny import Answer, Request, Tiny

USER, PASSWORD = "someone", "p:ss wörd"

Handle = Callable[[Request], Answer | None]
"""Answers a request; None closes the connection without an answer."""


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@dataclass
class Asking:
    """A registry that asks for Basic credentials, or for a token from its own `/token`.

    Attributes:
        scopes: what tokens were asked for, in order.
        seen: the Authorization header of each request.
    """

    scheme: str
    registry: Tiny
    scopes: list[str] = field(default_factory=list)
    seen: list[str | None] = field(default_factory=list)
    answer: Answer | None = None

    def __call__(self, request: Request) -> Answer | None:
        shown = request.headers.get("authorization")
        self.seen.append(shown)
        if request.path == "/token":
            return self._token(request, shown)
        if self.scheme == "basic":
            if shown == basic(USER, PASSWORD):
                return self.registry.handle(request)
            return Answer(401, {"WWW-Authenticate": 'Basic realm="a, b", charset="UTF-8"'})
        action = "pull" if request.method in ("GET", "HEAD") else "pull,push"
        name = re.match(r"/v2/(.+)/(?:blobs|manifests|tags|referrers)/", request.path)
        scope = f"repository:{name.group(1)}:{action}" if name else "registry:catalog:*"
        if shown == "Bearer " + base64.b64encode(scope.encode()).decode():
            return self.registry.handle(request)
        challenge = f'Bearer realm="/token",service="tiny \\"one\\"",scope="{scope}",error="insufficient_scope"'
        return Answer(401, {"WWW-Authenticate": challenge})

    def _token(self, request: Request, shown: str | None) -> Answer:
        if self.answer is not None:
            return self.answer
        if shown != basic(USER, PASSWORD) or request.param("service") != 'tiny "one"':
            return Answer(401)
        scopes = request.params("scope")
        self.scopes += scopes
        token = base64.b64encode(scopes[0].encode()).decode()
        return Answer(200, {}, f'{{"token":"{token}"}}'.encode())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body leave together: apart, the body would wait 40 ms for a delayed ACK
    handle_request: ClassVar[Handle]

    def answer(self) -> None:
        parts = urlsplit(self.path)
        query = parse_qsl(parts.query, keep_blank_values=True)
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = type(self).handle_request(Request(self.command, parts.path, query, headers, self._body()))
        if answer is None:
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.status not in (204, 304):
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD" and answer.status not in (204, 304):
            self.wfile.write(answer.body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815 # names that http.server calls

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", "0")))
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 # the name that http.server gives it
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients break off when they are interrupted, or do not trust the certificate."""


def certificate(folder: Path) -> Path:
    """A file with a key and its self-signed certificate for 127.0.0.1."""
    key, pem = folder / "key.pem", folder / "both.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(pem)], check=True, capture_output=True)
    pem.write_text(pem.read_text() + key.read_text())
    return pem


@contextmanager
def serving(handle: Handle, *, tls: Path | None = None) -> Iterator[str]:
    """Serve on a free port while the block runs; gives the URL. `tls`: a file with certificate and key."""
    handler = type("Handler", (_Handler,), {"handle_request": staticmethod(handle)})
    with _Server(("127.0.0.1", 0), handler) as server:
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls)
            # The handshake is left to the thread that reads, so that a client that breaks off breaks nothing else.
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def tiny(*faults: str) -> Iterator[str]:
    """Serve a tiny registry with faults; gives the URL."""
    with serving(Tiny(faults).handle) as url:
        yield url
