import string

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.exchange import clean
from conformance.results import Value, yaml_lines

TEXT = st.text().map(clean)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False, width=16) | TEXT
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4))


@settings(max_examples=50)
@given(st.dictionaries(st.text(string.ascii_letters + "_") | TEXT, VALUES))
def test_what_is_written_as_yaml_is_read_back_the_same(value: dict[str, Value]) -> None:
    assert yaml.safe_load("\n".join(yaml_lines(value)) or "{}") == value


@pytest.mark.parametrize("word", ["true", "Null", "yes", "off", "on", "~", "1", "a: b", "- a", "#", ""])
def test_names_that_mean_something_else_in_yaml_stay_names(word: str) -> None:
    assert yaml.safe_load("\n".join(yaml_lines({word: word}))) == {word: word}


def test_lists_of_mappings_are_written_as_people_write_them() -> None:
    value: Value = {"checks": [{"name": "one", "seconds": 0.5, "lines": ["a", "b"]}, {"name": "two"}], "none": []}
    assert list(yaml_lines(value)) == [
        "checks:",
        '  - name: "one"',
        "    seconds: 0.5",
        "    lines:",
        '      - "a"',
        '      - "b"',
        '  - name: "two"',
        "none: []",
    ]
