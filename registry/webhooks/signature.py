"""Signatures as Standard Webhooks say, version 1.0.0: HMAC-SHA256 over the message's id, the time, and the body.

Source: https://github.com/standard-webhooks/standard-webhooks, "Verifying webhook authenticity".
"""

import base64
import binascii
import hashlib
import hmac
import secrets

_PREFIX = "whsec_"
_NEW_BYTES = 32


class SecretInvalid(ValueError):
    """A secret that is none. The message does not quote it."""


def key_of(secret: str) -> bytes:
    """Return the key that a secret stands for: what is in base64 after `whsec_`, or, of any other, its own bytes.

    Raises:
        SecretInvalid: it is empty, or not base64 after the prefix.
    """
    if not secret.startswith(_PREFIX):
        if not secret:
            raise SecretInvalid("expected a secret that is not empty")
        return secret.encode()
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise SecretInvalid("expected base64 after whsec_") from None
    if not key:
        raise SecretInvalid("expected base64 after whsec_")
    return key


def new_secret() -> str:
    """Return a new secret, as receivers are given it."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(_NEW_BYTES)).decode()


def headers(key: bytes | None, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers of a message, signed if there is a key.

    Args:
        message_id: the same on each try, without dots.
        timestamp: of this try, in seconds since the epoch.
    """
    found = {"webhook-id": message_id, "webhook-timestamp": str(timestamp)}
    if key is not None:
        signed = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
        found["webhook-signature"] = f"v1,{base64.b64encode(signed).decode()}"
    return found
