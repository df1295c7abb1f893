"""Conditional requests: If-Match and If-None-Match. Source: RFC 9110, sections 8.8.3 and 13.1.

An entity tag is the quoted digest of the content: strong, since the same digest means the same bytes.
"""

import re

from registry.errors import PreconditionFailed

MAX_HEADER = 8192

# An entity tag, or a bare word for clients that forget the quotes. Whatever matches neither is stepped over.
_TAGS = re.compile(r'(W/)?(?:"([^"]*+)"|([^\s",]++))').finditer


def etag(digest: str) -> str:
    """Return the entity tag of content with this digest."""
    return f'"{digest}"'


def matches(header: str, etag: str, *, weak: bool) -> bool:
    """Say whether one of the entity tags in `header` is `etag`, or it is `*`, which means any content that exists.

    `weak`: compare as If-None-Match does, where `W/"a"` equals `"a"`; If-Match compares strongly, where a weak tag
    equals nothing (section 8.8.3.2). Several header lines are to be joined with a comma. A digest without quotes counts
    as quoted. Raises PreconditionFailed if `header` is over 8192 characters: neither yes nor no would be safe.
    """
    if header == etag:
        return weak or not etag.startswith("W/")
    if len(header) > MAX_HEADER:
        raise PreconditionFailed(f"If-Match or If-None-Match is over {MAX_HEADER} characters")
    if header.strip(" \t") == "*":
        return True
    if etag.startswith("W/") and not weak:
        return False
    wanted = etag.removeprefix("W/")[1:-1]
    return any(
        (weak or match[1] is None) and (match[2] if match[3] is None else match[3]) == wanted for match in _TAGS(header)
    )
