"""What was asked and what was answered, kept so that a report can show it: bounded, printable, without secrets."""

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

import httpx

SHOWN_BODY = 2048
"""Characters of an answer's body that are kept."""
SHOWN_VALUE = 1024
"""Characters of a header's value, or of a URL, that are kept."""
SHOWN_HEADERS = 40
HIDDEN = "***"

_SHOWN_PARAMS = {"digest", "digest-algorithm", "n", "last", "artifactType", "mount", "from", "tag"}
_SECRET_HEADERS = {"authorization", "proxy-authorization", "cookie", "set-cookie"}
_URL_HEADERS = {"location", "content-location"}

Fields = tuple[tuple[str, str], ...]
"""Header fields: names and values in their order."""


@dataclass(frozen=True)
class Exchange:
    """One request and its answer.

    Attributes:
        url: as `show_url` shows it; with scheme and host when it went to another than the registry.
        sent: the request's header fields.
        body: what the request's body was, e.g. `1024 bytes`; empty when there was none.
        status: of the answer, None when none came.
        problem: why no answer came, empty when one did.
        received: the answer's header fields.
        answer: the beginning of the answer's body as text.
    """

    method: str
    url: str
    sent: Fields = ()
    body: str = ""
    status: int | None = None
    problem: str = ""
    received: Fields = ()
    answer: str = ""

    @property
    def line(self) -> str:
        """All on one line: `GET /v2/ -> 200`."""
        return f"{self.method} {self.url} -> {self.problem or self.status}"


class Secrets:
    """Words that no report may show: the password, what is made of it, and tokens."""

    def __init__(self, words: Iterable[str] = ()) -> None:
        self._words: set[str] = set()
        self.add(words)

    def add(self, words: Iterable[str]) -> None:
        """Hide these words from now on."""
        self._words.update(word for word in words if word)

    def hide(self, text: str) -> str:
        """The text with each of the words replaced; a registry may have sent them back."""
        for word in sorted(self._words, key=len, reverse=True):
            text = text.replace(word, HIDDEN)
        return text

    def show(self, text: str, size: int) -> str:
        """The text as a report may show it: without secrets and control characters, and not longer than `size`."""
        return clean(cut(self.hide(text), size))  # in this order, so that no secret lies across the cut

    def line(self, text: str, size: int) -> str:
        """The same on one line: what begins a line could be taken for one of ours."""
        return " ".join(self.show(text, size).splitlines())


def clean(text: str) -> str:
    """Text that XML, YAML and a terminal can hold: what a registry sent may hold control characters."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in "\n\t" else "\ufffd" for one in text)


def show_url(url: str, own: str = "") -> str:
    """A URL as a report may show it: values of parameters that may be secret are left out.

    Args:
        url: an absolute URL, or a path.
        own: scheme and host that are left out too; empty leaves out every one.
    """
    parts = urlsplit(url)
    query = [
        f"{name}={value if name in _SHOWN_PARAMS else '...'}"
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
    ]
    host = parts.netloc.rpartition("@")[2]
    elsewhere = f"{parts.scheme}://{host}" if own and host and own != f"{parts.scheme}://{host}" else ""
    return elsewhere + parts.path + ("?" + "&".join(query) if query else "")


def cut(text: str, size: int) -> str:
    """The text's beginning, with three dots where more was left out."""
    return text if len(text) <= size else text[: size - 3] + "..."


def answered(response: httpx.Response, own: str, secrets: Secrets) -> Exchange:
    """What to keep of an answer that was read, and of its request."""
    request = response.request
    return Exchange(
        method=request.method,
        url=secrets.line(show_url(str(request.url), own), SHOWN_VALUE),
        sent=_fields(request.headers, own, secrets),
        body=_body(request),
        status=response.status_code,
        received=_fields(response.headers, own, secrets),
        answer=_text(response, secrets),
    )


def unanswered(request: httpx.Request, problem: str, own: str, secrets: Secrets) -> Exchange:
    """What to keep of a request that got no answer."""
    return Exchange(
        method=request.method,
        url=secrets.line(show_url(str(request.url), own), SHOWN_VALUE),
        sent=_fields(request.headers, own, secrets),
        body=_body(request),
        problem=secrets.line(problem, SHOWN_VALUE),
    )


def _fields(headers: httpx.Headers, own: str, secrets: Secrets) -> Fields:
    shown = []
    for name, value in headers.multi_items()[:SHOWN_HEADERS]:
        if name in _SECRET_HEADERS:
            value = f"{value.partition(' ')[0]} {HIDDEN}" if "authorization" in name and " " in value else HIDDEN
        elif name in _URL_HEADERS:
            value = _location(value, own)
        shown.append((secrets.line(_canonical(name), SHOWN_VALUE), secrets.line(value, SHOWN_VALUE)))
    return tuple(shown)


def _location(value: str, own: str) -> str:
    try:
        return show_url(value, own)
    except ValueError:
        return value  # no URL, and so no parameters


def _canonical(name: str) -> str:
    """A header's name as people write it."""
    special = {"oci": "OCI", "etag": "ETag", "www": "WWW"}
    return "-".join(special.get(word, word.capitalize()) for word in name.split("-"))


def _body(request: httpx.Request) -> str:
    if "Content-Length" in request.headers:
        size = int(request.headers["Content-Length"])
        return f"{size} bytes" if size else ""
    return "a stream of unsaid length" if "Transfer-Encoding" in request.headers else ""


def _text(response: httpx.Response, secrets: Secrets) -> str:
    """The beginning of the body when it is text, else what it is."""
    try:
        return secrets.show(response.content.decode(), SHOWN_BODY)
    except UnicodeDecodeError:
        return f"({len(response.content)} bytes that are no text)"
