"""An HTTP client that talks to a registry as clients do: it follows redirects, answers 401, and waits after 429.

It trusts no registry: each answer has a largest size and a longest time, and what is kept of it holds no secret.
Sources: distribution-spec "API", CNCF distribution's token authentication (`docs/content/spec/auth/token.md`),
RFC 9110.
"""

import base64
import json
import os
import re
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl, quote, urlencode, urljoin, urlsplit

import httpx

from conformance.challenge import parse_challenges
from conformance.connections import Connections, TooSlow
from conformance.exchange import HIDDEN, Exchange, Secrets, answered, show_url, unanswered
from conformance.leftovers import Leftovers
from conformance.observed import Observed

Body = bytes | Callable[[], Iterator[bytes]] | None
"""A request's body. A function opens a fresh stream each time it is sent, which is with chunked transfer coding."""

Params = Sequence[tuple[str, str]]
Headers = Mapping[str, str] | Sequence[tuple[str, str]]

TIMEOUT = 60.0
"""Seconds that a request may take until its answer is whole."""
LARGEST_ANSWER = 16 * 1024 * 1024
"""Bytes of an answer's body that are read."""
MOST_REDIRECTS = 10
PATIENCE = 180.0
"""Seconds to wait in all because of 429."""
LONGEST_WAIT = 30.0
"""Seconds to wait because of one 429, whatever Retry-After says."""

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
        return f"Basic {self._encoded}"

    def secrets(self) -> list[str]:
        """How the password may come back from a registry: as it is, and as it is encoded on its way."""
        if not self.password:
            return []
        return [self.password, quote(self.password, safe=""), json.dumps(self.password)[1:-1], self._encoded]

    @property
    def _encoded(self) -> str:
        return base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


class Client:
    """Sends requests to one registry.

    Args:
        url: scheme, host and port, e.g. `http://127.0.0.1:5000`.
        credentials: shown when the registry asks for them; None stays anonymous (a token is still fetched).
        timeout: seconds that a request may take until its answer is whole.

    Attributes:
        exchanges: what was asked and answered since `forget()`, fit to be shown.
        secrets: what no report may show; tokens are added to it.
        leftovers: what the registry said that it stored.
        observed: what is to be seen in answers of any kind.
    """

    def __init__(self, url: str, credentials: Credentials | None = None, timeout: float = TIMEOUT) -> None:
        self.url = url.rstrip("/")
        self.credentials = credentials
        self.exchanges: list[Exchange] = []
        self.secrets = Secrets(credentials.secrets() if credentials else ())
        self.leftovers = Leftovers()
        self.observed = Observed()
        self._patience = PATIENCE
        self._connections = Connections(timeout)
        self._http = httpx.Client(
            verify=_trusted(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")),
            trust_env=False,
            timeout=timeout,
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
        self._connections.close()

    def forget(self) -> None:
        """Begin a new list of exchanges."""
        self.exchanges = []

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
        """Send a request; after a 401 once more, with credentials or a token; after a 429 again, a little later.

        Args:
            method: GET, HEAD, POST, ...
            target: a path on the registry that begins with a slash, or an absolute URL that it gave.
            params: query parameters, added to those that `target` has; the latter stay byte for byte.
            headers: header fields; a sequence may hold a name several times.
            body: bytes, or a function that opens a stream of them.
            without: names of headers that are otherwise sent by default, to leave out.

        Returns:
            The answer, read to its end.

        Raises:
            ClientError: no HTTP answer came, it was too long or too slow, or no token was to be had.
        """
        try:
            url = add_params(urljoin(self.url + "/", target), params)
            asked = (method, url, headers, body, tuple(without))
            response = self._send(*asked)
            unauthorized = response.status_code == httpx.codes.UNAUTHORIZED and self._is_own(url)
            if unauthorized and self._learn(response, _key(method, url)):
                response = self._send(*asked)
            while response.status_code == httpx.codes.TOO_MANY_REQUESTS and self._patience > 0:
                seconds = _wait(response)
                self._patience -= seconds
                time.sleep(seconds)
                response = self._send(*asked)
        except ValueError as error:  # what a registry gave as a Location need not be a URL
            raise ClientError(f"{method} {target}: {error}") from error
        self.leftovers.note(response, body)
        return response

    def _send(self, method: str, url: str, headers: Headers, body: Body, without: Sequence[str] = ()) -> httpx.Response:
        """Send a request and follow redirects."""
        try:
            request = self._http.build_request(
                method,
                url,
                headers=list(dict(headers).items()) if isinstance(headers, Mapping) else list(headers),
                content=body() if callable(body) else body,
                extensions={"trace": self._connections.trace},
            )
        except httpx.InvalidURL as error:
            raise ClientError(f"{method} {show_url(url)}: {error}") from error
        for name in without:
            del request.headers[name]
        authorization = self._authorization(method, url)
        if authorization is not None:
            request.headers["Authorization"] = authorization
        history: list[httpx.Response] = []
        response, following = self._exchange(request)
        while following is not None:
            if len(history) == MOST_REDIRECTS:
                raise ClientError(f"{method} {show_url(url)}: more than {MOST_REDIRECTS} redirects")
            history.append(response)
            response, following = self._exchange(following)
            response.history = list(history)
        return response

    def _exchange(self, request: httpx.Request) -> tuple[httpx.Response, httpx.Request | None]:
        """Send one request, read its answer, keep both; the request that a redirect asks for, when it is one."""
        request.extensions = {**request.extensions, "trace": self._connections.trace}
        try:
            with self._connections.limited():
                streamed = self._http.send(request, stream=True, follow_redirects=False)
                try:
                    response = _read(streamed)
                finally:
                    streamed.close()
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, TooSlow, _TooLong) as error:
            self.exchanges.append(unanswered(request, type(error).__name__, self.url, self.secrets))
            raise ClientError(f"{request.method} {show_url(str(request.url))}: {_reason(error)}") from error
        self.exchanges.append(answered(response, self.url, self.secrets))
        response.extensions["exchange"] = len(self.exchanges) - 1
        self.observed.note(response)
        return response, streamed.next_request

    def _is_own(self, url: str) -> bool:
        ours, theirs = urlsplit(self.url), urlsplit(url)
        return (ours.scheme, ours.netloc) == (theirs.scheme, theirs.netloc)

    def _authorization(self, method: str, url: str) -> str | None:
        if not self._is_own(url):
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
            response, _ = self._exchange(self._http.build_request("GET", add_params(realm, query), headers=headers))
        except (ClientError, httpx.InvalidURL) as error:
            raise TokenError(f"no token from {show_url(realm)}: {error}") from error
        self.exchanges[-1] = replace(self.exchanges[-1], answer=HIDDEN)
        try:
            answer = response.json()
            token = answer.get("token") or answer.get("access_token")
        except (ValueError, AttributeError, RecursionError):
            token = None
        if response.status_code != httpx.codes.OK or not isinstance(token, str):
            raise TokenError(f"no token from {show_url(realm)}: it answered {response.status_code}")
        self.secrets.add([token])
        return token


@cache
def _trusted(file: str | None, folder: str | None) -> ssl.SSLContext:
    """The certificates that are trusted, from OpenSSL's own places, which both variables change. Reading takes long."""
    del file, folder  # OpenSSL looks for itself
    return ssl.create_default_context()


class _TooLong(Exception):
    """An answer's body is longer than anything that was asked for."""


def _read(streamed: httpx.Response) -> httpx.Response:
    """The answer with its whole body, decoded if it was encoded though nobody asked for that."""
    data = bytearray()
    for chunk in streamed.iter_bytes():
        data += chunk
        if len(data) > LARGEST_ANSWER:
            raise _TooLong(f"the answer is longer than {LARGEST_ANSWER} bytes")
    headers = [pair for pair in streamed.headers.multi_items() if pair[0] != "content-encoding"]
    return httpx.Response(streamed.status_code, headers=headers, content=bytes(data), request=streamed.request)


def add_params(url: str, params: Params) -> str:
    """A URL with query parameters added; those that it has are kept as they are."""
    if not params:
        return url
    return url + ("&" if urlsplit(url).query else "?") + urlencode(params, quote_via=quote, safe=":/")


def _wait(response: httpx.Response) -> float:
    """Seconds to wait after a 429; one when Retry-After does not say how many."""
    value: str = response.headers.get("Retry-After", "")
    return min(max(float(value), 0.1), LONGEST_WAIT) if value.isascii() and value.isdigit() else 1.0


def _reason(error: Exception) -> str:
    """Why there is no answer, on one line."""
    reason = " ".join(str(error).split()) or type(error).__name__
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        reason += "; for a certificate of your own, set SSL_CERT_FILE"
    return reason


def _key(method: str, url: str) -> tuple[str, str, str]:
    """Requests with the same key need the same token: the method, the repository, the one mounted from."""
    parts = urlsplit(url)
    repository = _REPOSITORY.match(parts.path)
    return method, repository.group(1) if repository else parts.path, dict(parse_qsl(parts.query)).get("from", "")
