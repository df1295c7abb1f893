"""People in a directory, against Debian's slapd."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from auth.directory import Directory, LdapSource
from auth.errors import SourceUnavailable, TooManyAttempts
from auth.sources import Identity
from tests.support.certificates import make_certificate
from tests.support.directory import GROUPS, PASSWORDS, PEOPLE, READER, READER_PASSWORD, Slapd
from tests.support.ports import free_port

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def slapd() -> Iterator[Slapd]:
    with Slapd() as running:
        yield running


@pytest.fixture
def searching(slapd: Slapd) -> Directory:
    """People are looked for, and groups too."""
    return Directory(
        urls=(slapd.url,),
        bind_dn=READER,
        bind_password=READER_PASSWORD,
        user_base=PEOPLE,
        group_base=GROUPS,
        timeout_s=3,
    )


@pytest.fixture
def direct(slapd: Slapd) -> Directory:
    """A person's DN is known, and the groups are in the entry."""
    return Directory(urls=(slapd.url,), user_dn=f"uid={{name}},{PEOPLE}", member_of="memberOf", timeout_s=3)


async def check(directory: Directory, name: str, password: str) -> Identity | bool | None:
    with closing(LdapSource(directory)) as source:
        return await source.check(name, password)


GROUPS_OF_ALICE = frozenset({"builders", "a (*) group", "caf\u00e9, ops"})


async def test_a_right_password_says_who_it_is_and_their_groups(searching: Directory, direct: Directory) -> None:
    found = [await check(directory, "alice", "wonderland") for directory in (searching, direct)]
    assert found[0] == found[1]
    (who, _) = found
    assert isinstance(who, Identity)
    assert (who.name, who.source, who.groups) == ("alice", "ldap", GROUPS_OF_ALICE)
    assert who.subject is not None and len(who.subject) == 36  # an entryUUID
    assert await LdapSource(searching).proof("alice") == ""


@pytest.mark.parametrize("name", [name for name in PASSWORDS if name != "dora"])
async def test_whatever_signs_a_name_has_it_is_that_one(searching: Directory, direct: Directory, name: str) -> None:
    for directory in (searching, direct):
        found = await check(directory, name, PASSWORDS[name])
        assert isinstance(found, Identity)
        assert found.name == name
        assert await check(directory, name, PASSWORDS[name] + "x") is False


async def test_a_wrong_password_and_a_name_that_nobody_has(searching: Directory, direct: Directory) -> None:
    assert await check(searching, "alice", "wrong") is False
    assert await check(searching, "nobody", "wonderland") is None
    assert await check(direct, "alice", "wrong") is False
    assert await check(direct, "nobody", "wonderland") is False  # nobody can tell


async def test_a_name_is_written_as_the_directory_has_it(searching: Directory, direct: Directory) -> None:
    """It takes ALICE for alice: here, that must not be two people."""
    shouting = replace(searching, name_attribute="UID", member_of="MEMBEROF", group_base="")
    for directory in (searching, direct, shouting):
        found = await check(directory, "ALICE", "wonderland")
        assert isinstance(found, Identity)
        assert (found.name, found.groups) == ("alice", GROUPS_OF_ALICE)


@pytest.mark.parametrize("password", ["", "\u00ad", "\u200b\u00ad"])
async def test_an_empty_password_lets_nobody_in(searching: Directory, direct: Directory, password: str) -> None:
    """An anonymous bind succeeds here; so would one with a password of signs that ldap3 leaves out of a text."""
    for directory in (searching, direct):
        assert not await check(directory, "alice", password)
    if password == "\u00ad":
        assert isinstance(await check(searching, "dora", password), Identity)  # it is a password like any other


@pytest.mark.parametrize(
    "name",
    [
        "*",
        "ali*",
        "alice)(uid=*",
        "*)(objectClass=*",
        "alice\x00",
        "alice)(|(uid=*",
        "\\2a",
        "(",
        ")",
        "alice,ou=people",
    ],
)
async def test_a_name_is_never_a_part_of_the_question(searching: Directory, direct: Directory, name: str) -> None:
    assert await check(searching, name, "wonderland") is None
    assert await check(direct, name, "wonderland") is False


async def test_several_people_of_one_name_are_nobody(searching: Directory) -> None:
    everybody = replace(searching, user_filter="(|(uid={name})(objectClass=inetOrgPerson))")
    assert await check(everybody, "alice", "wonderland") is None


async def test_only_those_whom_the_filter_finds_get_in(searching: Directory) -> None:
    some = replace(searching, user_filter=f"(&(uid={{name}})(memberOf=cn=builders,{GROUPS}))")
    assert isinstance(await check(some, "bob", PASSWORDS["bob"]), Identity)
    assert await check(some, "o'neil", PASSWORDS["o'neil"]) is None


