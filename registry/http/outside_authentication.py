"""The header Authorization where another server gives tokens: Bearer, and nothing else."""

import hmac
import secrets
import time
from collections import OrderedDict

from auth.errors import TokenInvalid, Unauthenticated
from auth.outside import principal_of
from auth.principal import Principal
from auth.tokens import TokenVerifier
from registry.http.request import Request

_REMEMBERED_S = 60.0
_MOST_REMEMBERED = 10_000


class OutsideAuthenticator:
    """Says who asks, by tokens of an outside token server. What was verified is remembered for a minute."""

    def __init__(self, tokens: TokenVerifier) -> None:
        self._tokens = tokens
        self._key = secrets.token_bytes(32)
        self._shown: OrderedDict[bytes, tuple[Principal, float]] = OrderedDict()

    async def identify(self, request: Request, header: bytes) -> Principal:
        """Say who asks, by the header.

        Raises:
            Unauthenticated: it holds no token that counts.
            SourceUnavailable: the token server can't be asked for its keys now.
        """
        key = hmac.digest(self._key, header, "sha256")
        principal, until = self._shown.get(key, (None, 0.0))
        if principal is not None and time.time() < until:
            return principal
        scheme, _, token = header.decode("latin-1").partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthenticated("a token of the token server is needed")
        try:
            claims = await self._tokens.verify(token.strip())
        except TokenInvalid as error:
            raise Unauthenticated(str(error), bearer=True) from None
        principal = principal_of(claims)
        self._shown[key] = principal, min(time.time() + _REMEMBERED_S, claims.ends_at)
        if len(self._shown) > _MOST_REMEMBERED:
            self._shown.popitem(last=False)
        return principal

    def forget(self) -> None:
        """Have everything verified anew."""
        self._shown.clear()
