"""JSON Web Tokens that others sign (RFC 7519, RFC 8725)."""

from collections.abc import Collection, Mapping
from typing import Any, Protocol

import jwt

from auth.errors import TokenInvalid
from auth.keys import PublicKey
from auth.tokens import is_jwt

LEEWAY_S = 60
"""How far clocks may be apart, as CNCF distribution has it."""

_LONGEST = 32 * 1024
_ALGORITHMS = frozenset(
    {"ES256", "ES384", "ES512", "EdDSA", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
)  # none with shared secrets, and not "none"


class KeySource(Protocol):
    """Has the keys of an issuer."""

    async def find(self, header: Mapping[str, Any], algorithm: str) -> PublicKey | None:
        """Return the key that a token's header names and that is for this algorithm, or None.

        Raises:
            TokenInvalid: the header is not acceptable.
            SourceUnavailable: the issuer can't be asked for its keys, and they are needed.
        """

    async def probe(self) -> list[str]:
        """Say what keeps it from answering now; nothing if it can."""


def unverified_issuer(token: str) -> str:
    """Return who a token says that it is of, which chooses whose keys to verify it by. Raises TokenInvalid."""
    if not is_jwt(token) or len(token) > _LONGEST:
        raise TokenInvalid("this is not a JSON Web Token")
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise TokenInvalid("this is not a JSON Web Token") from None
    issuer = claims.get("iss")
    if not isinstance(issuer, str):
        raise TokenInvalid("the token names no issuer")
    return issuer


async def verify(token: str, keys: KeySource, *, issuer: str, audiences: Collection[str]) -> dict[str, Any]:
    """Return the claims of a token: signed by a key of its issuer, for one of the audiences, and valid now.

    Raises:
        TokenInvalid: it does not count.
        SourceUnavailable: the issuer can't be asked for its keys, and they are needed.
    """
    if unverified_issuer(token) != issuer:  # before its keys are looked for, which may take a question
        raise TokenInvalid("the token is of another issuer")
    header = _header(token)
    algorithm = str(header["alg"])
    key = await keys.find(header, algorithm)
    if key is None or algorithm not in key.algorithms:
        raise TokenInvalid("the token is signed by a key, or an algorithm, that its issuer does not use")
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key.key,
            algorithms=[algorithm],
            issuer=issuer,
            audience=list(audiences),
            leeway=LEEWAY_S,
            options={"require": ["iss", "aud", "exp"]},
        )
    except jwt.PyJWTError as error:
        raise TokenInvalid(_reason(error)) from None
    except (ValueError, OverflowError, TypeError, RecursionError):
        raise TokenInvalid("the token's claims make no sense") from None
    return claims


def _header(token: str) -> dict[str, Any]:
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise TokenInvalid("this is not a JSON Web Token") from None
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in _ALGORITHMS:
        raise TokenInvalid("the token's algorithm is none that is accepted")
    if "crit" in header:  # RFC 7515, section 4.1.11: what is critical and not understood
        raise TokenInvalid("the token demands an extension that is not known here")
    return header


def _reason(error: jwt.PyJWTError) -> str:
    """Say what is wrong. PyJWT's own words are not taken: they may quote the token."""
    if isinstance(error, jwt.ExpiredSignatureError):
        return "the token has ended"
    if isinstance(error, jwt.ImmatureSignatureError):
        return "the token is not valid yet"
    if isinstance(error, jwt.InvalidAudienceError):
        return "the token is for another audience"
    if isinstance(error, jwt.MissingRequiredClaimError):
        return "the token lacks iss, aud or exp"
    if isinstance(error, jwt.InvalidSignatureError):
        return "the token's signature is wrong"
    return "the token is not valid"
