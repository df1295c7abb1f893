"""Repository names, tags and the referrers tag schema.

Source: distribution-spec, "Pulling manifests" (grammars of `<name>` and tag) and "Referrers Tag Schema".
Names and tags are plain strings that have been checked, so that they cost nothing to pass on.
"""

import re
from typing import NewType

from registry.errors import NameInvalid, TagInvalid
from registry.oci.moments import RESERVED, is_reserved
from storage.digest import Digest

RepositoryName = NewType("RepositoryName", str)
Tag = NewType("Tag", str)

MAX_NAME = 255
MAX_TAG = 128

# Possessive quantifiers never give back what they took, and neighbouring parts share no character: linear time.
_GRAMMAR = r"[a-z0-9]++(?:(?:\.|__?+|-++)[a-z0-9]++)*+(?:/[a-z0-9]++(?:(?:\.|__?+|-++)[a-z0-9]++)*+)*+"
_NAME = re.compile(f"(?!{RESERVED}){_GRAMMAR}").fullmatch  # which costs nothing unless it begins with an "a"
_ANY_NAME = re.compile(_GRAMMAR).fullmatch
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}+").fullmatch
_REFERRERS_TAG = re.compile(r"sha256-([a-f0-9]{64})").fullmatch
_NOT_IN_NAME = re.compile(r"[^a-z0-9._/-]").search
_NOT_IN_TAG = re.compile(r"[^a-zA-Z0-9._-]").search
_BAD_SEPARATOR = re.compile(r"\.[._-]|_[.-]|-[._]|___").search


def parse_repository(text: str, longest: int = MAX_NAME, *, reserved: bool = False) -> RepositoryName:
    """Check `text` and return it as a repository name, such as `library/alpine`.

    Args:
        longest: most characters, 255 or fewer.
        reserved: also a name that stands for a moment, for what was called so before such names did.

    Raises:
        NameInvalid: it is none; the message says what is wrong.
    """
    if len(text) > longest or (_ANY_NAME if reserved else _NAME)(text) is None:
        raise NameInvalid(f"repository name {_shown(text)}: {_name_fault(text, longest)}")
    return RepositoryName(text)


def parse_tag(text: str, longest: int = MAX_TAG) -> Tag:
    """Check `text` and return it as a tag.

    `longest`: most characters, 128 or fewer. Raises TagInvalid with a message that says what is wrong.
    """
    if len(text) > longest or _TAG(text) is None:
        raise TagInvalid(f"tag {_shown(text)}: {_tag_fault(text, longest)}")
    return Tag(text)


def is_tag(text: str) -> bool:
    """Say whether `parse_tag` would take `text`."""
    return _TAG(text) is not None


def referrers_tag(digest: str) -> Tag:
    """Return the tag under which clients keep the referrers of `digest` on registries without the referrers API.

    `digest`: `algorithm:encoded` of any algorithm, well-formed as `registry.oci.descriptors` checks it. The tag is 32
    characters of the algorithm, `-`, 64 of the encoded part, with `-` for each that no tag may hold.
    """
    algorithm, _, encoded = digest.partition(":")
    return Tag(re.sub(r"[^a-zA-Z0-9._-]", "-", f"{algorithm[:32]}-{encoded[:64]}"))


def subject_of_referrers_tag(tag: str) -> Digest | None:
    """Return the digest whose referrers `tag` lists, None if it is no such tag or does not tell.

    Only sha256 can be told: of a sha512 digest the tag holds half.
    """
    match = _REFERRERS_TAG(tag)
    return Digest(f"sha256:{match[1]}") if match else None


def _shown(text: str) -> str:
    return repr(text) if len(text) <= 80 else f"{text[:77]!r}..."


def _name_fault(text: str, longest: int) -> str:
    """Say what `_NAME` did not like."""
    if not text:
        return "it is empty"
    if len(text) > longest:
        return f"it has {len(text)} characters, at most {longest} are allowed"
    if wrong := _NOT_IN_NAME(text):
        hint = "use lower case" if wrong[0].isupper() else "allowed are a-z, 0-9, '.', '_', '-' and '/'"
        return f"character {wrong[0]!r} at position {wrong.start()} is not allowed: {hint}"
    for part in text.split("/"):
        if not part:
            return "it starts or ends with '/', or has two in a row"
        if part[0] in "._-" or part[-1] in "._-":
            return f"{_shown(part)} must start and end with a letter or digit"
        if wrong := _BAD_SEPARATOR(part):
            return f"{wrong[0]!r} in {_shown(part)}: separators are one '.', one or two '_', or any number of '-'"
    if is_reserved(text):
        return "names that begin like this stand for moments of the past"
    return "it does not match the grammar of the specification"


def _tag_fault(text: str, longest: int) -> str:
    """Say what `_TAG` did not like."""
    if not text:
        return "it is empty"
    if len(text) > longest:
        return f"it has {len(text)} characters, at most {longest} are allowed"
    if wrong := _NOT_IN_TAG(text):
        allowed = "allowed are letters, digits, '_', '.' and '-'"
        return f"character {wrong[0]!r} at position {wrong.start()} is not allowed: {allowed}"
    return "it must start with a letter, a digit or '_'"
