"""A request of the distribution API: what handlers read from an ASGI scope, parsed when asked for."""

from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qsl

from auth.errors import Unauthenticated
from auth.principal import ANONYMOUS, Principal
from registry.errors import BodyCut, QueryInvalid
from registry.http.receiving import RECEIVE_INTO
from storage.driver import Source

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_MAX_PARAMETERS = 2000
_PLAIN_BYTES = _MAX_PARAMETERS  # so that they can't be too many


class Request:
    """One request. Its body can be read once."""

    __slots__ = ("_query", "_receive", "method", "path", "principal", "refusal", "scope")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.principal: Principal = ANONYMOUS
        self.refusal: Unauthenticated | None = None  # why the credentials do not count, until somebody asks for them
        self._receive = receive
        self._query: list[tuple[str, str]] | None = None

    def header(self, name: bytes) -> str | None:
        """Return a header's value, several lines of it joined with commas; None if it is absent.

        Args:
            name: in lower case.
        """
        value = self.raw_header(name)
        return None if value is None else value.decode("latin-1")

    def raw_header(self, name: bytes) -> bytes | None:
        """Return the same as it came."""
        values: list[bytes] = [value for key, value in self.scope["headers"] if key == name]
        if not values:
            return None
        return values[0] if len(values) == 1 else b", ".join(values)

    def query(self, name: str) -> str | None:
        """Return the first value of a query parameter, or None. Raises QueryInvalid."""
        return next((value for key, value in self._parameters() if key == name), None)

    def queries(self, name: str) -> list[str]:
        """Return every value of a query parameter, in order. Raises QueryInvalid."""
        return [value for key, value in self._parameters() if key == name]

    async def body(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes, in pieces of any size.

        Raises:
            BodyCut: the client went away before the body's end.
        """
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise BodyCut("the connection ended in the middle of the body")
            data = message.get("body", b"")
            if data:
                yield data
            more = message.get("more_body", False)

    async def gone(self) -> None:
        """Return when the client has gone away. The body must have been read."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    @property
    def source(self) -> Source | None:
        """What fills memory with the body, instead of `body`, where the server offers that: large bodies. Or None.

        It raises BodyCut.
        """
        offered = self.scope.get("extensions", {}).get(RECEIVE_INTO)
        if offered is None:
            return None
        receive_into: Source = offered["receive_into"]

        async def fill(view: memoryview) -> int:
            try:
                return await receive_into(view)
            except ConnectionResetError:
                raise BodyCut("the connection ended in the middle of the body") from None

        return fill

    def _parameters(self) -> list[tuple[str, str]]:
        if self._query is None:
            self._query = parse_query(self.scope["query_string"])
        return self._query


def parse_query(raw: bytes) -> list[tuple[str, str]]:
    """Return the names and values of a query, in order. Raises QueryInvalid."""
    text = raw.decode("latin-1")
    if "%" not in text and "+" not in text and len(raw) < _PLAIN_BYTES:
        # Most are like this, and the library takes four times as long.
        parts = [part.partition("=") for part in text.split("&") if part]
        return [(name, value) for name, _, value in parts]
    try:
        return parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_PARAMETERS)
    except ValueError as error:
        raise QueryInvalid(f"the query can't be read: {error}") from None
