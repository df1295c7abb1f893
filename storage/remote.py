"""Blobs of another registry, read over HTTP: `GET /v2/<name>/blobs/<digest>` of the OCI distribution spec, no more.

For commands: a connection is made for each request, and each is served by a thread.
"""

import asyncio
import base64
import http.client
import ssl
import urllib.request
from typing import IO, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, urlsplit

from storage.digest import Digest
from storage.driver import READ_CHUNK, ObjectStream
from storage.errors import ObjectMissing, StorageUnavailable

_PATIENCE_S = 60.0
_ROOT = "/v2"


class Login(NamedTuple):
    """A name and a password, sent by HTTP's Basic authentication (RFC 7617)."""

    name: str
    password: str


class NotARegistry(ValueError):
    """The text is not an address that a registry can have."""


class RemoteRegistry:
    """Another registry. It is only read.

    Args:
        url: `https://HOST[:PORT]` or `http://…`, with or without `/v2`; a path before that is part of the address.
        login: told to this host alone, also where it redirects to others.

    Raises:
        NotARegistry: the URL is another kind of address, or has a password in it.
    """

    def __init__(self, url: str, login: Login | None = None) -> None:
        parts = _parts(url)
        self.url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix(_ROOT)}"
        self._authorization = None if login is None else _basic(login)
        self._opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler(),
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(context=ssl.create_default_context()),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
            _Redirects(),
        ):
            self._opener.add_handler(handler)

    async def check(self) -> None:
        """Return if a registry answers there. Raises StorageUnavailable, saying why, if not."""
        (await asyncio.to_thread(self._get, f"{_ROOT}/")).close()

    async def open(self, repository: str, digest: Digest, size: int) -> "RemoteReader":
        """Begin to read a blob of `size` bytes, which nobody has compared with its digest yet.

        Raises:
            ObjectMissing: it is not in that repository.
            StorageUnavailable: no answer, a refusal, or something of another size.
        """
        response = await asyncio.to_thread(self._get, f"{_ROOT}/{repository}/blobs/{digest}")
        length = response.headers.get("Content-Length")
        if length is not None and length != str(size):
            response.close()
            raise StorageUnavailable(f"{self.url} has {length} bytes for {digest} in {repository}, not {size}")
        return RemoteReader(response, size)

    def _get(self, path: str) -> http.client.HTTPResponse:
        request = urllib.request.Request(self.url + path)  # noqa: S310 - the scheme was looked at
        if self._authorization is not None:
            request.add_unredirected_header("Authorization", self._authorization)
        try:
            response: http.client.HTTPResponse = self._opener.open(request, timeout=_PATIENCE_S)
        except HTTPError as error:
            with error:
                raise self._refused(path, error) from None
        except URLError as error:
            raise StorageUnavailable(f"{self.url} can't be reached: {error.reason}") from None
        except (OSError, http.client.HTTPException) as error:
            raise StorageUnavailable(f"{self.url} does not answer: {str(error) or type(error).__name__}") from None
        return response

    def _refused(self, path: str, error: HTTPError) -> ObjectMissing | StorageUnavailable:
        if error.code == http.client.NOT_FOUND and path != f"{_ROOT}/":
            return ObjectMissing(f"{self.url}{path}: {error.code}")
        why = f"{self.url} answers {error.code} {error.reason} to GET {path}"
        if error.code == http.client.UNAUTHORIZED:
            scheme = error.headers.get("WWW-Authenticate", "").partition(" ")[0].lower()
            if scheme not in {"", "basic"}:
                why += f": it asks for a {scheme} token, and only a name and a password can be given"
            else:
                why += ": it wants another name and password" if self._authorization else ": it wants a login"
        return StorageUnavailable(why)


class RemoteReader:
    """An ObjectReader of what arrives: it is read once, from the front to the end."""

    fileno: int | None = None

    def __init__(self, response: http.client.HTTPResponse, size: int) -> None:
        self.size = size
        self._response = response
        self._position = 0

    async def read(self, offset: int, length: int) -> bytes:
        """Return the next `length` bytes.

        Raises:
            StorageUnavailable: fewer came.
            ValueError: they are not the next ones, or more than READ_CHUNK.
        """
        if offset != self._position or length > READ_CHUNK:
            raise ValueError(f"{length} bytes at {offset} were asked for, the next ones are at {self._position}")
        self._position += length
        return await asyncio.to_thread(self._read, length)

    def read_now(self, offset: int, length: int) -> bytes | None:
        """Return None: what arrives is waited for."""
        return None

    async def stream(self, offset: int, length: int) -> ObjectStream | None:
        """Return None: what arrives is looked at."""
        return None

    def close(self) -> None:
        """End the connection. Closing twice is allowed."""
        self._response.close()

    def _read(self, length: int) -> bytes:
        content = bytearray()
        try:
            while len(content) < length and (more := self._response.read(length - len(content))):
                content += more
        except (OSError, http.client.HTTPException) as error:
            raise StorageUnavailable(f"the connection broke: {str(error) or type(error).__name__}") from None
        if len(content) < length:
            raise StorageUnavailable("the answer ended too early")
        return bytes(content)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects of a GET, as registries send them to where their blobs lie. A login stays at its host."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Return the request that follows; what was told to one host is told to the same host only."""
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        authorization = req.unredirected_hdrs.get("Authorization")
        if following is not None and authorization and _origin(req.full_url) == _origin(newurl):
            following.add_unredirected_header("Authorization", authorization)
        return following


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_address, parts = False, urlsplit("")
    if parts.username is not None or parts.password is not None:
        raise NotARegistry("a registry's address has no name and no password in it")
    if not is_address or parts.query or parts.fragment:
        raise NotARegistry(f"{url}: expected a registry's address, like https://registry.example.org")
    return parts


def _origin(url: str) -> tuple[str, str | None, int | None]:
    """Return scheme, host and port (RFC 6454, 4)."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _basic(login: Login) -> str:
    return "Basic " + base64.b64encode(f"{login.name}:{login.password}".encode()).decode()
