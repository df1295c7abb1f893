"""What a request says in its query: the same, whichever way it is read."""

from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import QueryInvalid
from registry.http.request import parse_query


@given(st.binary(max_size=60) | st.text("ab=&%+2F;#", max_size=40).map(str.encode))
def test_a_query_is_read_as_the_library_reads_it(raw: bytes) -> None:
    assert parse_query(raw) == parse_qsl(raw.decode("latin-1"), keep_blank_values=True)


@pytest.mark.parametrize("raw", [b"a&" * 5000, b"%61&" * 5000])
def test_too_many_parameters_are_refused(raw: bytes) -> None:
    with pytest.raises(QueryInvalid):
        parse_query(raw)


def test_as_many_as_are_allowed_are_taken() -> None:
    assert len(parse_query(b"a&" * 999)) == 999
    assert len(parse_query(b"a=1&" * 1999)) == 1999
