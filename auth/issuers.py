"""Keys of an issuer: out of a file, or asked for where it publishes them (OpenID Connect Discovery 1.0, section 4)."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

from auth.errors import AuthError, FetchRefused, SourceUnavailable, TokenInvalid
from auth.fetch import Fetcher
from auth.keys import KeySet, PublicKey, parse_jwks
from auth.watched import WatchedFile

FRESH_S = 600.0
"""How long keys are used before they are asked for again, beside those who use them."""

STALE_S = 24 * 3600.0
"""How long they are used while their issuer can't be asked."""

GAP_S = 10.0
"""How often an issuer is asked at most, whatever unknown keys tokens name."""

_logger = logging.getLogger("stowage.auth")


class FileKeys:
    """A key set in a file, read again when it changes. Raises TokenInvalid or OSError if it can't be read at first."""

    def __init__(self, path: Path) -> None:
        self._file = WatchedFile(path, parse_jwks_text)

    async def find(self, header: Mapping[str, Any], algorithm: str) -> PublicKey | None:
        """Return the key that a header names, as of now."""
        return (await self._file.value()).find(kid_of(header), algorithm)

    async def probe(self) -> list[str]:
        """Return nothing: the file was read."""
        return []


class IssuerKeys:
    """The keys that an issuer publishes, remembered.

    Old ones are asked for again in the background; an unknown one at once, though not more often than every ten
    seconds; however many wait, one question is under way.

    Args:
        ask: asks the issuer for its keys.
    """

    def __init__(
        self, name: str, ask: Callable[[], Awaitable[KeySet]], *, clock: Callable[[], float] = monotonic
    ) -> None:
        self._name = name
        self._ask = ask
        self._clock = clock
        self._keys: KeySet | None = None
        self._known_at = 0.0
        self._asked_at: float | None = None
        self._failed = False
        self._asking: asyncio.Task[None] | None = None

    async def find(self, header: Mapping[str, Any], algorithm: str) -> PublicKey | None:
        """Return the key that a header names. Raises SourceUnavailable."""
        kid = kid_of(header)
        age = self._clock() - self._known_at
        if self._keys is not None and age < STALE_S:
            key = self._keys.find(kid, algorithm)
            if key is not None:
                if age >= FRESH_S:
                    self._begin()
                return key
        asking = self._begin()
        if asking is not None:
            await asyncio.shield(asking)
        if self._failed:  # it may well have this key by now
            raise SourceUnavailable(f"the keys of {self._name} can't be had now")
        return None if self._keys is None else self._keys.find(kid, algorithm)

    async def probe(self) -> list[str]:
        """Ask, and return what is wrong."""
        try:
            await self._ask()
        except AuthError as error:
            return [f"the keys of {self._name} can't be had: {error}"]
        return []

    async def close(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    def _begin(self) -> asyncio.Task[None] | None:
        """Ask, or return the question that is under way, or None if one was asked just now."""
        if self._asking is not None and not self._asking.done():
            return self._asking
        if self._asked_at is not None and self._clock() - self._asked_at < GAP_S:
            return None
        self._asked_at = self._clock()
        self._asking = asyncio.create_task(self._refresh(), name=f"keys of {self._name}")
        return self._asking

    async def _refresh(self) -> None:
        try:
            self._keys = await self._ask()
            self._known_at = self._clock()
            self._failed = False
        except AuthError as error:
            _logger.warning("the keys of %s can't be had: %s", self._name, error)
            self._failed = True
        except Exception:
            _logger.exception("asking for the keys of %s failed unexpectedly", self._name)
            self._failed = True


def published_keys(
    name: str, fetcher: Fetcher, *, issuer: str, jwks: str | None = None, token_file: Path | None = None
) -> IssuerKeys:
    """Return the keys that an issuer publishes at a URL, or where its discovery document says.

    Args:
        token_file: holds a token that is shown where the configured URL is, and nowhere else: an API server of
            Kubernetes shows its keys only to those who may read them.
    """
    origin = _origin(jwks or issuer)

    async def headers_for(url: str) -> dict[str, str]:
        if token_file is None or _origin(url) != origin:
            return {}
        try:
            token = await asyncio.to_thread(token_file.read_text)
        except OSError as error:
            raise SourceUnavailable(f"{token_file} can't be read: {error.strerror}") from None
        return {"authorization": f"Bearer {token.strip()}"}

    async def ask() -> KeySet:
        url = jwks
        if url is None:
            document = await discover(fetcher, issuer, headers=await headers_for(issuer))
            url = endpoint(document, "jwks_uri")
        found = await fetcher.get(url, headers=await headers_for(url))
        return parse_jwks(found.document())

    return IssuerKeys(name, ask)


async def discover(fetcher: Fetcher, issuer: str, *, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return an issuer's discovery document, which names that issuer.

    Raises:
        FetchRefused: it is another's, or none.
        SourceUnavailable: nobody answers.
    """
    found = await fetcher.get(f"{issuer.rstrip('/')}/.well-known/openid-configuration", headers=headers)
    document = found.document()
    if document.get("issuer") != issuer:  # section 4.3: exactly
        raise FetchRefused(f"the discovery document of {issuer} is of another issuer: {document.get('issuer')!r:.200}")
    return document


def endpoint(document: Mapping[str, Any], name: str) -> str:
    """Return a URL that a discovery document names. Raises FetchRefused."""
    url = document.get(name)
    if not isinstance(url, str):
        raise FetchRefused(f"the discovery document has no {name}")
    return url


def parse_jwks_text(text: bytes) -> KeySet:
    """Return the keys of a key set's text. Raises TokenInvalid."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise TokenInvalid("not a key set: not JSON") from None
    return parse_jwks(document if isinstance(document, dict) else {})


def kid_of(header: Mapping[str, Any]) -> str | None:
    """Return the id of a key that a token's header names, or None. Raises TokenInvalid."""
    kid = header.get("kid")
    if kid is not None and not isinstance(kid, str):
        raise TokenInvalid("the token's kid is not a text")
    return kid


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc
