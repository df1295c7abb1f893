"""JSON from strangers: what is taken, and that nothing but ManifestInvalid ever comes out."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import ManifestInvalid
from registry.oci.strict_json import MAX_CONTAINERS, MAX_DEPTH, load_object

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def nested(depth: int) -> bytes:
    """An object that is `depth` levels deep, itself included."""
    return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


@given(st.dictionaries(st.text(), json_values, max_size=6), st.booleans())
def test_objects_come_back_as_they_were_written(value: dict[str, Any], ascii_only: bool) -> None:
    assert load_object(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "not JSON"),
        (b" ", "not JSON"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        ("{}".encode("utf-16"), "not UTF-8"),
        ('{"a": 1}'.encode("utf-16-le"), "not JSON"),
        (b'{"a": "\xff"}', "not UTF-8: invalid start byte at byte 7"),
        (b'{"a": "\xed\xa0\x80"}', "not UTF-8"),
        (b"[]", "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b'"{}"', "must be a JSON object"),
        (b"{} {}", "not JSON: Extra data"),
        (b"{}\x00", "not JSON"),
        (b'{"a": 1,}', "not JSON"),
        (b"{'a': 1}", "not JSON"),
        (b'{"a": "\n"}', "not JSON"),
        (b'{"a": 1, "b": 2, "a": 1}', "field 'a' appears twice"),
        (b'{"x": [{"y": {"a": 1, "\\u0061": 2}}]}', "field 'a' appears twice"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": [-Infinity]}', "Infinity"),
        (b'{"a": 1e999}', "too long or too large"),
        (b'{"a": -1e999}', "too long or too large"),
        (b'{"a": 0.' + b"0" * 500 + b"}", "too long or too large"),
        (b'{"a": ' + b"9" * 5000 + b"}", "a number of 5000 digits"),
        (b'{"a": 01}', "not JSON"),
    ],
)
def test_other_bytes_are_refused_with_the_reason(content: bytes, fault: str) -> None:
    with pytest.raises(ManifestInvalid, match=fault) as refused:
        load_object(content)
    assert len(refused.value.message) < 300


def test_nesting_is_limited() -> None:
    load_object(nested(MAX_DEPTH))
    for depth in (MAX_DEPTH + 1, 500, 100_000):
        with pytest.raises(ManifestInvalid, match="64 levels"):
            load_object(nested(depth))
    with pytest.raises(ManifestInvalid, match="64 levels"):
        load_object(b'{"a":' * 65 + b"1" + b"}" * 65)


def test_many_brackets_are_not_deep() -> None:
    load_object(json.dumps({"a": [{"b": []}] * 1000, "c": "[" * 1000}).encode())


def test_the_number_of_objects_and_lists_is_limited() -> None:
    load_object(b'{"a":[' + b"{}," * (MAX_CONTAINERS - 3) + b"[]]}")
    with pytest.raises(ManifestInvalid, match="200001 objects and lists"):
        load_object(b'{"a":[' + b"{}," * (MAX_CONTAINERS - 2) + b"[]]}")
    load_object(json.dumps({"a": '{"[\\' * MAX_CONTAINERS}).encode())


def test_unfinished_nesting_without_end_is_refused() -> None:
    for unit in (b"[", b'{"a":'):
        with pytest.raises(ManifestInvalid):
            load_object(b'{"a":' + unit * 200_000)


@pytest.mark.parametrize(
    "unit", [b'{"a":1},', b"[],", b"1,", b"9" * 399 + b",", b'"\\ud800",', b"1.5e300,", b'"', b'"\\']
)
@pytest.mark.timeout(60)  # what takes more than linear time never ends with this much
def test_four_megabytes_come_to_an_end(unit: bytes) -> None:
    content = b'{"a":[' + unit * (4_000_000 // len(unit)) + b"1]}"
    with contextlib.suppress(ManifestInvalid):
        load_object(content)


@given(st.binary(max_size=200))
def test_any_bytes_are_an_object_or_refused(content: bytes) -> None:
    try:
        value = load_object(content)
    except ManifestInvalid:
        return
    assert value == json.loads(content)


@given(st.text('{}[]",:\\ue019.-NaIn \n', max_size=60))
def test_near_misses_of_json_are_an_object_or_refused(text: str) -> None:
    try:
        value = load_object(b"{" + text.encode() + b"}")
    except ManifestInvalid:
        return
    assert value == json.loads("{" + text + "}")
