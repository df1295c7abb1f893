"""Range of downloads, Content-Range and Content-Length of uploads.

Positions count bytes from 0; both ends are included.
Sources: RFC 9110, sections 8.6 and 14; distribution-spec, "Pushing a blob in chunks".
"""

import re

from registry.errors import RangeInvalid, SizeInvalid, UploadInvalid

# More digits than this are not converted: 10**18 bytes is more than any blob has, and fits 63 bits.
_MAX_DIGITS = 18
_HUGE = 1_000_000_000_000_000_000

_RANGE = re.compile(r"[ \t]*bytes=[ \t]*(?:([0-9]++)-([0-9]*+)|-([0-9]++))[ \t]*", re.IGNORECASE | re.ASCII).fullmatch
_CONTENT_RANGE = re.compile(
    r"[ \t]*(?:([0-9]{1,18})-([0-9]{1,18})|bytes[ \t]+([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*))[ \t]*",
    re.IGNORECASE | re.ASCII,
).fullmatch
_LENGTH = re.compile(r"[0-9]{1,18}").fullmatch


def parse_range(header: str, size: int) -> tuple[int, int] | None:
    """Return the first and last byte that a Range header selects of a blob of `size` bytes.

    None: serve the whole, as RFC 9110 (section 14.2) allows for another unit, several ranges and bad syntax. A suffix
    of an empty blob is the whole of it. Raises RangeInvalid if no byte is selected, and also for a range that ends
    before it starts: the RFC calls that one bad syntax, but clients, and the official conformance suite, expect 416.
    """
    match = _RANGE(header)
    if match is None:
        return None
    first_text, last_text, suffix_text = match.groups()
    if suffix_text is not None:
        length = _number(suffix_text)
        if length == 0:
            raise RangeInvalid("the range asks for the last 0 bytes", size=size)
        return (max(size - length, 0), size - 1) if size else None
    first = _number(first_text)
    last = _number(last_text) if last_text else _HUGE
    if first >= size:
        raise RangeInvalid(f"the range starts beyond the end: the blob has {size} bytes", size=size)
    if last < first:
        raise RangeInvalid("the range ends before it starts", size=size)
    return first, min(last, size - 1)


def parse_content_range(header: str) -> tuple[int, int]:
    """Return the first and last byte that an upload says it carries.

    The specification's form is `<start>-<end>`; that of RFC 9110 (section 14.4), `bytes <start>-<end>/<total or *>`,
    is tolerated. Raises UploadInvalid for anything else, for an end before the start or not below the total.
    """
    match = _CONTENT_RANGE(header)
    if match is None:
        raise UploadInvalid(f"Content-Range: expected <start>-<end> in bytes, both included, got {header[:80]!r}")
    first, last = int(match[1] or match[3]), int(match[2] or match[4])
    if last < first:
        raise UploadInvalid(f"Content-Range: {first}-{last} ends before it starts")
    if match[5] not in (None, "*") and last >= int(match[5]):
        raise UploadInvalid(f"Content-Range: byte {last} is not within a total of {int(match[5])} bytes")
    return first, last


def range_header(offset: int) -> str:
    """Return the Range header that tells how much of an upload was received: `offset` bytes.

    `0-0` stands for one byte and for none: the form has no way to say nothing, and that is what other registries send.
    """
    return f"0-{offset - 1}" if offset > 0 else "0-0"


def parse_length(header: str | None) -> int | None:
    """Return a Content-Length in bytes, None where there is none. Raises SizeInvalid unless it is 1 to 18 digits."""
    if header is None:
        return None
    header = header.rstrip(" \t")
    if _LENGTH(header) is None:
        raise SizeInvalid(f"Content-Length: expected at most {_MAX_DIGITS} digits, got {header[:80]!r}")
    return int(header)


def _number(digits: str) -> int:
    """Return the value, or 10**18 for all that is greater."""
    if len(digits) > _MAX_DIGITS:
        digits = digits.lstrip("0")
        if len(digits) > _MAX_DIGITS:
            return _HUGE
    return int(digits or "0")
