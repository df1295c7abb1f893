"""Repository names, tags and referrers tags: the specification's grammars, and what the refusals say."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import NameInvalid, TagInvalid
from registry.oci.names import (
    MAX_NAME,
    is_tag,
    parse_repository,
    parse_tag,
    referrers_tag,
    subject_of_referrers_tag,
)

# As the specification prints them.
SPEC_NAME = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*")
SPEC_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "library/alpine",
        "a/b/c/d",
        "a.b",
        "a_b",
        "a__b",
        "a-b",
        "a---b",
        "0",
        "a" * 255,
        "a/" * 127 + "a",
        "x.y_z__0-1",
    ],
)
def test_names_of_the_grammar_are_taken(name: str) -> None:
    assert parse_repository(name) == name


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("", "empty"),
        ("a" * 256, "256 characters, at most 255"),
        ("a/" * 128 + "a", "257 characters"),
        ("Library/alpine", "'L' at position 0 is not allowed: use lower case"),
        ("library/al pine", "' ' at position 10"),
        ("alpine\n", r"'\\n' at position 6"),
        ("a\x00b", r"'\\x00' at position 1"),
        ("a\udc80", r"'\\udc80' at position 1"),
        ("\N{ARABIC-INDIC DIGIT ONE}", "position 0"),
        ("a:latest", "':' at position 1"),
        ("/a", "starts or ends with '/'"),
        ("a/", "starts or ends with '/'"),
        ("a//b", "two in a row"),
        ("-a", "'-a' must start and end with a letter or digit"),
        ("a/b_", "'b_' must start and end"),
        ("a/../b", r"'\.\.' must start and end"),
        ("a..b", r"'\.\.' in 'a\.\.b'"),
        ("a___b", "'___'"),
        ("a.-b", r"'\.-'"),
        ("a-_b", "'-_'"),
    ],
)
def test_other_names_are_refused_with_what_is_wrong(name: str, fault: str) -> None:
    with pytest.raises(NameInvalid, match=fault) as refused:
        parse_repository(name)
    refused.value.message.encode()
    assert len(refused.value.message) < 400


@given(st.text("ab0._-/", max_size=12))
def test_near_misses_are_judged_as_the_specification_does(name: str) -> None:
    if SPEC_NAME.fullmatch(name):
        assert parse_repository(name) == name
    else:
        with pytest.raises(NameInvalid) as refused:
            parse_repository(name)
        assert "grammar" not in refused.value.message, "the message must name the fault"


@given(st.text(max_size=300))
def test_any_text_is_a_name_or_refused_as_one(text: str) -> None:
    try:
        parse_repository(text)
    except NameInvalid:
        assert len(text) > MAX_NAME or not SPEC_NAME.fullmatch(text)
    else:
        assert len(text) <= MAX_NAME
        assert SPEC_NAME.fullmatch(text)


@pytest.mark.parametrize(
    "unit", ["a", "a-", "a_", "a__", "a.", "a/", "-", "a--", "a---a__a.a/", "a" * 15 + "-" * 15, "a/a.a_"], ids=repr
)
@pytest.mark.parametrize("last", ["!", "-", "/", "\n", "A"], ids=repr)
@pytest.mark.timeout(60)  # a pattern that tries all divisions of the name never ends
def test_adversarial_names_come_to_an_end(unit: str, last: str) -> None:
    name = (unit * 255)[: MAX_NAME - len(last)] + last
    with pytest.raises(NameInvalid):
        parse_repository(name)


@pytest.mark.parametrize("tag", ["latest", "1.2.3", "_", "A-b_c.D", "v" * 128, "0"])
def test_tags_of_the_grammar_are_taken(tag: str) -> None:
    assert parse_tag(tag) == tag
    assert is_tag(tag)


@pytest.mark.parametrize(
    ("tag", "fault"),
    [
        ("", "empty"),
        ("v" * 129, "129 characters, at most 128"),
        ("latest\n", r"'\\n' at position 6"),
        ("a/b", "'/' at position 1"),
        ("a+b", "'\\+' at position 1"),
        (".a", "must start with"),
        ("-a", "must start with"),
        ("\N{SUPERSCRIPT TWO}", "position 0"),
    ],
)
def test_other_tags_are_refused_with_what_is_wrong(tag: str, fault: str) -> None:
    assert not is_tag(tag)
    with pytest.raises(TagInvalid, match=fault):
        parse_tag(tag)


@given(st.one_of(st.text(max_size=140), st.text("aZ0._-\n", max_size=140), st.from_regex(SPEC_TAG)))
def test_tags_are_judged_as_the_specification_does(tag: str) -> None:
    assert is_tag(tag) == bool(SPEC_TAG.fullmatch(tag))


def test_referrers_tags_are_those_of_the_specification() -> None:
    assert referrers_tag("sha256:" + "a" * 64) == "sha256-" + "a" * 64
    assert referrers_tag("sha512:" + "a" * 128) == "sha512-" + "a" * 64
    long = (
        "test+algorithm+using+algorithm+separators+and+lots+of+characters+to+excercise+overall+truncation:"
        "alsoSome=InTheEncodedSectionToShowHyphenReplacementAndLotsAndLotsOfCharactersToExcerciseEncodedTruncation"
    )
    assert referrers_tag(long) == (
        "test-algorithm-using-algorithm-s-alsoSome-InTheEncodedSectionToShowHyphenReplacementAndLotsAndLot"
    )


@given(st.from_regex(r"[a-z0-9]+([+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+", fullmatch=True))
def test_every_digest_has_a_referrers_tag_that_is_a_tag(digest: str) -> None:
    assert is_tag(referrers_tag(digest))


@given(st.text("0123456789abcdef", min_size=64, max_size=64))
def test_a_referrers_tag_of_sha256_tells_its_subject(encoded: str) -> None:
    assert subject_of_referrers_tag(referrers_tag(f"sha256:{encoded}")) == f"sha256:{encoded}"


@pytest.mark.parametrize(
    "tag",
    [
        "latest",
        "sha256-" + "a" * 63,
        "sha256-" + "A" * 64,
        "sha256-" + "a" * 64 + ".sig",
        "sha256-" + "a" * 64 + "\n",
        "sha512-" + "a" * 64,
    ],
)
def test_other_tags_tell_no_subject(tag: str) -> None:
    assert subject_of_referrers_tag(tag) is None
