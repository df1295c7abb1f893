"""Public keys of others: key sets (RFC 7517), certificates, and which algorithms each key is for."""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from auth.errors import TokenInvalid

AnyPublicKey = EllipticCurvePublicKey | Ed25519PublicKey | RSAPublicKey

_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_RSA_BITS = range(2048, 16384 + 1)
_MOST_KEYS = 200


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that verifies. `algorithms`: what it is for, which its kind and its owner say, and never a token."""

    key: AnyPublicKey
    algorithms: frozenset[str]


@dataclass(frozen=True, slots=True)
class KeySet:
    """Keys by the id that tokens name them by ("" for those without one)."""

    keys: Mapping[str, tuple[PublicKey, ...]]

    def find(self, kid: str | None, algorithm: str) -> PublicKey | None:
        """Return the key that a token names, or the only one that is for its algorithm, where it names none."""
        if kid is None:
            fitting = [key for keys in self.keys.values() for key in keys if algorithm in key.algorithms]
            return fitting[0] if len(fitting) == 1 else None
        for key in self.keys.get(kid, ()):
            if algorithm in key.algorithms:
                return key
        return None

    def __len__(self) -> int:
        return sum(len(keys) for keys in self.keys.values())


def parse_jwks(document: Mapping[str, Any]) -> KeySet:
    """Return the keys of a key set that verify signatures. Keys of kinds that are not known here are left out.

    Raises:
        TokenInvalid: it is no key set, has no such key, or more than 200.
    """
    entries = document.get("keys")
    if not isinstance(entries, list) or len(entries) > _MOST_KEYS:
        raise TokenInvalid(f"not a key set: expected `keys`, a list of {_MOST_KEYS} at most")
    found: dict[str, tuple[PublicKey, ...]] = {}
    for entry in entries:
        key = _from_jwk(entry)
        if key is not None:
            kid = entry.get("kid", "")
            found[str(kid)] = (*found.get(str(kid), ()), key)
    if not found:
        raise TokenInvalid("the key set has no public key that verifies signatures")
    return KeySet(found)


def public_key(key: object, algorithm: str | None = None) -> PublicKey | None:
    """Return a key with what it is for, or None for a kind or size that is not trusted. `algorithm`: for this alone."""
    if isinstance(key, RSAPublicKey):
        algorithms = frozenset(_RSA) if key.key_size in _RSA_BITS else frozenset[str]()
    elif isinstance(key, EllipticCurvePublicKey):
        algorithms = frozenset(filter(None, [_CURVES.get(key.curve.name)]))
    elif isinstance(key, Ed25519PublicKey):
        algorithms = frozenset({"EdDSA"})
    else:
        return None
    if algorithm is not None:
        algorithms &= {algorithm}
    return PublicKey(key, algorithms) if algorithms else None


def key_ids(key: AnyPublicKey) -> tuple[str, ...]:
    """Return what tokens call a key that has no id of its own: its thumbprint (RFC 7638), and libtrust's fingerprint.

    CNCF distribution 3 finds certificates' keys by the first, version 2 by the second.
    """
    thumbprint = hashlib.sha256(json.dumps(_members(key), separators=(",", ":"), sort_keys=True).encode()).digest()
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    text = base64.b32encode(hashlib.sha256(der).digest()[:30]).decode()
    fingerprint = ":".join(text[at : at + 4] for at in range(0, len(text), 4))
    return base64.urlsafe_b64encode(thumbprint).rstrip(b"=").decode(), fingerprint


def parse_certificates(pem: bytes) -> list[x509.Certificate]:
    """Return the certificates of a PEM bundle. Raises TokenInvalid if there are none."""
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise TokenInvalid("not a bundle of certificates in PEM") from None


def of_certificates(certificates: Iterable[x509.Certificate]) -> KeySet:
    """Return the keys of certificates, by the ids that `key_ids` gives them."""
    found: dict[str, tuple[PublicKey, ...]] = {}
    for certificate in certificates:
        key = public_key(certificate.public_key())
        if key is not None:
            found |= dict.fromkeys(key_ids(key.key), (key,))
    return KeySet(found)


def _from_jwk(entry: object) -> PublicKey | None:
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig" or entry.get("kty") not in ("RSA", "EC", "OKP"):
        return None  # "oct" is a shared secret: whoever verifies could sign
    operations = entry.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations or "d" in entry:
        return None  # a private key in public is nobody's any more
    try:
        key = jwt.PyJWK({name: value for name, value in entry.items() if name != "alg"}).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    algorithm = entry.get("alg")
    return public_key(key, None if algorithm is None else str(algorithm))


def _members(key: AnyPublicKey) -> dict[str, str]:
    """Return the members of a key that its thumbprint is made of (RFC 7638, section 3.2; RFC 8037, section 2)."""
    if isinstance(key, RSAPublicKey):
        jwk, names = jwt.algorithms.RSAAlgorithm.to_jwk(key, as_dict=True), "e kty n"
    elif isinstance(key, EllipticCurvePublicKey):
        jwk, names = jwt.algorithms.ECAlgorithm.to_jwk(key, as_dict=True), "crv kty x y"
    else:
        jwk, names = jwt.algorithms.OKPAlgorithm.to_jwk(key, as_dict=True), "crv kty x"
    return {name: str(jwk[name]) for name in names.split()}
