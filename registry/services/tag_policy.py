"""Which tags stay: what retention rules say, without a database. `docs/decisions/027-retention.md`.

Rules say what stays, joined by "or". A tag that some rule is about and none keeps goes; a tag that none is about stays.
"""

import heapq
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

import re2

from auth.errors import NameRefused
from auth.names import parse_pattern, parse_tag_pattern
from registry.errors import ValueInvalid

MOST_RULES = 15
MOST_COUNT = 10_000
"""Of the latest tags so many can be asked for: they are all remembered while a repository is looked at."""
MOST_DAYS = 36_500
_MOST_PATTERNS = 20
_LONGEST_REGEX = 256
_MEMORY = 1 << 20
_MOST_STEPS = 1000
"""Of a regular expression's program: each character of a name may take them all."""
_ALL = "**"
_PARTS = re.compile(r"\*\*/|\*\*|\*|.", re.DOTALL)
_AS_REGEX = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
_DAY = 86_400_000_000


class Template(StrEnum):
    """What a rule keeps of the tags that it is about. Harbor's words."""

    ALWAYS = "always"
    LATEST_PUSHED = "latestPushedK"
    LATEST_PULLED = "latestPulledN"
    LAST_DAYS = "lastXDays"
    SINCE_PUSH = "nDaysSinceLastPush"
    SINCE_PULL = "nDaysSinceLastPull"


COUNTED = frozenset({Template.LATEST_PUSHED, Template.LATEST_PULLED})
_BY_PULL = frozenset({Template.LATEST_PULLED, Template.SINCE_PULL})


@dataclass(frozen=True, slots=True)
class Selector:
    """Chooses names: those like one of `including` and like none of `excluding`.

    Or, in place of both, those in which a regular expression (RE2) finds something; `inverted`: nothing.
    """

    including: tuple[str, ...] = (_ALL,)
    excluding: tuple[str, ...] = ()
    regex: str | None = None
    inverted: bool = False
    _search: Any = field(default=None, init=False, repr=False, compare=False)
    _exclude: Any = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        search = None
        if self.regex is not None:
            search = _compile(self.regex)
            if search.programsize > _MOST_STEPS:
                raise ValueInvalid(f"{self.regex!r} takes too long: what is repeated counts as often as it may be")
        elif _ALL not in self.including:
            search = _compile(_like(self.including))
        object.__setattr__(self, "_search", search)
        if self.excluding:
            object.__setattr__(self, "_exclude", _compile(_like(self.excluding)))

    def selects(self, name: str) -> bool:
        """Say whether it chooses a name."""
        if self._search is not None and (self._search.search(name) is not None) == self.inverted:
            return False
        return self._exclude is None or self._exclude.search(name) is None


@dataclass(frozen=True, slots=True)
class Rule:
    """Keeps what its template says of the tags that both selectors choose. `count`, `days`: what the template needs."""

    template: Template
    count: int = 0
    days: float = 0
    repositories: Selector = Selector()
    tags: Selector = Selector()

    def __str__(self) -> str:
        """Say it in words."""
        number = self.count if self.template in COUNTED else self.days
        return str(self.template) if self.template is Template.ALWAYS else f"{self.template} {number:g}"


class TagFacts(NamedTuple):
    """What is known of a tag. Times in microseconds since the epoch.

    Attributes:
        updated_at: when it was made to name what it names.
        pulled_at: when that was pulled last; None if it never was.
        keeper: what keeps it whatever the rules say, in words; "" if nothing does.
        is_signature: it hangs on another manifest that stays: it is kept, and counts for nothing.
    """

    name: str
    digest: str
    updated_at: int
    pulled_at: int | None = None
    keeper: str = ""
    is_signature: bool = False


class Decision(NamedTuple):
    """Whether a tag stays, and why. `is_asked`: whether some rule is about it."""

    stays: bool
    reason: str
    is_asked: bool = True


Rank = tuple[int, str]
"""A tag's place among the latest: a time, and its name, since several are pushed at once."""


