"""JSON from strangers: one object, nothing ambiguous, bounded in depth and numbers.

Parsers differ in what they make of a field that appears twice, of NaN or of huge numbers: two programs that read the
same manifest must not see two different ones. Source: RFC 8259, sections 4, 6 and 8; RFC 7493 (I-JSON).
"""

import json
import math
import re
from typing import Any

from registry.errors import ManifestInvalid

MAX_DEPTH = 64
MAX_CONTAINERS = 200_000  # objects and lists: ten for each reference that a manifest may have
_MAX_NUMBER = 400  # characters; more than any double needs, little enough to convert quickly
_BOM = b"\xef\xbb\xbf"
_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"', re.DOTALL)


def load_object(content: bytes, *, max_containers: int = MAX_CONTAINERS) -> dict[str, Any]:
    r"""Parse `content` as one JSON object in UTF-8 without a byte order mark.

    Raises ManifestInvalid, and nothing else: for bytes that are not that, a field that appears twice in one object,
    more than 64 levels, more than `max_containers` objects and lists, NaN, infinities, and numbers that no double can
    hold or that are over 400 characters long. Strings may hold lone surrogates, which were escaped (`"\ud800"`):
    whoever stores a string must look.
    """
    if content.startswith(_BOM):
        raise ManifestInvalid("the manifest starts with a byte order mark: send UTF-8 without it")
    try:
        text = content.decode()
        brackets = _count_brackets(text, max_containers)
        document = _DECODER.decode(text)
    except UnicodeDecodeError as error:
        raise ManifestInvalid(f"the manifest is not UTF-8: {error.reason} at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise ManifestInvalid(f"the manifest is not JSON: {error}") from None
    except RecursionError:
        raise _too_deep() from None
    if not isinstance(document, dict):
        raise ManifestInvalid("the manifest must be a JSON object")
    if brackets > MAX_DEPTH:
        _check_depth(document)
    return document


def _count_brackets(text: str, most: int) -> int:
    """Return how many objects and lists there may be, before memory and time are spent on them."""
    count = text.count("{") + text.count("[")
    if count > most:  # strings may hold brackets too, an annotation with JSON in it many
        bare = _STRING.sub("", text)
        count = bare.count("{") + bare.count("[")
        if count > most:
            raise ManifestInvalid(f"the manifest holds {count} objects and lists, at most {most} are allowed")
    return count


def _check_depth(document: dict[str, Any]) -> None:
    level: list[Any] = [document]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, (dict, list))
        ]
        if not level:
            return
    raise _too_deep()


def _too_deep() -> ManifestInvalid:
    return ManifestInvalid(f"the manifest is nested more than {MAX_DEPTH} levels deep")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        names = set[str]()
        for name, _ in pairs:
            if name in names:
                raise ManifestInvalid(f"field {name[:80]!r} appears twice in one object")
            names.add(name)
    return members


def _integer(text: str) -> int:
    if len(text) > _MAX_NUMBER:
        raise ManifestInvalid(f"the manifest holds a number of {len(text)} digits")
    return int(text)


def _float(text: str) -> float:
    value = float(text) if len(text) <= _MAX_NUMBER else math.inf
    if math.isinf(value):
        raise ManifestInvalid(f"the manifest holds a number that is too long or too large: {text[:40]}")
    return value


def _constant(name: str) -> None:
    raise ManifestInvalid(f"the manifest is not JSON: {name} is not a number")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_float, parse_int=_integer, parse_constant=_constant)
