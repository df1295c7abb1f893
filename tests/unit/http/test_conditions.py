"""If-Match and If-None-Match: lists, weakness, `*`, and clients that forget the quotes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import PreconditionFailed
from registry.http.conditions import MAX_HEADER, etag, matches

DIGEST = "sha256:" + "ab" * 32
OTHER = "sha256:" + "cd" * 32
TAG = f'"{DIGEST}"'


def test_an_entity_tag_is_the_quoted_digest() -> None:
    assert etag(DIGEST) == TAG


@pytest.mark.parametrize(
    "header",
    [
        TAG,
        "*",
        " * ",
        f" {TAG} ",
        f'"{OTHER}", {TAG}',
        f'{TAG},"{OTHER}"',
        f'"a,b",{TAG}',
        f'"",{TAG}',
        f", ,{TAG}",
        f'W/"{OTHER}" , {TAG}',
        DIGEST,
        f"{OTHER}, {DIGEST}",
        f'"{DIGEST}',
    ],
)
def test_what_names_the_content_matches(header: str) -> None:
    assert matches(header, TAG, weak=True)
    assert matches(header, TAG, weak=False)


@pytest.mark.parametrize(
    "header",
    [
        "",
        ",",
        '""',
        f'"{OTHER}"',
        f'"{DIGEST}0"',
        f'"{DIGEST[:-1]}"',
        f'"{DIGEST.upper()}"',
        f'"x, {DIGEST}, y"',
        f'"x", * , "{OTHER}"',
        '"*"',
        DIGEST[7:],
        f'w/"{OTHER}"',
    ],
)
def test_what_names_other_content_does_not_match(header: str) -> None:
    assert not matches(header, TAG, weak=True)
    assert not matches(header, TAG, weak=False)


@pytest.mark.parametrize("header", [f"W/{TAG}", f'"{OTHER}", W/{TAG}', f"W/{DIGEST}"])
def test_a_weak_tag_matches_only_where_weak_comparison_is_asked_for(header: str) -> None:
    assert matches(header, TAG, weak=True)
    assert not matches(header, TAG, weak=False)


def test_weak_content_equals_nothing_in_strong_comparison() -> None:
    for header in (TAG, f"W/{TAG}"):
        assert matches(header, f"W/{TAG}", weak=True)
        assert not matches(header, f"W/{TAG}", weak=False)
    assert matches("*", f"W/{TAG}", weak=False)


def test_a_header_without_bound_is_refused() -> None:
    longest = f'"{OTHER}",' * ((MAX_HEADER - len(TAG)) // (len(OTHER) + 3)) + TAG
    assert matches(longest.rjust(MAX_HEADER), TAG, weak=True)
    with pytest.raises(PreconditionFailed, match="8192"):
        matches(longest.rjust(MAX_HEADER + 1), TAG, weak=True)


@pytest.mark.parametrize("unit", ['"', "W/", 'W/"', ",", " ", "a", '" '])
@pytest.mark.timeout(60)  # quadratic time would take longer
def test_a_long_header_comes_to_an_end(unit: str) -> None:
    assert not matches((unit * MAX_HEADER)[:MAX_HEADER], TAG, weak=True)


etagc = st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters='"\x7f')
opaque = st.text(etagc, max_size=20)


@given(st.lists(st.tuples(st.booleans(), opaque), min_size=1, max_size=6), opaque)
def test_lists_are_compared_as_the_rfc_says(listed: list[tuple[bool, str]], wanted: str) -> None:
    header = ", ".join(f'{"W/" if is_weak else ""}"{value}"' for is_weak, value in listed)
    assert matches(header, f'"{wanted}"', weak=True) == any(value == wanted for _, value in listed)
    assert matches(header, f'"{wanted}"', weak=False) == any(value == wanted and not w for w, value in listed)
    for is_weak, value in listed:
        assert matches(header, f'"{value}"', weak=True)
        assert is_weak or matches(header, f'"{value}"', weak=False)


@given(st.text(max_size=60))
def test_any_header_has_an_answer(header: str) -> None:
    assert matches(header, TAG, weak=True) is (header.strip(" \t") == "*")
