"""Sealing what must not lie open in the database: AES-256-GCM under a key that follows from a secret (RFC 5869)."""

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_NONCE_BYTES = 12


class Box:
    """Seals and opens.

    Args:
        secret: something that is not in the database.
        purpose: what is sealed. What was sealed for another can't be opened.
    """

    def __init__(self, secret: bytes, purpose: str) -> None:
        key = HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose.encode()).derive(secret)
        self._cipher = AESGCM(key)

    def seal(self, content: bytes, owner: str) -> bytes:
        """Return the content sealed, for an owner: it can't be opened as another's."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, content, owner.encode())

    def open(self, sealed: bytes, owner: str) -> bytes | None:
        """Return what was sealed; None if it was by another secret, or for another owner, or was altered."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], owner.encode())
        except (InvalidTag, ValueError):
            return None
