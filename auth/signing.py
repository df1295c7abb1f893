"""Tokens signed by keys of one's own: ES256 (RFC 7518, section 3.4), keys sealed by AES-256-GCM.

A key's algorithm is fixed: what the token's header says of it counts for nothing (RFC 8725, section 3.1).
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_private_key
from jwt.algorithms import ECAlgorithm

from auth.errors import TokenInvalid
from auth.sealing import Box

ALGORITHM = "ES256"
LEEWAY_S = 10
"""How far the clocks of replicas may be apart: so long a token is good beyond its time, either way."""
_LONGEST = 64 * 1024
_REQUIRED = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"]


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made. `public`: a JSON Web Key (RFC 7517). `sealed`: the private one."""

    kid: str
    public: str
    sealed: bytes


class Seal:
    """Seals and opens private keys by a secret that is not in the database."""

    def __init__(self, secret: bytes) -> None:
        self._box = Box(secret, "stowage signing keys")

    def new_key(self) -> NewKey:
        """Make a key."""
        kid, private = secrets.token_hex(8), generate_private_key(SECP256R1())
        content = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        return NewKey(kid, ECAlgorithm.to_jwk(private.public_key()), self._box.seal(content, kid))

    def open(self, kid: str, sealed: bytes) -> EllipticCurvePrivateKey | None:
        """Return a private key; None if it was sealed by another secret."""
        content = self._box.open(sealed, kid)
        if content is None:
            return None
        key = load_der_private_key(content, None)
        return key if isinstance(key, EllipticCurvePrivateKey) else None


def public_key(jwk: str) -> EllipticCurvePublicKey:
    """Return the key that a JSON Web Key describes. Raises ValueError: it is of another kind."""
    key = ECAlgorithm(ECAlgorithm.SHA256).from_jwk(jwk)
    if not isinstance(key, EllipticCurvePublicKey):
        raise ValueError("the key is not a public one")
    return key


def sign(claims: Mapping[str, Any], kid: str, key: EllipticCurvePrivateKey) -> str:
    """Return a signed token."""
    return jwt.encode(dict(claims), key, algorithm=ALGORITHM, headers={"kid": kid})


def key_id(token: str) -> str:
    """Return which key a token says that it was signed with. Raises TokenInvalid."""
    try:
        kid = jwt.get_unverified_header(token).get("kid") if len(token) <= _LONGEST else None
    except jwt.InvalidTokenError:
        kid = None
    if not isinstance(kid, str):
        raise TokenInvalid("the token is malformed")
    return kid


def verified(token: str, key: EllipticCurvePublicKey, *, issuer: str, audience: str) -> dict[str, Any]:
    """Return what a token says. Raises TokenInvalid."""
    try:
        return jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            issuer=issuer,
            audience=audience,
            leeway=LEEWAY_S,
            options={"require": _REQUIRED},
        )
    except jwt.ExpiredSignatureError:
        raise TokenInvalid("the token has ended") from None
    except jwt.InvalidTokenError:
        raise TokenInvalid("the token is not valid") from None
