"""An issuer of tokens: signs them with keys of its own, and publishes these as OpenID Connect Discovery says."""

import json
import time
from types import TracebackType
from typing import Any, Self

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key

from tests.support.certificates import Certificate
from tests.support.pages import Asked, Page, Pages

AUDIENCE = "registry.test"
KUBERNETES: dict[str, Any] = {
    "sub": "system:serviceaccount:ci:runner",
    "kubernetes.io": {
        "namespace": "ci",
        "node": {"name": "worker-1"},
        "pod": {"name": "runner-abc"},
        "serviceaccount": {"name": "runner", "uid": "2f9b2a3c"},
    },
}
"""What a projected token of a service account in Kubernetes says of it."""


class Signer:
    """A key with an id."""

    def __init__(self, kid: str) -> None:
        self.kid = kid
        self.private: EllipticCurvePrivateKey = generate_private_key(SECP256R1())

    @property
    def jwk(self) -> dict[str, Any]:
        public = jwt.algorithms.ECAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        return {**public, "kid": self.kid, "use": "sig", "alg": "ES256"}

    def sign(self, claims: dict[str, Any], **headers: Any) -> str:
        """Sign claims, whatever they are: PyJWT itself refuses to sign some that others would."""
        text = json.dumps(claims).encode()
        return jwt.PyJWS().encode(text, self.private, algorithm="ES256", headers={"kid": self.kid, **headers})


class Issuer:
    """The issuer, as a server. It can be away: then it answers 503."""

    def __init__(self, certificate: Certificate | None = None) -> None:
        self.signer = Signer("first")
        self.published = [self.signer.jwk]
        self.away = False
        self.says_issuer: str | None = None
        self.leads_to: str | None = None
        self._pages = Pages(self._answer, certificate)

    @property
    def url(self) -> str:
        return self._pages.url

    @property
    def asked(self) -> list[Asked]:
        return self._pages.asked

    def asked_for_keys(self) -> int:
        return sum(one.path == "/keys" for one in self.asked)

    def rotate(self, kid: str, *, keep: bool = True) -> None:
        """Sign with another key from now on."""
        self.signer = Signer(kid)
        self.published = [*(self.published if keep else []), self.signer.jwk]

    def token(self, headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """Return a token like that of a pod, but for some claims; None leaves one out."""
        now = int(time.time())
        said = {"iss": self.url, "aud": [AUDIENCE], "iat": now, "nbf": now, "exp": now + 3600, **KUBERNETES, **claims}
        left = {name: value for name, value in said.items() if value is not None}
        return self.signer.sign(left, **(headers or {}))

    def __enter__(self) -> Self:
        self._pages.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pages.__exit__(kind, error, traceback)

    def _answer(self, asked: Asked) -> Page:
        if self.away:
            return Page(status=503)
        if asked.path == "/.well-known/openid-configuration":
            said = {"issuer": self.says_issuer or self.url, "jwks_uri": self.leads_to or f"{self.url}/keys"}
            return Page(json.dumps(said).encode())
        if asked.path == "/keys":
            return Page(json.dumps({"keys": self.published}).encode())
        return Page(status=404)