class Evaluation:
    """Rules applied to one repository at one moment.

    All its tags are shown to `rank` first, where `counts` says so; then `judge` says what becomes of each. In between,
    tags may come, move or go: those that were the latest before stay then.

    Args:
        at: the moment, in microseconds since the epoch.
        bounds: what `bounds` of another evaluation was, in place of showing it all tags again.
    """

    def __init__(
        self, rules: Iterable[Rule], repository: str, at: int, bounds: Mapping[int, Rank] | None = None
    ) -> None:
        self._rules = [(number, one) for number, one in enumerate(rules, 1) if one.repositories.selects(repository)]
        self._at = at
        self._latest: dict[int, list[Rank]] = {
            number: [] for number, one in self._rules if one.template in COUNTED and bounds is None
        }
        self._bounds = dict(bounds or {})

    @property
    def is_about(self) -> bool:
        """Whether some rule is about the repository."""
        return bool(self._rules)

    @property
    def counts(self) -> bool:
        """Whether tags have to be shown to `rank`."""
        return bool(self._latest)

    @property
    def bounds(self) -> Mapping[int, Rank]:
        """By the number of the rule, the last of the latest tags, of rules that do not keep all that there are."""
        found = {number: latest[0] for number, latest in self._latest.items() if len(latest) >= self._count(number)}
        return self._bounds | found

    def rank(self, tag: TagFacts) -> None:
        """Note a tag that may be one of the latest. Those that are kept for other reasons count, signatures do not."""
        if tag.is_signature:
            return
        for number, rule in self._rules:
            latest = self._latest.get(number)
            if latest is None or not rule.tags.selects(tag.name):
                continue
            if len(latest) < rule.count:
                heapq.heappush(latest, _rank(rule, tag))
            else:
                heapq.heappushpop(latest, _rank(rule, tag))

    def judge(self, tag: TagFacts, bounds: Mapping[int, Rank]) -> Decision:
        """Say whether a tag stays. `bounds`: the evaluation's, when all tags were shown to it."""
        about = [(number, rule) for number, rule in self._rules if rule.tags.selects(tag.name)]
        if not about:
            return Decision(True, "no rule is about it", is_asked=False)
        if tag.keeper:
            return Decision(True, tag.keeper)
        for number, rule in about:
            if self._keeps(rule, tag, bounds.get(number)):
                return Decision(True, f"rule {number} keeps it: {rule}")
        return Decision(False, "no rule keeps it")

    def _keeps(self, rule: Rule, tag: TagFacts, bound: Rank | None) -> bool:
        if rule.template is Template.ALWAYS:
            return True
        if rule.template in COUNTED:
            return bound is None or _rank(rule, tag) >= bound
        return _rank(rule, tag)[0] > self._at - int(rule.days * _DAY)

    def _count(self, number: int) -> int:
        return next(rule.count for one, rule in self._rules if one == number)


def _rank(rule: Rule, tag: TagFacts) -> Rank:
    """What was never pulled counts as pulled when it was pushed: nobody has had time to, perhaps."""
    if rule.template in _BY_PULL:
        return max(tag.pulled_at or 0, tag.updated_at), tag.name
    return tag.updated_at, tag.name


def _like(patterns: Sequence[str]) -> str:
    """Return a regular expression for names that `auth.grants.matches` finds like one of some patterns.

    That remembers what it was asked, for requests: a million tags would have it forget all of theirs.
    """
    return f"^(?:{'|'.join(_PARTS.sub(_part, pattern) for pattern in patterns)})$"


def _part(found: re.Match[str]) -> str:
    return _AS_REGEX.get(found[0]) or re.escape(found[0])