async def test_what_never_changes_is_kept_or_else_the_dn(searching: Directory, slapd: Slapd) -> None:
    found = await check(replace(searching, subject_attribute="employeeNumber"), "alice", "wonderland")
    assert isinstance(found, Identity)
    assert found.subject == slapd.dn_of("alice")


async def test_tls_is_spoken_with_who_has_the_right_certificate_alone(
    searching: Directory, slapd: Slapd, tmp_path: Path
) -> None:
    ways = [replace(searching, start_tls=True), replace(searching, urls=(slapd.tls_url,))]
    stranger = make_certificate(tmp_path)
    for way in ways:
        assert isinstance(await check(replace(way, ca=slapd.tls.certificate), "alice", "wonderland"), Identity)
        for ca in (stranger.certificate, None):
            with pytest.raises(SourceUnavailable):
                await check(replace(way, ca=ca), "alice", "wonderland")
        named = tuple(url.replace("127.0.0.1", "127.0.0.2") for url in way.urls)  # the certificate has another
        with pytest.raises(SourceUnavailable):
            await check(replace(way, urls=named, ca=slapd.tls.certificate), "alice", "wonderland")


async def test_the_next_server_is_asked_where_the_first_is_away(searching: Directory, slapd: Slapd) -> None:
    urls = (f"ldap://127.0.0.1:{free_port()}", slapd.url)
    assert isinstance(await check(replace(searching, urls=urls), "alice", "wonderland"), Identity)


async def test_a_directory_that_is_away_is_not_a_wrong_password(searching: Directory, direct: Directory) -> None:
    away = f"ldap://127.0.0.1:{free_port()}"
    for directory in (replace(searching, urls=(away,)), replace(direct, urls=(away,))):
        with pytest.raises(SourceUnavailable) as caught:
            await check(directory, "alice", "wonderland")
        assert "wonderland" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"bind_password": "wrong"},
        {"bind_password": ""},
        {"bind_dn": "nobody"},
        {"user_filter": "(uid={name}"},
        {"bind_dn": "", "user_base": PEOPLE},  # nobody may look around here
    ],
)
async def test_a_directory_that_does_not_let_the_registry_look_is_away(
    searching: Directory, wrong: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    try:
        found = await check(replace(searching, **wrong), "alice", "wonderland")
    except SourceUnavailable:
        assert "the directory can't be asked" in caplog.text
        assert READER_PASSWORD not in caplog.text
        assert "wonderland" not in caplog.text
    else:
        assert found is None  # slapd says nothing of what is not for everybody
        assert not wrong["bind_dn"]


async def test_a_directory_that_hangs_is_waited_for_no_longer_than_said(searching: Directory) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        hanging = replace(searching, timeout_s=1)
        for way in (
            replace(hanging, urls=(f"ldap://127.0.0.1:{port}",)),
            replace(hanging, urls=(f"ldap://127.0.0.1:{port}",), start_tls=True),
            replace(hanging, urls=(f"ldaps://127.0.0.1:{port}",)),
        ):
            with pytest.raises(SourceUnavailable):
                await asyncio.wait_for(check(way, "alice", "wonderland"), 20)


async def test_who_waits_for_a_directory_that_is_away_learns_it_at_once(searching: Directory, slapd: Slapd) -> None:
    now = 100.0
    with socket.create_server(("127.0.0.1", 0)) as silent:
        asked = replace(searching, urls=(f"ldap://127.0.0.1:{silent.getsockname()[1]}",), timeout_s=1)
        with closing(LdapSource(asked, clock=lambda: now)) as source:
            many = await asyncio.gather(*(source.check("alice", "x") for _ in range(60)), return_exceptions=True)
            assert {type(one) for one in many} == {SourceUnavailable}
            silent.settimeout(0)
            taken = 0
            with suppress(BlockingIOError):
                while True:
                    silent.accept()[0].close()
                    taken += 1
            assert 1 <= taken <= 8  # one a thread
            with pytest.raises(SourceUnavailable):
                await source.check("alice", "x")
            with pytest.raises(BlockingIOError):
                silent.accept()
            now += 2
            with pytest.raises(SourceUnavailable):
                await source.check("alice", "x")
            silent.accept()[0].close()


async def test_many_wait_and_more_are_turned_away(searching: Directory, slapd: Slapd) -> None:
    with closing(LdapSource(searching)) as source:
        slapd.suspend()
        try:
            asked = [asyncio.ensure_future(source.check("alice", "wonderland")) for _ in range(80)]
            done, waiting = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(0)
            refused = {one for one in asked if one.done()}
        finally:
            slapd.resume()
        answers = await asyncio.gather(*asked, return_exceptions=True)
    assert done <= refused
    assert sum(isinstance(one, TooManyAttempts) for one in answers) == 16
    assert sum(isinstance(one, Identity) for one in answers) == len(waiting) == 64
