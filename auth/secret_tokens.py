"""Secrets that the registry makes: `stw_` and 160 random bits, which nobody can guess, so that SHA-256 hides them."""

import base64
import hashlib
import secrets
from typing import NamedTuple

PREFIX = "stw_"
_BYTES = 20
_LENGTH = len(PREFIX) + 32
_HINT = len(PREFIX) + 4


class NewToken(NamedTuple):
    """A secret, shown once; `digest` and `hint` are what is kept of it."""

    secret: str
    digest: bytes
    hint: str


def make() -> NewToken:
    """Make a secret."""
    secret = PREFIX + base64.b32encode(secrets.token_bytes(_BYTES)).decode("ascii").lower()
    return NewToken(secret, digest_of(secret), secret[:_HINT])


def is_one(text: str) -> bool:
    """Say whether a text looks like such a secret."""
    return text.startswith(PREFIX) and len(text) == _LENGTH


def digest_of(secret: str) -> bytes:
    """Return what a secret is known by."""
    return hashlib.sha256(secret.encode()).digest()