def _compile(regex: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY
    try:
        return re2.compile(regex, options)
    except re2.error as error:
        why = error.args[0] if error.args else ""
        words = why.decode(errors="replace") if isinstance(why, bytes) else str(why)
        raise ValueInvalid(f"{regex!r} is no regular expression as RE2 has them: {words}") from None


def parse_rules(document: Any, project: str) -> tuple[Rule, ...]:
    """Return the rules that a document of JSON or YAML says. `project`: whose they are, "" for the whole registry.

    Raises ValueInvalid, which names the place.
    """
    if not isinstance(document, list) or not 1 <= len(document) <= MOST_RULES:
        raise ValueInvalid(f"rules: expected a list of 1 to {MOST_RULES} rules")
    return tuple(_parse_rule(one, f"rules/{number}", project) for number, one in enumerate(document))


def rules_as_json(rules: Iterable[Rule]) -> list[dict[str, Any]]:
    """Return the document that `parse_rules` makes these rules of."""
    return [_rule_as_json(rule) for rule in rules]


def _parse_rule(document: Any, at: str, project: str) -> Rule:
    values = _mapping(document, at, {"template", "count", "days", "repositories", "tags"})
    word = values.get("template")
    if not isinstance(word, str) or word not in set(Template):
        raise ValueInvalid(f"{at}/template: expected one of {', '.join(Template)}")
    template = Template(word)
    needed = "count" if template in COUNTED else "days"
    for name in ("count", "days"):
        is_needed = name == needed and template is not Template.ALWAYS
        if (values.get(name) is not None) != is_needed:
            raise ValueInvalid(f"{at}: {template} {'needs' if is_needed else 'takes no'} {name}")
    return Rule(
        template,
        count=_whole(values.get("count"), f"{at}/count"),
        days=_days(values.get("days"), f"{at}/days"),
        repositories=_parse_selector(values.get("repositories"), f"{at}/repositories", project, of_tags=False),
        tags=_parse_selector(values.get("tags"), f"{at}/tags", project, of_tags=True),
    )


def _whole(value: Any, at: str) -> int:
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_COUNT:
        raise ValueInvalid(f"{at}: expected a number from 1 to {MOST_COUNT}")
    return value


def _days(value: Any, at: str) -> float:
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MOST_DAYS:
        raise ValueInvalid(f"{at}: expected a number of days, at most {MOST_DAYS}; 0.5 is half of one")
    return value


def _parse_selector(document: Any, at: str, project: str, *, of_tags: bool) -> Selector:
    if document is None:
        return Selector()
    values = _mapping(document, at, {"matches", "excludes", "regex", "inverted"})
    regex, inverted = values.get("regex"), values.get("inverted")
    if regex is None:
        if inverted is not None:
            raise ValueInvalid(f"{at}/inverted: goes with regex; matches has excludes")
        including = _patterns(values.get("matches"), f"{at}/matches", project, of_tags=of_tags)
        excluding = _patterns(values.get("excludes"), f"{at}/excludes", project, of_tags=of_tags)
        return Selector(including or (_ALL,), excluding)
    if values.get("matches") is not None or values.get("excludes") is not None:
        raise ValueInvalid(f"{at}: expected either regex, or matches and excludes")
    if not isinstance(regex, str) or not 1 <= len(regex) <= _LONGEST_REGEX:
        raise ValueInvalid(f"{at}/regex: expected a regular expression of at most {_LONGEST_REGEX} characters")
    if inverted is not None and not isinstance(inverted, bool):
        raise ValueInvalid(f"{at}/inverted: expected true or false")
    try:
        return Selector(regex=regex, inverted=bool(inverted))
    except ValueInvalid as error:
        raise ValueInvalid(f"{at}/regex: {error.message}") from None


def _patterns(value: Any, at: str, project: str, *, of_tags: bool) -> tuple[str, ...]:
    if value is None:
        return ()
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not 1 <= len(listed) <= _MOST_PATTERNS:
        raise ValueInvalid(f"{at}: expected a pattern, or a list of 1 to {_MOST_PATTERNS}")
    for one in listed:
        if not isinstance(one, str):
            raise ValueInvalid(f"{at}: expected patterns in words")
        if "{" in one:
            raise ValueInvalid(f"{at}: in place of {{a,b}} write a list: [a, b]")
        if not of_tags and any(_ALL in part and part != _ALL for part in one.split("/")):
            raise ValueInvalid(f"{at}: {one!r}: ** stands for whole components, as in team/**; within one it is *")
        try:
            parse_tag_pattern(one) if of_tags else parse_pattern(one, "" if one == _ALL else project)
        except NameRefused as error:
            raise ValueInvalid(f"{at}: {error}") from None
    return tuple(listed)


def _mapping(document: Any, at: str, known: set[str]) -> Mapping[str, Any]:
    if not isinstance(document, Mapping):
        raise ValueInvalid(f"{at}: expected {', '.join(sorted(known))}")
    unknown = [str(key)[:40] for key in document if key not in known]
    if unknown:
        raise ValueInvalid(f"{at}: there is no {unknown[0]!r}: expected some of {', '.join(sorted(known))}")
    return document


def _rule_as_json(rule: Rule) -> dict[str, Any]:
    numbers: dict[str, Any] = {}
    if rule.template in COUNTED:
        numbers = {"count": rule.count}
    elif rule.template is not Template.ALWAYS:
        numbers = {"days": rule.days}
    selectors = {"repositories": rule.repositories, "tags": rule.tags}
    shown = {name: _selector_as_json(one) for name, one in selectors.items() if one != Selector()}
    return {"template": str(rule.template), **numbers, **shown}


def _selector_as_json(selector: Selector) -> dict[str, Any]:
    if selector.regex is not None:
        return {"regex": selector.regex, **({"inverted": True} if selector.inverted else {})}
    found: dict[str, Sequence[str]] = {"matches": [*selector.including]}
    return {**found, **({"excludes": [*selector.excluding]} if selector.excluding else {})}
