"""What may be called how: in one place, so that no name breaks what it ends up in."""

import string
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth.errors import NameRefused
from auth.names import (
    check_password,
    parse_account,
    parse_group,
    parse_label,
    parse_pattern,
    parse_project,
    parse_role,
    parse_subject,
    parse_tag_pattern,
    parse_user,
)


@pytest.mark.parametrize(
    ("parse", "taken", "refused"),
    [
        (
            parse_project,
            ["a", "team", "team-b", "a.b_c__d--e", "9" * 255],
            ["", "Team", "a/b", "-a", "a-", "a___b", "a b", "*", "9" * 256, "a\n"],
        ),
        (
            parse_user,
            ["alice", "Alice", "a.b@example.org", "x+y", "_svc", "1" * 255],
            ["", "a b", "a:b", "-a", "a/b", "a\n", "1" * 256, "é", "stw ", "a\0"],
        ),
        (
            parse_group,
            ["developers", "/team/devs", "cn=admins,dc=example", "a:b", "größe", "Domain Users", "a  b", "g" * 256],
            ["", " ", " a", "a ", "a\tb", "a\n", "g" * 257, "a\u200bb", "a\u00a0b"],
        ),
        (parse_account, ["builder", "a-b.c", "x" * 128], ["", "Builder", "a/b", "x" * 129, "a b"]),
        (parse_role, ["releaser", "a-b.c_d"], ["", "Role", "registry-viewer", "registry-x", "a b", "a--b", "x" * 65]),
        (parse_tag_pattern, ["v*", "*", "latest", "1.?"], ["", "a/b", "a b", "[a]", "x" * 129]),
        (parse_label, ["", "my laptop", "größe"], ["a\nb", "x" * 101, "\x1b[0m"]),
        (
            parse_subject,
            [
                "user:alice",
                "group:developers",
                "group:a:b",
                "serviceaccount:team/builder",
                "system:authenticated",
                "system:anonymous",
            ],
            [
                "",
                "alice",
                "user:",
                "user:a b",
                "users:alice",
                "serviceaccount:team",
                "serviceaccount:team/a/b",
                "serviceaccount:/a",
                "system:admin",
                "system:operator",
                "group:",
                "USER:alice",
            ],
        ),
    ],
)
def test_names(parse: Callable[[str], str], taken: list[str], refused: list[str]) -> None:
    for text in taken:
        assert parse(text) == text
    for text in refused:
        with pytest.raises(NameRefused) as caught:
            parse(text)
        assert len(str(caught.value)) < 400
        assert str(caught.value).isprintable()


@pytest.mark.parametrize("pattern", ["team", "team/*", "team/**", "team/app/**/web-?", "team/a.b_c"])
def test_a_pattern_of_repositories_begins_with_its_project(pattern: str) -> None:
    assert parse_pattern(pattern, "team") == pattern
    for project in ("tea", "team2", "te"):
        with pytest.raises(NameRefused, match=f"in {project}"):
            parse_pattern(pattern, project)


@pytest.mark.parametrize("pattern", ["", "*", "**", "team*", "team-b/x", "team/ a", "team/A", "team/" + "a" * 251])
def test_other_patterns_are_refused(pattern: str) -> None:
    with pytest.raises(NameRefused):
        parse_pattern(pattern, "team")


@pytest.mark.parametrize(
    "password", ["", "1234567", "x" * 1025, "é" * 513, "alice-longname", "ALICE-longname", "two\nlines", "nul\0nul-"]
)
def test_passwords_against_the_rules_are_refused_and_not_quoted(password: str) -> None:
    with pytest.raises(NameRefused) as caught:
        check_password(password, "alice-longname")
    assert not password or password not in str(caught.value)


@pytest.mark.parametrize("password", ["12345678", "x" * 1024, "correct horse battery staple", "пароль-пароль"])
def test_others_are_taken(password: str) -> None:
    check_password(password, "alice")


@given(st.text(string.printable + "é\u2028", max_size=40))
def test_no_name_that_is_taken_breaks_a_list_with_spaces_or_a_basic_header(text: str) -> None:
    for parse in (parse_user, parse_project, parse_account, parse_role):
        try:
            name = parse(text)
        except NameRefused:
            continue
        assert name.split() == [name]
        assert parse is not parse_user or ":" not in name
