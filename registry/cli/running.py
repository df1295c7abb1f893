"""Who has the server's address: nobody, a running Stowage, or another program."""

import http.client
import json
import ssl
from contextlib import nullcontext
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from registry.http.sockets import CannotListen, bind
from registry.settings import Settings

_PATIENCE_S = 8.0  # the server itself gives a check less
_WAY_OUT = "stop it, or choose another port"
_MOST_BYTES = 64 * 1024
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound


class Holder(Enum):
    """Who has the address."""

    NOBODY = "nobody"
    STOWAGE = "stowage"
    OTHER = "other"
    SILENT = "silent"
    UNKNOWN = "unknown"
    UNUSABLE = "unusable"


@dataclass(frozen=True, slots=True)
class Address:
    """What was found at the address where the server listens, or would.

    Attributes:
        text: HOST:PORT.
        message: why nothing is known, or why the address can't be used.
        readiness: what `/readyz` answered (`registry.http.health.Readiness`).
        certificate: what was shown, DER; empty without TLS.
    """

    text: str
    holder: Holder
    message: str = ""
    readiness: dict[str, Any] = field(default_factory=dict)
    certificate: bytes = b""


def look(settings: Settings) -> Address:
    """Ask the address for its readiness; if nobody answers, see whether it could be taken."""
    host, port = settings.http.host, settings.http.port
    text = _text(host, port)
    if port == 0:
        return Address(text, Holder.UNKNOWN, "http.port is 0: each start takes another port, so none can be asked")
    asked = settings.operations
    encrypted = settings.http.tls.certificate is not None
    if asked.port:
        found = _ask(asked.host, asked.port, encrypted=False)
    else:
        found = _ask(host, port, encrypted=encrypted)
        if found.holder is Holder.OTHER and found.certificate and settings.http.tls.client_ca:
            why = f"what listens on {text} wants a client's certificate (http.tls.client_ca)"
            return Address(text, Holder.UNKNOWN, f"{why}: set operations.port to have its readiness asked without")
    if found.holder is not Holder.NOBODY:
        return found
    try:
        with bind(host, port), nullcontext() if asked.port is None else bind(asked.host, asked.port):
            return found
    except CannotListen as problem:
        taken = "in use" in str(problem)
        return Address(text, Holder.OTHER if taken else Holder.UNUSABLE, str(problem))


def _ask(host: str, port: int, *, encrypted: bool) -> Address:
    text = _text(host, port)
    target = _EVERYWHERE.get(host, host)
    connection: http.client.HTTPConnection
    if encrypted:
        connection = http.client.HTTPSConnection(target, port, timeout=_PATIENCE_S, context=_unverified())
    else:
        connection = http.client.HTTPConnection(target, port, timeout=_PATIENCE_S)
    try:
        connection.connect()
    except ConnectionRefusedError:
        return Address(text, Holder.NOBODY)
    except ssl.SSLError:
        return Address(text, Holder.OTHER, f"what listens on {text} does not speak TLS: {_WAY_OUT}")
    except TimeoutError:
        return Address(text, Holder.SILENT, f"{text} does not take connections within {_PATIENCE_S:g} s")
    except OSError as problem:
        return Address(text, Holder.NOBODY, str(problem))
    certificate: bytes | None = b""
    try:
        sock = connection.sock
        certificate = sock.getpeercert(True) if isinstance(sock, ssl.SSLSocket) else b""
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        content = json.loads(answer.read(_MOST_BYTES))
    except TimeoutError:
        return Address(text, Holder.SILENT, f"what listens on {text} does not answer within {_PATIENCE_S:g} s")
    except (OSError, ValueError, http.client.HTTPException):
        return Address(
            text, Holder.OTHER, f"another program listens on {text}: {_WAY_OUT}", certificate=certificate or b""
        )
    finally:
        connection.close()
    if not isinstance(content, dict) or not {"ready", "database", "storage", "instance", "data"} <= content.keys():
        return Address(text, Holder.OTHER, f"another program listens on {text}: {_WAY_OUT}")
    return Address(text, Holder.STOWAGE, readiness=content, certificate=certificate or b"")


def _unverified() -> ssl.SSLContext:
    """Whoever answers is asked, whatever certificate it shows: that is compared later."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _text(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
