"""Retention rules, compared with a model that sorts all tags of a repository."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auth.grants import matches
from registry.errors import ValueInvalid
from registry.services.tag_policy import (
    MOST_RULES,
    Evaluation,
    Rule,
    Selector,
    TagFacts,
    Template,
    parse_rules,
    rules_as_json,
)

DAY = 86_400_000_000
NOW = 1000 * DAY


def tag(
    name: str, pushed: float, pulled: float | None = None, keeper: str = "", *, signature: bool = False
) -> TagFacts:
    """A tag that was pushed, and pulled, so many days ago."""
    pulled_at = None if pulled is None else NOW - int(pulled * DAY)
    return TagFacts(name, f"sha256:{name}", NOW - int(pushed * DAY), pulled_at, keeper, signature)


def staying(rules: list[Rule], tags: list[TagFacts], repository: str = "team/app") -> dict[str, bool]:
    evaluation = Evaluation(rules, repository, NOW)
    if evaluation.counts:
        for one in tags:
            evaluation.rank(one)
    bounds = evaluation.bounds
    return {one.name: evaluation.judge(one, bounds).stays for one in tags}


def kept(rules: list[Rule], *tags: TagFacts) -> set[str]:
    return {name for name, stays in staying(rules, list(tags)).items() if stays}


def of(document: object, project: str = "") -> list[Rule]:
    return list(parse_rules([document], project))


def test_templates() -> None:
    tags = tag("a", 1), tag("b", 2, 0.5), tag("c", 10, 3), tag("d", 20)
    assert kept(of({"template": "always"}), *tags) == {"a", "b", "c", "d"}
    assert kept(of({"template": "latestPushedK", "count": 2}), *tags) == {"a", "b"}
    assert kept(of({"template": "latestPulledN", "count": 2}), *tags) == {"a", "b"}
    assert kept(of({"template": "latestPulledN", "count": 1}), *tags) == {"b"}
    assert kept(of({"template": "lastXDays", "days": 5}), *tags) == {"a", "b"}
    assert kept(of({"template": "nDaysSinceLastPush", "days": 1.5}), *tags) == {"a"}
    # What was never pulled counts as pulled when it was pushed.
    assert kept(of({"template": "nDaysSinceLastPull", "days": 5}), *tags) == {"a", "b", "c"}


def test_a_tag_that_no_rule_is_about_stays() -> None:
    rules = of({"template": "latestPushedK", "count": 1, "tags": {"matches": ["v*"], "excludes": "v1*"}})
    assert kept(rules, tag("v2", 5), tag("v3", 4), tag("v10", 9), tag("latest", 9)) == {"v3", "v10", "latest"}
    rules = of({"template": "lastXDays", "days": 1, "repositories": {"matches": "team/*", "excludes": "team/base"}})
    assert staying(rules, [tag("a", 2)], "team/app") == {"a": False}
    assert staying(rules, [tag("a", 2)], "team/base") == {"a": True}
    assert staying(rules, [tag("a", 2)], "other/app") == {"a": True}


def test_regular_expressions_find_and_may_be_inverted() -> None:
    rules = of({"template": "lastXDays", "days": 1, "tags": {"regex": "^pr-[0-9]+$"}})
    assert kept(rules, tag("pr-1", 2), tag("pr-x", 2), tag("pr-2", 0.5)) == {"pr-x", "pr-2"}
    rules = of({"template": "lastXDays", "days": 1, "tags": {"regex": "^v", "inverted": True}})
    assert kept(rules, tag("v1", 2), tag("dev", 2)) == {"v1"}
    rules = of({"template": "lastXDays", "days": 1, "tags": {"regex": "^(a|aa)+$"}})
    assert kept(rules, tag("a" * 127 + "b", 2)) == {"a" * 127 + "b"}


def test_what_is_kept_anyway_counts_and_signatures_do_not() -> None:
    rules = of({"template": "latestPushedK", "count": 2})
    tags = tag("v1", 4), tag("v2", 3, keeper="locked"), tag("v3", 2)
    signature = tag("sha256-0.sig", 1, keeper="it belongs to v3", signature=True)
    assert kept(rules, *tags, signature) == {"v2", "v3", "sha256-0.sig"}


def test_the_reason_names_the_rule() -> None:
    rules = [*of({"template": "lastXDays", "days": 1}), *of({"template": "latestPushedK", "count": 1})]
    evaluation = Evaluation(rules, "team/app", NOW)
    one, other = tag("a", 2), tag("b", 3)
    for each in (one, other):
        evaluation.rank(each)
    assert evaluation.judge(one, evaluation.bounds).reason == "rule 2 keeps it: latestPushedK 1"
    assert evaluation.judge(other, evaluation.bounds) == (False, "no rule keeps it", True)
    again = Evaluation(rules, "team/app", NOW, evaluation.bounds)
    assert not again.counts
    assert again.judge(one, again.bounds).stays
    assert not again.judge(other, again.bounds).stays


@settings(max_examples=300)
@given(st.text("ab/*?.-+", min_size=1, max_size=6), st.text("ab/.-+", max_size=6))
def test_patterns_are_those_of_grants(pattern: str, name: str) -> None:
    assert Selector((pattern,)).selects(name) == matches(pattern, name)
    assert Selector(excluding=(pattern, "b")).selects(name) != (matches(pattern, name) or name == "b")


def doublestar(pattern: list[str], name: list[str]) -> bool:
    """What Harbor means, component by component: `**` is any number of them; as the last one, one at least."""
    if not pattern or not name:
        return not pattern and not name
    if pattern[0] != "**":
        return component(pattern[0], name[0]) and doublestar(pattern[1:], name[1:])
    if len(pattern) == 1:
        return True
    return any(doublestar(pattern[1:], name[number:]) for number in range(len(name)))


def component(pattern: str, name: str) -> bool:
    if not pattern:
        return not name
    if pattern[0] == "*":
        return any(component(pattern[1:], name[number:]) for number in range(len(name) + 1))
    return bool(name) and pattern[0] in {"?", name[0]} and component(pattern[1:], name[1:])


PARTS = st.one_of(st.just("**"), st.text("ab*?", min_size=1, max_size=3).filter(lambda part: "**" not in part))


@settings(max_examples=200)
@given(st.lists(PARTS, min_size=1, max_size=4), st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=4))
def test_patterns_are_doublestars(pattern: list[str], name: list[str]) -> None:
    assert Selector(("/".join(pattern),)).selects("/".join(name)) == doublestar(pattern, name)


@pytest.mark.parametrize("pattern", ["team/app**", "team/**b", "team/a**b", "team/***", "team/**/x**/y"])
def test_two_stars_that_doublestar_takes_for_one_are_refused(pattern: str) -> None:
    with pytest.raises(ValueInvalid, match="whole components"):
        of({"template": "always", "repositories": {"excludes": pattern}}, "team")


@pytest.mark.parametrize(
    "regex",
    ["(a+)+$", "(a|a)*$", "(.*)(.*)(.*)(.*)(.*)(.*)(.*)(.*)b$", "(a?){60}a{60}$", "(?:a*)*b|(?:a+)+b", "(.*a){25}b"],
)
def test_expressions_made_to_be_slow_are_not(regex: str) -> None:
    selector = Selector(regex=f"^{regex}")
    for length in range(0, 128, 9):  # by backtracking none of them would end
        assert not selector.selects("a" * length + "!")


names = st.text("abv.-1", min_size=1, max_size=3)
selectors = st.one_of(
    st.just(Selector()),
    st.builds(Selector, st.lists(st.sampled_from(["**", "a*", "*1", "v?", "b"]), min_size=1, max_size=5).map(tuple)),
    st.builds(
        Selector, st.just(("**",)), st.lists(st.sampled_from(["a*", "*1", "v?"]), min_size=1, max_size=5).map(tuple)
    ),
    st.builds(
        lambda regex, inverted: Selector(regex=regex, inverted=inverted),
        st.sampled_from(["^a", "1$", "v"]),
        st.booleans(),
    ),
)
rules_of = st.builds(
    Rule,
    st.sampled_from(list(Template)),
    count=st.integers(1, 4),
    days=st.integers(1, 6),
    tags=selectors,
)
ages = st.integers(0, 8)
tags_of = st.lists(
    st.builds(tag, names, ages, st.one_of(st.none(), ages), signature=st.booleans()),
    unique_by=lambda one: one.name,
    max_size=12,
)


def naive(rules: list[Rule], tags: list[TagFacts]) -> dict[str, bool]:
    """Sort, and take the first."""
    found: dict[str, bool] = {}
    for one in tags:
        about = [rule for rule in rules if rule.tags.selects(one.name)]
        found[one.name] = not about or bool(one.keeper) or any(_keeps(rule, one, tags) for rule in about)
    return found


def _keeps(rule: Rule, one: TagFacts, tags: list[TagFacts]) -> bool:
    by_pull = rule.template in {Template.LATEST_PULLED, Template.SINCE_PULL}

    def time(of: TagFacts) -> tuple[int, str]:
        return (max(of.pulled_at or 0, of.updated_at) if by_pull else of.updated_at), of.name

    if rule.template is Template.ALWAYS:
        return True
    if rule.template in {Template.LATEST_PUSHED, Template.LATEST_PULLED}:
        counted = [other for other in tags if rule.tags.selects(other.name) and not other.is_signature]
        better = [other for other in counted if time(other) > time(one)]
        return len(better) < rule.count or (one.is_signature and len(counted) < rule.count)
    return time(one)[0] > NOW - rule.days * DAY


@settings(max_examples=300)
@given(st.lists(rules_of, min_size=1, max_size=3), tags_of, st.randoms())
def test_model(rules: list[Rule], tags: list[TagFacts], order: random.Random) -> None:
    expected = naive(rules, tags)
    order.shuffle(tags)  # in which order they come says nothing
    assert staying(rules, tags) == expected


@given(st.lists(rules_of, min_size=1, max_size=MOST_RULES))
def test_rules_survive_being_written_down(rules: list[Rule]) -> None:
    written = rules_as_json(rules)
    assert rules_as_json(parse_rules(written, "")) == written


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "1 to 15"),
        ([{"template": "always"}] * 16, "1 to 15"),
        ({}, "list"),
        (["always"], "rules/0"),
        ([{"template": "never"}], "expected one of always"),
        ([{"template": "always", "count": 1}], "takes no count"),
        ([{"template": "latestPushedK"}], "needs count"),
        ([{"template": "latestPushedK", "count": 0}], "1 to 10000"),
        ([{"template": "latestPushedK", "count": True}], "1 to 10000"),
        ([{"template": "lastXDays", "days": 0}], "days"),
        ([{"template": "lastXDays", "days": float("nan")}], "days"),
        ([{"template": "lastXDays", "days": 1, "count": 1}], "takes no count"),
        ([{"template": "always", "tag": {}}], "no 'tag'"),
        ([{"template": "always", "tags": {"matches": []}}], "tags/matches"),
        ([{"template": "always", "tags": {"matches": "{a,b}"}}], "write a list"),
        ([{"template": "always", "tags": {"matches": "a b"}}], "pattern"),
        ([{"template": "always", "tags": {"regex": "("}}], "RE2"),
        ([{"template": "always", "tags": {"regex": "(?=a)"}}], "RE2"),
        ([{"template": "always", "tags": {"regex": "((a{100}){100}){100}"}}], "RE2"),
        ([{"template": "always", "tags": {"regex": "a" * 257}}], "256"),
        ([{"template": "always", "tags": {"regex": "(a?b?){250}x"}}], "takes too long"),
        ([{"template": "always", "tags": {"regex": "a", "matches": "b"}}], "either"),
        ([{"template": "always", "tags": {"matches": "b", "inverted": True}}], "excludes"),
        ([{"template": "always", "repositories": {"matches": "other/**"}}], "in team"),
    ],
)
def test_what_makes_no_sense_is_said(document: object, words: str) -> None:
    with pytest.raises(ValueInvalid, match=words):
        parse_rules(document, "team")
