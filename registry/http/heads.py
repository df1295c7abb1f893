"""What the head of a request may say: headers, target and path that RFC 9110 and 9112 allow, and we speak.

On top of what the parser refuses by itself.
"""

import functools
import re
from urllib.parse import unquote_to_bytes

import httptools

BODILESS = {"GET", "HEAD", "DELETE", "OPTIONS", "TRACE"}
"""Methods whose requests have no body that anything reads."""

# RFC 9110, section 7.2; RFC 3986, section 3.2.2. Asked once for each of the few hosts that a server has.
_is_host = functools.lru_cache(16)(
    re.compile(rb"(?:(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?[ \t]*").fullmatch
)
# Not a visible ASCII character, a fragment, a percent sign without two hex digits, an encoded NUL.
_BAD_TARGET = re.compile(rb"[^\x21-\x7e]|#|%(?![0-9A-Fa-f]{2})|%00")


class Refusal(Exception):
    """Raised in the parser's callbacks: the request is answered with `status` and `message`, the connection closed.

    `code` is one of the specification's.
    """

    def __init__(self, status: int, message: str, code: str = "UNSUPPORTED") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code


def body_too_large(method: str, most: int) -> Refusal:
    """Return the refusal of a body that nothing would read, of more than `most` bytes."""
    return Refusal(413, f"{method} takes no body, and one of more than {most} bytes is not even ignored")


def check_headers(method: str, version: str, headers: list[tuple[bytes, bytes]], ignored_body: int) -> int:
    """Check the headers of a request and return its Content-Length, or 0.

    `ignored_body`: most bytes of a body that comes with a method which takes none. Raises Refusal.
    """
    if version not in {"1.0", "1.1"}:
        raise Refusal(400, "the server speaks HTTP/1.1 and HTTP/1.0")
    if method == "CONNECT":
        raise Refusal(400, "CONNECT is for proxies, and this is none")
    hosts = length = 0
    for name, value in headers:
        if name == b"host":
            hosts += 1
            if not _is_host(value):
                raise Refusal(400, "the Host header is no host")
        elif name == b"transfer-encoding":
            if version == "1.0":  # RFC 9112, 6.1
                raise Refusal(400, "HTTP/1.0 has no Transfer-Encoding")
            if value.strip().lower() != b"chunked":
                raise Refusal(400, "the only Transfer-Encoding understood is chunked")
        elif name == b"content-length":
            length = int(value)
            if length > ignored_body and method in BODILESS:
                raise body_too_large(method, ignored_body)
    if hosts > 1 or (hosts == 0 and version == "1.1"):  # RFC 9112, 3.2
        raise Refusal(400, "a request has exactly one Host header")
    return length


def head_without_upgrade(start: str, headers: list[tuple[bytes, bytes]]) -> bytes:
    """Return the head of a request, which starts with the line `start`, without its wish for another protocol."""
    lines = [start.encode("latin-1")]
    for name, value in headers:
        if name == b"connection":
            value = b", ".join(token for token in value.split(b",") if token.strip().lower() != b"upgrade")
        if name != b"upgrade":
            lines.append(name + b": " + value)
    return b"\r\n".join([*lines, b"", b""])


def split_target(target: bytes) -> tuple[bytes, bytes]:
    """Return the path and the query, both still encoded, of what stands in the request line. Raises Refusal."""
    bad = _BAD_TARGET.search(target)
    if bad:
        raise Refusal(400, f"the request's target has what a URL can't: {bad[0].decode('latin-1')!r}")
    try:
        parsed = httptools.parse_url(target)
    except httptools.HttpParserInvalidURLError:
        raise Refusal(400, "the request's target is not a URL") from None
    return parsed.path or b"/", parsed.query or b""


def decode_path(path: bytes) -> str:
    """Return a path without its percent encoding. Raises Refusal if it is not UTF-8."""
    if b"%" not in path:
        return path.decode("ascii")
    try:
        return unquote_to_bytes(path).decode()
    except UnicodeDecodeError:
        raise Refusal(400, "the request's path is not UTF-8 behind its percent encoding") from None
