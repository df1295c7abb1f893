"""An HTTP client that talks to a registry as clients do: it follows redirects, and answers 401.

Sources: distribution-spec "API", CNCF distribution's token authentication (`docs/content/spec/auth/token.md`),
RFC 9110.
"""

import base64
import re
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl, quote, urlencode, urljoin, urlsplit

import httpx

Body = bytes | Callable[[], Iterator[bytes]] | None
"""A request's body. A function opens a fresh stream each time it is sent, which is with chunked transfer coding."""

Params = Sequence[tuple[str, str]]
Headers = Mapping[str, str] | Sequence[tuple[str, str]]

TIMEOUT = 60.0
"""Seconds that a single read or write may take."""

_SHOWN_PARAMS = {"digest", "digest-algorithm", "n", "last", "artifactType", "mount", "from", "tag"}
_SCHEME = re.compile(r"(?:^|,)\s*(Basic|Bearer)(?:\s+|$)", re.IGNORECASE)
_PARAMETER = re.compile(r'(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')
_REPOSITORY = re.compile(r"^/v2/(.+)/(?:blobs|manifests|tags|referrers)/")


class ClientError(Exception):
    """A request could not be sent or understood: the connection failed, or no token was to be had."""


class TokenError(ClientError):
    """The registry wants a token, and none was to be had."""


