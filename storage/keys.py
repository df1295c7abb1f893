"""Which texts name an object or an upload. Every driver refuses all others before they touch a path or a URL."""

import re

from storage.errors import InvalidKey

KEY_PREFIX = "blobs/"

# A component never starts with a dot: that rules out "." and "..", and leaves dot names to probes and to
# what network filesystems invent (".nfs0000").
_KEY = re.compile(r"blobs(?:/[a-z0-9_-][a-z0-9._-]{0,254})+\Z")
_KEY_LENGTH = 512
_UPLOAD_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")


def is_key(text: str) -> bool:
    """Say whether `text` is a relative path of safe names below `blobs/`, 512 characters at most."""
    return len(text) <= _KEY_LENGTH and _KEY.match(text) is not None


def check_key(text: str) -> str:
    """Return `text` if it is a key. Raises InvalidKey if it is not."""
    if not is_key(text):
        raise InvalidKey(f"not a key: expected blobs/ and names of [a-z0-9._-], got {text[:160]!r}")
    return text


def is_upload_id(text: str) -> bool:
    """Say whether `text` is a UUID in canonical form: lower case, with hyphens (RFC 9562, section 4)."""
    return _UPLOAD_ID.match(text) is not None
