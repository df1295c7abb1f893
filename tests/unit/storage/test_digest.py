"""Digests and keys: which texts are taken, and what follows from them."""

import hashlib
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.digest import (
    ALGORITHMS,
    Digest,
    algorithm_of,
    digest_bytes,
    digest_from,
    encoded_of,
    is_digest,
    new_hasher,
    new_key,
    parse_digest,
)
from storage.errors import InvalidDigest, InvalidKey
from storage.keys import check_key, is_key, is_upload_id

HEX = "0123456789abcdef"
# U+0661 is a digit to Python, U+FF41 a letter a: a careless pattern would take them.
ODD = string.printable + "\x00é\u0661\uff41"
SIZES = {"sha256": 64, "sha512": 128}
digests = st.sampled_from(ALGORITHMS).flatmap(
    lambda algorithm: st.text(HEX, min_size=SIZES[algorithm], max_size=SIZES[algorithm]).map(
        lambda encoded: Digest(f"{algorithm}:{encoded}")
    )
)
components = st.from_regex(r"[a-z0-9_-][a-z0-9._-]{0,20}", fullmatch=True)


@given(digests)
def test_a_digest_is_taken_as_it_is(text: Digest) -> None:
    assert parse_digest(text) == text
    assert is_digest(text)
    assert f"{algorithm_of(text)}:{encoded_of(text)}" == text
    assert algorithm_of(text) in ALGORITHMS


@given(digests, st.data())
def test_a_digest_with_one_character_changed_is_refused(text: Digest, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(text) - 1))
    allowed = HEX if place > 6 else text[place]
    other = data.draw(st.sampled_from([char for char in ODD if char not in allowed]))
    changed = text[:place] + other + text[place + 1 :]
    assert not is_digest(changed)
    with pytest.raises(InvalidDigest):
        parse_digest(changed)


@given(digests, st.data())
def test_a_digest_of_another_length_is_refused(text: Digest, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(text) - 1))
    for changed in (text[:cut], text + data.draw(st.text(HEX + "\n", min_size=1)), f" {text}", f"{text}\n"):
        assert not is_digest(changed)


@pytest.mark.parametrize(
    "text",
    ["", ":", "sha256", "sha256:", "SHA256:" + "a" * 64, "sha256:" + "A" * 64, "md5:" + "a" * 32, "sha384:" + "a" * 96],
)
def test_other_forms_are_refused(text: str) -> None:
    with pytest.raises(InvalidDigest, match="expected sha256"):
        parse_digest(text)


def test_a_refusal_quotes_no_more_than_a_line() -> None:
    with pytest.raises(InvalidDigest) as refused:
        parse_digest("x" * 100_000)
    assert len(str(refused.value)) < 400


@given(st.binary(), st.sampled_from(ALGORITHMS))
def test_a_digest_names_its_bytes(data: bytes, algorithm: str) -> None:
    expected = f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
    hasher = new_hasher(algorithm)
    hasher.update(data)
    assert digest_bytes(data, algorithm) == digest_from(algorithm, hasher) == expected
    assert parse_digest(expected) == expected


@pytest.mark.parametrize("algorithm", ["", "md5", "sha1", "SHA256", "sha384", "shake_128"])
def test_other_algorithms_are_refused(algorithm: str) -> None:
    with pytest.raises(InvalidDigest, match="use sha256 or sha512"):
        new_hasher(algorithm)


@given(digests)
def test_a_new_key_is_a_key_of_its_own(text: Digest) -> None:
    first, second = new_key(text), new_key(text)
    assert first != second
    for key in (first, second):
        assert check_key(key) == key
        prefix = f"blobs/{algorithm_of(text)}/{encoded_of(text)[:2]}/{encoded_of(text)}-"
        assert key.startswith(prefix)
        assert len(key) == len(prefix) + 12


@given(st.lists(components, min_size=1, max_size=5))
def test_names_below_blobs_are_keys(names: list[str]) -> None:
    assert is_key("/".join(["blobs", *names]))


@given(
    st.lists(components, max_size=4),
    st.sampled_from(["", ".", "..", "...", ".a", "A", "a b", "a\\b", "a\n", "%2e", "é"]),
)
def test_a_key_with_a_bad_component_is_refused(names: list[str], bad: str) -> None:
    for place in range(len(names) + 1):
        text = "/".join(["blobs", *names[:place], bad, *names[place:]])
        assert not is_key(text)
        with pytest.raises(InvalidKey):
            check_key(text)


@given(st.text())
def test_a_key_never_leaves_its_root(text: str) -> None:
    for candidate in (text, f"blobs/{text}"):
        if is_key(candidate):
            parts = candidate.split("/")
            assert parts[0] == "blobs"
            assert not {"", ".", ".."} & set(parts)
            assert "\x00" not in candidate


@given(st.uuids())
def test_an_upload_id_is_a_uuid_in_its_canonical_form(value: object) -> None:
    text = str(value)
    assert is_upload_id(text)
    for changed in (text.replace("-", ""), f"{{{text}}}", f"{text}\n", f"urn:uuid:{text}", text[:-1], f"{text}/..", ""):
        assert not is_upload_id(changed)
    if text.upper() != text:
        assert not is_upload_id(text.upper())
