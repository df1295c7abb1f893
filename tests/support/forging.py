"""Tokens as the server under test would sign them, and as somebody else would."""

import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from auth.signing import Seal
from registry.db import signing_keys
from tests.support.people import SECRET, People


class Forge:
    """Signs with the server's own key, which it takes out of the database: the secret is the tests'."""

    def __init__(self, people: People) -> None:
        [key] = people.read(signing_keys.every)
        opened = Seal(SECRET["STOWAGE_AUTH__SECRET"].encode()).open(key.kid, key.sealed)
        assert opened is not None
        self.kid = key.kid
        self.key: EllipticCurvePrivateKey = opened

    def claims(self, **changed: Any) -> dict[str, Any]:
        """Return what a token for nobody says, with changes; what is None is left out."""
        now = int(time.time())
        usual = {"iss": "stowage", "sub": "", "aud": "stowage", "exp": now + 60, "nbf": now, "iat": now, "jti": "x"}
        all_claims = {**usual, "access": [], "cred": "", **changed}
        return {name: value for name, value in all_claims.items() if value is not None}

    def token(self, **changed: Any) -> str:
        """Return a token that says so."""
        return jwt.encode(self.claims(**changed), self.key, "ES256", headers={"kid": self.kid})
