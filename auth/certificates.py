"""Keys of an outside token server, by certificates or a key set, as CNCF distribution finds them.

Source: distribution, `registry/auth/token/token.go`; RFC 7515, section 4.1, for `x5c`, `jwk` and `kid`.
"""

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.x509.verification import Criticality, ExtensionPolicy, Policy, PolicyBuilder, Store, VerificationError

from auth.errors import TokenInvalid
from auth.foreign import KeySource
from auth.issuers import kid_of
from auth.keys import PublicKey, of_certificates, parse_certificates, public_key
from auth.watched import WatchedFile

_MOST = 10


def _now() -> datetime:
    return datetime.now(UTC)


def _signs_certificates(policy: Policy, certificate: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("not for signing certificates")


# The key's own certificate needs no host names, nor a usage of TLS: it signs tokens. Those above it are asked for what
# Go asks, whose verification CNCF distribution uses: people make them with openssl, which says no usage.
_SIGNS_OTHERS = (
    ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)
    .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _signs_certificates)
)


class Bundle:
    """Certificates that are trusted, and their keys."""

    def __init__(self, certificates: Sequence[x509.Certificate], *, now: Callable[[], datetime] = _now) -> None:
        self._roots = list(certificates)
        self._now = now
        self.keys = of_certificates(certificates)

    @classmethod
    def parse(cls, pem: bytes) -> "Bundle":
        """Return a bundle in PEM. Raises TokenInvalid."""
        return cls(parse_certificates(pem))

    def certified(self, chain: Sequence[x509.Certificate]) -> PublicKey | None:
        """Return the key of a chain's first certificate. Raises TokenInvalid: it leads to none of the roots."""
        leaf, now = chain[0], self._now()
        if leaf in self._roots:
            if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
                raise TokenInvalid("the certificate of the token's key is not valid now")
        elif not self._roots:
            raise TokenInvalid("no certificate is trusted here, and the token shows one")
        else:
            verifier = (
                PolicyBuilder()
                .store(Store(self._roots))
                .time(now)
                .max_chain_depth(_MOST)
                .extension_policies(ca_policy=_SIGNS_OTHERS, ee_policy=ExtensionPolicy.permit_all())
                .build_client_verifier()
            )
            try:
                verifier.verify(leaf, list(chain[1:]))
            except VerificationError:
                raise TokenInvalid("the certificate of the token's key is not signed by a trusted one") from None
        return public_key(leaf.public_key())


class TokenServerKeys:
    """Keys of a token server.

    A token names its key by a chain of certificates (`x5c`), by a key with a chain or an id (`jwk`), or by an id
    (`kid`), and the first of these that is there counts. Of a `jwk` without a chain nothing but the id is believed.

    Args:
        bundle: PEM file of the certificates that are trusted.
        jwks: the key set that is trusted beside it.
    """

    def __init__(self, bundle: Path | None, jwks: KeySource | None) -> None:
        self._bundle = None if bundle is None else WatchedFile(bundle, Bundle.parse)
        self._jwks = jwks

    async def find(self, header: Mapping[str, Any], algorithm: str) -> PublicKey | None:
        """Return the key that a token's header names. Raises TokenInvalid, SourceUnavailable."""
        bundle = Bundle([]) if self._bundle is None else await self._bundle.value()
        chain = chain_of(header)
        if chain is not None:
            return bundle.certified(chain)
        jwk = header.get("jwk")
        named = jwk if isinstance(jwk, Mapping) else header
        if kid_of(named) is None:
            raise TokenInvalid("the token names no key")
        key = bundle.keys.find(kid_of(named), algorithm)
        if key is None and self._jwks is not None:
            key = await self._jwks.find(named, algorithm)
        return key

    async def probe(self) -> list[str]:
        """Say what keeps it from answering now."""
        return [] if self._jwks is None else await self._jwks.probe()


def chain_of(header: Mapping[str, Any]) -> list[x509.Certificate] | None:
    """Return the certificates in a token's header, or None if there are none. Raises TokenInvalid."""
    texts = header.get("x5c")
    if not texts and isinstance(header.get("jwk"), Mapping):
        texts = header["jwk"].get("x5c")
    if not texts:
        return None
    if not isinstance(texts, list) or len(texts) > _MOST:
        raise TokenInvalid("the token's certificates are not a list of a few")
    try:
        return [x509.load_der_x509_certificate(base64.b64decode(text, validate=True)) for text in texts]
    except (TypeError, ValueError, binascii.Error):
        raise TokenInvalid("the token's certificates can't be read") from None
