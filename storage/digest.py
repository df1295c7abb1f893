"""Content digests: `algorithm:hex`, as the OCI image specification defines them.

Source: image-spec, descriptor.md, "Digests". Of the registered algorithms sha256 and sha512 are supported.
A digest is a plain string that has been checked, so that it costs nothing to store, compare or send.
"""

import hashlib
import re
import secrets
from typing import NewType, Protocol

from storage.errors import InvalidDigest

Digest = NewType("Digest", str)

SHA256 = "sha256"
SHA512 = "sha512"
ALGORITHMS = (SHA256, SHA512)

_DIGEST = re.compile(r"(?:sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128})\Z")


class Hasher(Protocol):
    """A running hash, as `hashlib` makes them."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        """Take in `data`."""

    def hexdigest(self) -> str:
        """Return the hash of everything taken in, as lower-case hex."""

    def copy(self) -> "Hasher":
        """Return a hash that has seen the same and goes on by itself."""


def parse_digest(text: str) -> Digest:
    """Check `text` and return it as a Digest.

    Raises InvalidDigest for any other form, upper-case hex and unsupported algorithms included.
    """
    if _DIGEST.match(text) is None:
        raise InvalidDigest(f"not a digest: expected sha256:<64 lower-case hex> or sha512:<128>, got {text[:160]!r}")
    return Digest(text)


def is_digest(text: str) -> bool:
    """Say whether `parse_digest` would take `text`."""
    return _DIGEST.match(text) is not None


def algorithm_of(digest: Digest) -> str:
    """Return the part before the colon: `sha256` or `sha512`."""
    return digest[:6]


def encoded_of(digest: Digest) -> str:
    """Return the part after the colon: lower-case hex."""
    return digest[7:]


def new_hasher(algorithm: str) -> Hasher:
    """Start a hash. Raises InvalidDigest if the algorithm is not supported."""
    if algorithm not in ALGORITHMS:
        raise InvalidDigest(f"digest algorithm {algorithm[:40]!r} is not supported: use {' or '.join(ALGORITHMS)}")
    return hashlib.new(algorithm)


def digest_from(algorithm: str, hasher: Hasher) -> Digest:
    """Return the digest of what `hasher` has seen so far."""
    return Digest(f"{algorithm}:{hasher.hexdigest()}")


def digest_bytes(data: bytes, algorithm: str = SHA256) -> Digest:
    """Return the digest of `data`."""
    return Digest(f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}")


def new_key(digest: Digest) -> str:
    """Make a key, never used before, under which content with this digest may be published.

    The random tail makes every publication an object of its own: two pushes of one digest can't
    overwrite each other, and a late DELETE of an old key can't destroy new content.
    """
    encoded = encoded_of(digest)
    return f"blobs/{algorithm_of(digest)}/{encoded[:2]}/{encoded}-{secrets.token_hex(6)}"
