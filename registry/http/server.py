"""The web server: uvicorn with a protocol of our own, listening, TLS, and an orderly end."""

import contextlib
import errno
import signal
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Literal

import uvicorn
from starlette.types import ASGIApp

from registry.http.protocol import ZeroCopyProtocol

__all__ = ["CannotListen", "CannotStart", "ZeroCopyProtocol", "run"]

KEEP_ALIVE_SECONDS = 75
"""How long a connection may take from its start, or from an answer, to the end of the next request's head."""
SHUTDOWN_SECONDS = 30
"""How long requests in flight may go on after SIGTERM."""

_BACKLOG = 2048


class CannotListen(Exception):
    """The address can't be listened on. The message is one line: address, cause, way out."""


class CannotStart(Exception):
    """The application's lifespan failed before it was ready. The log has the cause."""


class _Server(uvicorn.Server):
    """uvicorn's server, which returns after a signal instead of dying of it."""

    def __init__(self, config: uvicorn.Config, on_listening: Callable[[tuple[str, int]], None]) -> None:
        super().__init__(config)
        self._on_listening = on_listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit:
            raise CannotStart("the application did not start: the log says why") from None
        self._on_listening(self.servers[0].sockets[0].getsockname()[:2])

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Unlike uvicorn's, this does not keep the signal to raise it again at the end.
        self.force_exit = self.force_exit or (self.should_exit and sig == signal.SIGINT)
        self.should_exit = True


def run(
    app: ASGIApp,
    *,
    host: str,
    port: int,
    on_listening: Callable[[tuple[str, int]], None],
    certificate: Path | None = None,
    key: Path | None = None,
    client_ca: Path | None = None,
    loop: Literal["uvloop", "asyncio"] = "uvloop",
) -> None:
    """Serve `app` until SIGTERM or SIGINT; requests in flight get 30 s to finish, a second SIGINT ends them at once.

    Args:
        port: 0 takes a free one.
        on_listening: called with host and port, the real one, when requests are being answered.
        certificate: PEM file of the certificate and its chain; makes the server speak TLS.
        key: PEM file of its key, when that is not in `certificate`.
        client_ca: PEM file of the authorities one of which must have signed every client's certificate.

    Raises:
        CannotListen: the address or the certificate can't be used.
        CannotStart: the application's lifespan failed.
    """
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    tls = _tls_context(where, certificate, key, client_ca) if certificate else None
    with contextlib.ExitStack() as opened:
        sockets = [opened.enter_context(one) for one in _listen(host, port, where)]
        config = uvicorn.Config(
            app=app,
            http=ZeroCopyProtocol,
            ws="none",
            loop=loop,
            lifespan="on",
            interface="asgi3",
            workers=1,  # given, and the addresses below: uvicorn would else ask the environment
            proxy_headers=False,
            forwarded_allow_ips="",
            log_config=None,
            access_log=False,
            server_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            ssl_context_factory=None if tls is None else lambda *_: tls,
        )
        _Server(config, on_listening).run(sockets)


def _listen(host: str, port: int, where: str) -> list[socket.socket]:
    """A listening socket for each address of `host`. Listening at once: only that refuses a second server."""
    with contextlib.ExitStack() as opened:
        sockets: list[socket.socket] = []
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, kind, protocol, _, address in dict.fromkeys(found):
                one = opened.enter_context(socket.socket(family, kind, protocol))
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, len(found) > 1)
                chosen = sockets[0].getsockname()[1] if sockets else port
                one.bind((address[0], chosen, *address[2:]))
                one.listen(_BACKLOG)
                sockets.append(one)
        except OSError as error:
            raise CannotListen(f"cannot listen on {where}: {_cause(error, port)}") from error
        opened.pop_all()
        return sockets


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


def _tls_context(where: str, certificate: Path, key: Path | None, client_ca: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
        if client_ca is not None:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as error:  # SSLError is one
        files = ", ".join(str(file) for file in (certificate, key, client_ca) if file is not None)
        cause = error.reason if isinstance(error, ssl.SSLError) else error.strerror
        raise CannotListen(f"cannot listen on {where} with TLS: {cause}: check {files}") from error
    return context
