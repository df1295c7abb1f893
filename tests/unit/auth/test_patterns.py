"""Patterns of repositories and tags: what they mean, and that none takes long."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth.grants import Grant, matches
from auth.visible import Visible

PATTERNS = st.lists(st.sampled_from(["a", "b", "/", "*", "**", "**/", "?"]), max_size=7).map("".join)


def by_regular_expression(pattern: str, name: str) -> bool:
    """The same, slowly: what some patterns take for ever with."""
    meaning = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    return re.fullmatch("".join(meaning.get(part, re.escape(part)) for part in parts), name, re.DOTALL) is not None


@given(PATTERNS, st.text("ab/", max_size=8))
def test_a_pattern_means_what_the_regular_expression_means(pattern: str, name: str) -> None:
    assert matches(pattern, name) == by_regular_expression(pattern, name)


@pytest.mark.parametrize(
    ("pattern", "fits", "does_not"),
    [
        ("team/*", ["team/app", "team/"], ["team", "team/app/web", "teams/app"]),
        ("team/**", ["team/app", "team/app/web"], ["team", "other/app"]),
        ("team/**/web", ["team/web", "team/a/web", "team/a/b/web"], ["team/aweb", "web"]),
        ("team/a?p", ["team/app"], ["team/ap", "team/a/p"]),
        ("v*", ["v1", "v1.2.3", "v"], ["1v", ""]),
        ("1.0+x[2]", ["1.0+x[2]"], ["1a0+x2", "1.00x2"]),
    ],
)
def test_patterns(pattern: str, fits: list[str], does_not: list[str]) -> None:
    assert [name for name in [*fits, *does_not] if matches(pattern, name)] == fits


@pytest.mark.parametrize("pattern", ["*a" * 100 + "b", "**/a" * 60 + "/b", "?*" * 120 + "b", "**" * 100 + "b"])
def test_patterns_made_to_be_slow_are_not(pattern: str) -> None:
    assert not matches(pattern, "a/" * 127 + "a")  # with a regular expression it would not end within the test's time
    assert not matches(pattern, "a" * 255)


NAMES = st.lists(st.sampled_from(["a", "b", "a-b", "a.b", "ab", "a0", "b/c"]), min_size=1, max_size=3).map("/".join)


@given(st.sets(st.sampled_from(["a", "b", "a-b", "a.b", "ab", "a0"])), st.sets(NAMES))
def test_leaping_from_project_to_project_misses_none(projects: set[str], names: set[str]) -> None:
    visible = Visible(Grant("registry-viewer", "user:x", project) for project in projects)
    wanted = sorted(name for name in names if name.split("/")[0] in projects)
    found = []
    place = "" if visible.knows("") else visible.next("")
    while place is not None:
        name = min((one for one in names if one > place), default=None)
        if name is None:
            break
        if visible.knows(name):
            assert visible.shows(name)
            found.append(name)
            place = name
        else:
            place = visible.next(name)
    assert found == wanted
