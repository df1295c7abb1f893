"""The challenges of a 401: how a registry wants to be asked (RFC 9110, section 11.6.1)."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_SCHEME = re.compile(r"(?:^|,)\s*(Basic|Bearer)(?:\s+|$)", re.IGNORECASE)
_PARAMETER = re.compile(r'(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')


@dataclass(frozen=True)
class Challenge:
    """One challenge of a WWW-Authenticate header: the scheme in lower case, its parameters by name."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(values: Iterable[str]) -> list[Challenge]:
    """The Basic and Bearer challenges of WWW-Authenticate headers, Bearer first."""
    found = []
    for value in values:
        marks = list(_SCHEME.finditer(value))
        ends = [*(mark.start() for mark in marks[1:]), len(value)]
        for mark, end in zip(marks, ends, strict=False):  # one end too many when there is no mark
            text = value[mark.end() : end]
            parameters = {
                name.lower(): re.sub(r"\\(.)", r"\1", quoted) or plain
                for name, quoted, plain in _PARAMETER.findall(text)
            }
            found.append(Challenge(mark.group(1).lower(), parameters))
    return sorted(found, key=lambda challenge: challenge.scheme != "bearer")