@dataclass(frozen=True)
class Credentials:
    """A user name and a password, as `docker login` takes them."""

    username: str
    password: str = field(repr=False)

    def basic(self) -> str:
        """The value of an Authorization header (RFC 7617)."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


@dataclass(frozen=True)
class Challenge:
    """One challenge of a WWW-Authenticate header: the scheme in lower case, its parameters by name."""

    scheme: str
    parameters: Mapping[str, str]


class Client:
    """Sends requests to one registry.

    Args:
        url: scheme, host and port, e.g. `http://127.0.0.1:5000`.
        credentials: shown when the registry asks for them; None stays anonymous (a token is still fetched).

    Attributes:
        exchanges: a line for each request since `forget()`, fit to be shown: no header, no secret parameter.
    """

    def __init__(self, url: str, credentials: Credentials | None = None) -> None:
        self.url = url.rstrip("/")
        self.credentials = credentials
        self.exchanges: list[str] = []
        self._http = httpx.Client(
            # OpenSSL's own places: SSL_CERT_FILE and SSL_CERT_DIR are heeded.
            verify=ssl.create_default_context(),
            trust_env=False,
            timeout=TIMEOUT,
            headers={"User-Agent": "registry-conformance", "Accept-Encoding": "identity"},
        )
        self._basic = False
        self._tokens: dict[tuple[str, str, str], str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._http.close()

    def forget(self) -> None:
        """Begin a new list of exchanges."""
        self.exchanges.clear()

    def request(
        self,
        method: str,
        target: str,
        *,
        params: Params = (),
        headers: Headers = (),
        body: Body = None,
        without: Iterable[str] = (),
    ) -> httpx.Response:
        """Send a request; after a 401 once more, with credentials or a token.

        Args:
            method: GET, HEAD, POST, ...
            target: a path on the registry that begins with a slash, or an absolute URL that it gave.
            params: query parameters, added to those that `target` has; the latter stay byte for byte.
            headers: header fields; a sequence may hold a name several times.
            body: bytes, or a function that opens a stream of them.
            without: names of headers that are otherwise sent by default, to leave out.

        Raises:
            ClientError: no HTTP answer came, or no token was to be had.
        """
        url = add_params(urljoin(self.url + "/", target), params)
        response = self._send(method, url, headers, body, without)
        asked = response.status_code == httpx.codes.UNAUTHORIZED and self._same_origin(url)
        if asked and self._learn(response, _key(method, url)):
            response = self._send(method, url, headers, body, without)
        return response

    def _send(self, method: str, url: str, headers: Headers, body: Body, without: Iterable[str]) -> httpx.Response:
        shown = f"{method} {show_url(url)}"
        try:
            request = self._http.build_request(
                method,
                url,
                headers=list(dict(headers).items()) if isinstance(headers, Mapping) else list(headers),
                content=body() if callable(body) else body,
            )
            for name in without:
                del request.headers[name]
            authorization = self._authorization(method, url)
            if authorization is not None:
                request.headers["Authorization"] = authorization
            response = self._http.send(request, follow_redirects=True)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            self.exchanges.append(f"{shown} -> {type(error).__name__}")
            raise ClientError(f"{shown}: {_reason(error)}") from error
        self.exchanges.append(f"{shown} -> {response.status_code}")
        return response

    def _same_origin(self, url: str) -> bool:
        ours, theirs = urlsplit(self.url), urlsplit(url)
        return (ours.scheme, ours.netloc) == (theirs.scheme, theirs.netloc)

    def _authorization(self, method: str, url: str) -> str | None:
        if not self._same_origin(url):
            return None  # credentials never leave for another host
        if self._basic and self.credentials is not None:
            return self.credentials.basic()
        token = self._tokens.get(_key(method, url))
        return None if token is None else f"Bearer {token}"

    def _learn(self, response: httpx.Response, key: tuple[str, str, str]) -> bool:
        """Prepare for a second try after a 401. False when there is nothing new to show."""
        for challenge in parse_challenges(response.headers.get_list("WWW-Authenticate")):
            if challenge.scheme == "bearer":
                self._tokens[key] = self._fetch_token(challenge.parameters)
                return True
            if challenge.scheme == "basic" and self.credentials is not None and not self._basic:
                self._basic = True
                return True
        return False

    def _fetch_token(self, parameters: Mapping[str, str]) -> str:
        realm = urljoin(self.url + "/", parameters.get("realm", ""))
        if urlsplit(self.url).scheme == "https" and urlsplit(realm).scheme != "https":
            raise TokenError("the registry asks for a token from a realm without TLS; credentials are not sent there")
        query = [("service", parameters["service"])] if "service" in parameters else []
        query += [("scope", scope) for scope in parameters.get("scope", "").split()]
        headers = {} if self.credentials is None else {"Authorization": self.credentials.basic()}
        try:
            response = self._http.get(add_params(realm, query), headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise TokenError(f"no token from {show_url(realm)}: {_reason(error)}") from error
        self.exchanges.append(f"GET {show_url(realm)} (token) -> {response.status_code}")
        try:
            answer = response.json()
            token = answer.get("token") or answer.get("access_token")
        except (ValueError, AttributeError):
            token = None
        if response.status_code != httpx.codes.OK or not isinstance(token, str):
            raise TokenError(f"no token from {show_url(realm)}: it answered {response.status_code}")
        return token


def parse_challenges(values: Iterable[str]) -> list[Challenge]:
    """The Basic and Bearer challenges of WWW-Authenticate headers (RFC 9110, section 11.6.1), Bearer first."""
    found = []
    for value in values:
        marks = list(_SCHEME.finditer(value))
        ends = [*(mark.start() for mark in marks[1:]), len(value)]
        for mark, end in zip(marks, ends, strict=False):  # one end too many when there is no mark
            text = value[mark.end() : end]
            parameters = {
                name.lower(): re.sub(r"\\(.)", r"\1", quoted) or plain
                for name, quoted, plain in _PARAMETER.findall(text)
            }
            found.append(Challenge(mark.group(1).lower(), parameters))
    return sorted(found, key=lambda challenge: challenge.scheme != "bearer")


def add_params(url: str, params: Params) -> str:
    """A URL with query parameters added; those that it has are kept as they are."""
    if not params:
        return url
    return url + ("&" if urlsplit(url).query else "?") + urlencode(params, quote_via=quote, safe=":/")


def show_url(url: str) -> str:
    """A URL's path and query as a report may show it: values of parameters that may be secret are left out."""
    parts = urlsplit(url)
    query = [
        f"{name}={value if name in _SHOWN_PARAMS else '...'}"
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
    ]
    return parts.path + ("?" + "&".join(query) if query else "")


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _key(method: str, url: str) -> tuple[str, str, str]:
    """Requests with the same key need the same token: the method, the repository, the one mounted from."""
    parts = urlsplit(url)
    repository = _REPOSITORY.match(parts.path)
    return method, repository.group(1) if repository else parts.path, dict(parse_qsl(parts.query)).get("from", "")
