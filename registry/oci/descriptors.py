"""Descriptors: what a manifest says of one piece of content. Source: image-spec 1.1, descriptor.md."""

import binascii
import hashlib
import re
from typing import Any, NamedTuple, TypeGuard

from registry.errors import ManifestInvalid
from storage.digest import ALGORITHMS, is_digest

MAX_DIGEST = 255
MAX_SIZE = 2**63 - 1

_DIGEST = re.compile(r"[a-z0-9]++(?:[+._-][a-z0-9]++)*+:[a-zA-Z0-9=_-]++").fullmatch
# Wider than RFC 6838: parameters and odd names are in use, and nothing here depends on what a layer calls itself.
_MEDIA_TYPE = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,254}").fullmatch
_SURROGATE = re.compile(r"[\ud800-\udfff]").search


class Descriptor(NamedTuple):
    """The fields that matter: a well-formed digest of any algorithm, size in bytes, media type as it was written.

    Only `guess_descriptor` leaves `size` None and `media_type` empty, where they are not told.
    """

    digest: str
    size: int | None
    media_type: str


def is_well_formed_digest(text: str) -> bool:
    """Say whether `text` is `algorithm:encoded`, of any algorithm, in at most 255 characters.

    The encoded part of sha256 and sha512 must be lower-case hex of the right length.
    """
    if is_digest(text):
        return True
    return len(text) <= MAX_DIGEST and _DIGEST(text) is not None and text.partition(":")[0] not in ALGORITHMS


def parse_descriptor(value: object, where: str) -> Descriptor:
    """Check a descriptor in full. `where`: the field it stands in, for messages. Raises ManifestInvalid."""
    if not isinstance(value, dict):
        raise ManifestInvalid(f"{where}: must be a descriptor, an object with mediaType, digest and size")
    media_type = media_type_of(value.get("mediaType"), f"{where}.mediaType")
    digest, size = value.get("digest"), value.get("size")
    if not isinstance(digest, str) or not is_well_formed_digest(digest):
        raise ManifestInvalid(
            f"{where}.digest: expected algorithm:encoded, such as sha256:<64 hex>, got {_shown(digest)}"
        )
    if not _is_size(size):
        raise ManifestInvalid(f"{where}.size: expected a number of bytes, 0 to 2**63 - 1, got {_shown(size)}")
    urls = value.get("urls")
    if urls is not None and not (isinstance(urls, list) and all(isinstance(url, str) for url in urls)):
        raise ManifestInvalid(f"{where}.urls: must be a list of strings")
    if "annotations" in value:
        annotations_of(value, f"{where}.")
    if value.get("data") is not None:
        _check_data(value["data"], digest, size, f"{where}.data")
    return Descriptor(digest, size, media_type)


def guess_descriptor(value: object) -> Descriptor | None:
    """Return what looks like a descriptor, in a manifest of unknown type: an object with a well-formed digest.

    A size or media type that is missing or makes no sense becomes None or "".
    """
    if not isinstance(value, dict):
        return None
    digest, size, media_type = value.get("digest"), value.get("size"), value.get("mediaType")
    if not isinstance(digest, str) or not is_well_formed_digest(digest):
        return None
    return Descriptor(
        digest,
        size if _is_size(size) else None,
        media_type if isinstance(media_type, str) and _MEDIA_TYPE(media_type) else "",
    )


def media_type_of(value: object, where: str) -> str:
    """Return a media type as it was written: 1 to 255 printable ASCII characters. Raises ManifestInvalid."""
    if not isinstance(value, str) or _MEDIA_TYPE(value) is None:
        raise ManifestInvalid(f"{where}: expected a media type of at most 255 characters, got {_shown(value)}")
    return value


def annotations_of(holder: dict[str, Any], where: str) -> dict[str, str]:
    """Return the annotations of a manifest or descriptor; absent and null are none.

    `where`: what stands before the field's name in messages. Raises ManifestInvalid unless they are text to text.
    """
    value = holder.get("annotations")
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ManifestInvalid(f"{where}annotations: must be an object of strings")
    for name, text in value.items():
        if not isinstance(text, str):
            raise ManifestInvalid(f"{where}annotations[{_shown(name)}]: must be a string, got {_shown(text)}")
        if _SURROGATE(name) or _SURROGATE(text):
            raise ManifestInvalid(f"{where}annotations[{_shown(name)}]: holds half a surrogate pair")
    return value


def _is_size(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= MAX_SIZE


def _check_data(value: object, digest: str, size: int, where: str) -> None:
    """Check embedded content: base64 (RFC 4648, section 4) of exactly the bytes that the descriptor describes."""
    if not isinstance(value, str):
        raise ManifestInvalid(f"{where}: must be a string of base64")
    try:
        content = binascii.a2b_base64(value, strict_mode=True)
    except ValueError:
        raise ManifestInvalid(f"{where}: is not base64 (RFC 4648, section 4)") from None
    if len(content) != size:
        raise ManifestInvalid(f"{where}: holds {len(content)} bytes, but size says {size}")
    algorithm, _, encoded = digest.partition(":")
    if algorithm in ALGORITHMS and hashlib.new(algorithm, content).hexdigest() != encoded:
        raise ManifestInvalid(f"{where}: its bytes do not hash to the digest")


def _shown(value: object) -> str:
    """Return what a message may quote of a value: never more than a line."""
    if isinstance(value, str):
        return repr(value[:80])
    if isinstance(value, int | float):
        return f"{value!r:.40}"
    kinds = {type(None): "nothing", list: "a list", dict: "an object"}
    return kinds.get(type(value), type(value).__name__)
