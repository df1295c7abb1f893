"""Names in what a directory is asked: whatever signs they have, they are values."""

import re

import ldap3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ldap3.utils.dn import parse_dn

from auth.ldap_text import escaped_dn, escaped_filter, filled, first_component

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(name=names)
def test_any_name_is_one_value_in_a_dn_and_nothing_else(name: str) -> None:
    (first, second) = parse_dn(f"uid={escaped_dn(name)},ou=people")
    assert first[0] == "uid"
    assert second[1] == "people"
    assert first_component(f"uid={escaped_dn(name)},ou=people") == name


@given(name=names)
def test_any_name_is_one_value_in_a_filter_and_nothing_else(name: str) -> None:
    escaped = escaped_filter(name)
    assert not {*escaped} & {*"()*\x00"}
    asked = ldap3.operation.search.parse_filter(f"(uid={escaped})", None, False, None, None, False)
    (element,) = asked.elements
    assert element.tag == ldap3.operation.search.MATCH_EQUAL
    value = re.sub(rb"\\(..)", lambda found: bytes.fromhex(found[1].decode()), element.assertion["value"])
    assert value == name.encode()


@given(name=names)
def test_a_template_is_filled_once(name: str) -> None:
    assert (
        filled("<{name}|{dn}|{other}>", lambda value: value, name=name, dn="{name}") == f"<{name}|{{name}}|{{other}}>"
    )


@pytest.mark.parametrize(
    ("dn", "name"),
    [
        ("cn=a\\,b,dc=x", "a,b"),
        ("cn=caf\\c3\\a9", "caf\u00e9"),
        ("CN=Domain Users,DC=x", "Domain Users"),
        ("", ""),
        ("nothing", ""),
    ],
)
def test_a_group_that_is_named_by_its_dn_is_called_by_the_first_part(dn: str, name: str) -> None:
    assert first_component(dn) == name
