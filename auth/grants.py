"""Grants: who has which role where, and what follows from them for one question."""

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from auth.principal import Principal
from auth.roles import Action


@dataclass(frozen=True, slots=True)
class Grant:
    """A role for a subject, in a project ("" for the whole registry) or in those repositories that match a pattern."""

    role: str
    subject: str
    project: str = ""
    pattern: str = ""

    def __str__(self) -> str:
        """Say it in words."""
        where = self.pattern or self.project or "the whole registry"
        return f"{self.role} for {self.subject} in {where}"

    def reaches(self, repository: str) -> bool:
        """Say whether it is about a repository, given that its project is right."""
        return not self.pattern or matches(self.pattern, repository)


@dataclass(frozen=True, slots=True)
class TagRule:
    """Takes actions on tags away from all but some subjects, in a project or those repositories that match.

    `number`: its id, 0 while it has none.
    """

    tag: str
    actions: frozenset[Action]
    excepted: frozenset[str] = frozenset()
    project: str = ""
    pattern: str = ""
    number: int = field(default=0, compare=False)

    def __str__(self) -> str:
        """Say it in words."""
        where = self.pattern or self.project or "the whole registry"
        name = f"rule {self.number}: " if self.number else ""
        if self.is_immutable:
            return f"{name}tags like {self.tag} in {where} are immutable"
        return f"{name}nobody may {', '.join(sorted(self.actions))} tags like {self.tag} in {where}"

    @property
    def is_immutable(self) -> bool:
        """Whether tags that are there stay as they are, whoever asks."""
        return not self.excepted and self.actions >= IMMUTABLE


IMMUTABLE = frozenset({Action.OVERWRITE, Action.DELETE})
"""What a rule takes away from everybody so that tags stay as they are."""


def project_of(repository: str) -> str:
    """Return the project that a repository belongs to: its first component."""
    return repository.partition("/")[0]


def granting(
    principal: Principal,
    action: Action,
    repository: str,
    grants: Iterable[Grant],
    roles: Mapping[str, frozenset[Action]],
) -> Grant | None:
    """Return a grant by which the principal may do this, or None. The grants are the project's and the registry's."""
    subjects = principal.subjects
    for grant in grants:
        if grant.subject in subjects and action in roles.get(grant.role, ()) and grant.reaches(repository):
            return grant
    return None


def denying(
    subjects: frozenset[str], action: Action, repository: str, tag: str, rules: Iterable[TagRule]
) -> TagRule | None:
    """Return a rule by which nobody whom these subjects are may do this to a tag, or None."""
    for rule in rules:
        if (
            action in rule.actions
            and matches(rule.tag, tag)
            and (not rule.pattern or matches(rule.pattern, repository))
            and not rule.excepted & subjects
        ):
            return rule
    return None


@functools.lru_cache(16384)
def matches(pattern: str, name: str) -> bool:
    """Say whether a name fits a pattern: `*` and `?` within a component, `**` across them (doublestar).

    In steps of the name's length, whatever the pattern: all places in the pattern where a name may have got to are
    the bits of one number. A regular expression would try them one after the other, for minutes.
    """
    automaton = _automaton(pattern)
    places = automaton.widened(1)
    for character in name:
        stay = automaton.across if character == "/" else automaton.across | automaton.within
        go = automaton.literal.get(character, 0) | (0 if character == "/" else automaton.single)
        places = automaton.widened((places & stay) | (places & go) << 1)
        if not places:
            return False
    return bool(places >> automaton.end & 1)


@dataclass(frozen=True, slots=True)
class _Automaton:
    """A pattern as places between its parts: bit n is the place before part n, and `end` the one after the last.

    Attributes:
        literal: by character, places that go on with it.
        single: places that go on with any character but "/".
        within: places that stay with any character but "/".
        across: places that stay with any.
        optional: places that are one with the next.
        folders: places that are one with the next but one: `**/` may be nothing.
        end: number of the last place.
    """

    literal: Mapping[str, int]
    single: int
    within: int
    across: int
    optional: int
    folders: int
    end: int

    def widened(self, places: int) -> int:
        """Return these places with those that are one with them."""
        while (wider := places | (places & self.optional) << 1 | (places & self.folders) << 2) != places:
            places = wider
        return places


@functools.lru_cache(4096)
def _automaton(pattern: str) -> _Automaton:
    literal: dict[str, int] = {}
    single = within = across = optional = folders = 0
    bit = 1
    for part in re.findall(r"\*\*/|\*\*|\*|.", pattern, re.DOTALL):
        if part == "**/":
            optional, folders, bit = optional | bit, folders | bit, bit << 1
            across |= bit
            literal["/"] = literal.get("/", 0) | bit
        elif part[0] == "*":
            within, across = (within, across | bit) if len(part) > 1 else (within | bit, across)
            optional |= bit
        elif part == "?":
            single |= bit
        else:
            literal[part] = literal.get(part, 0) | bit
        bit <<= 1
    return _Automaton(literal, single, within, across, optional, folders, bit.bit_length() - 1)
