"""Users and groups."""

import asyncio

import pytest

from auth.errors import NameRefused
from auth.grants import Grant
from registry.db import authority, credentials, grants, users
from registry.db.connection import Database
from registry.db.credentials import Kind
from registry.errors import RecordExists, RecordInUse, RecordUnknown, ValueInvalid
from tests.support.rights import BY, PASSWORD, People

pytestmark = pytest.mark.anyio


@pytest.fixture
def people(database: Database) -> People:
    return People(database)


async def test_a_user_is_made_once_with_a_hash_instead_of_the_password(people: People) -> None:
    made = await people.accounts.add("alice", PASSWORD, actor=BY)
    assert (made.name, made.source, made.is_admin, made.disabled_at, made.seen_at) == (
        "alice",
        "local",
        False,
        None,
        None,
    )
    assert made.password and PASSWORD not in made.password
    with pytest.raises(RecordExists):
        await people.accounts.add("alice", PASSWORD, actor=BY)
    for name, password in (("a b", PASSWORD), ("bob", "short"), ("longenough", "longenough")):
        with pytest.raises(NameRefused):
            await people.accounts.add(name, password, actor=BY)
    assert [user.name for user in await people.accounts.page()] == ["alice"]


async def test_every_change_is_heard_of(people: People) -> None:
    heard = [await authority.revision(people.database)]

    async def assert_heard() -> None:
        heard.append(await authority.revision(people.database))
        assert heard[-1] > heard[-2]

    accounts = people.accounts
    await accounts.add("alice", PASSWORD, actor=BY)
    await assert_heard()
    assert await accounts.disable("alice", actor=BY)
    await assert_heard()
    assert not await accounts.disable("alice", actor=BY)
    await assert_heard()
    assert await accounts.enable("alice", actor=BY)
    assert not await accounts.enable("alice", actor=BY)
    await assert_heard()
    await accounts.set_password("alice", "another password", actor=BY)
    await assert_heard()
    assert await accounts.join("dev", "alice", actor=BY)
    assert not await accounts.join("dev", "alice", actor=BY)
    await assert_heard()
    await accounts.leave("dev", "alice", actor=BY)
    await assert_heard()
    assert await accounts.set_admin("alice", is_admin=True, actor=BY)
    assert not await accounts.set_admin("alice", is_admin=True, actor=BY)
    await assert_heard()
    made = await people.credentials.make_personal(await accounts.find("alice"), actor=BY)
    before = await authority.revision(people.database)
    await people.credentials.revoke(made.credential.id, actor=BY)
    assert await authority.revision(people.database) > before


async def test_what_is_not_there_is_said_to_be_unknown(people: People) -> None:
    accounts = people.accounts
    await accounts.add("alice", PASSWORD, actor=BY)
    for refused in (
        accounts.set_password("bob", PASSWORD, actor=BY),
        accounts.disable("bob", actor=BY),
        accounts.enable("bob", actor=BY),
        accounts.set_admin("bob", is_admin=True, actor=BY),
        accounts.remove("bob", actor=BY),
        accounts.find("bob"),
        accounts.join("dev", "bob", actor=BY),
        accounts.leave("dev", "alice", actor=BY),
    ):
        with pytest.raises(RecordUnknown):
            await refused


async def test_the_last_system_admin_stays(people: People) -> None:
    accounts = people.accounts
    await accounts.add("root", PASSWORD, is_admin=True, actor=BY)
    await accounts.add("other", PASSWORD, is_admin=True, actor=BY)
    assert await accounts.disable("other", actor=BY)  # who is disabled is no admin that could help
    for refused in (
        accounts.disable("root", actor=BY),
        accounts.remove("root", actor=BY),
        accounts.set_admin("root", is_admin=False, actor=BY),
    ):
        with pytest.raises(RecordInUse, match="last system admin"):
            await refused
    await accounts.enable("other", actor=BY)
    await accounts.remove("root", actor=BY)
    assert [user.name for user in await accounts.page()] == ["other"]


async def test_of_two_admins_who_remove_each_other_at_once_one_stays(people: People) -> None:
    for name in ("one", "two"):
        await people.accounts.add(name, PASSWORD, is_admin=True, actor=BY)
    outcomes = await asyncio.gather(
        *(people.accounts.set_admin(name, is_admin=False, actor=BY) for name in ("one", "two")), return_exceptions=True
    )
    assert sorted(str(type(one).__name__) for one in outcomes) == ["RecordInUse", "bool"]
    assert await users.count_admins(people.database) == 1


async def test_a_new_password_ends_logins_and_tokens_only_if_that_is_said(people: People) -> None:
    user = await people.accounts.add("alice", PASSWORD, actor=BY)
    token = await people.credentials.make_personal(user, actor=BY)
    session = await people.credentials.make_session(user, expires_s=3600, actor=BY)
    refresh = await people.database.write(
        lambda tx: credentials.add(
            tx, kind=Kind.REFRESH, digest=b"r" * 32, hint="r", name="", actor=BY, user_id=user.id
        )
    )

    async def counting() -> set[int]:
        ids = [token.credential.id, session.credential.id, refresh.id]
        return {one for one in ids if await credentials.find_live(people.database, one) is not None}

    assert len(await counting()) == 3
    changed = await people.accounts.set_password("alice", "another password", actor=BY)
    assert await counting() == {token.credential.id}
    assert (await people.accounts.find("alice")).password != changed.password
    await people.accounts.set_password("alice", "a third password", with_tokens=True, actor=BY)
    assert await counting() == set()


async def test_who_gets_the_name_of_somebody_removed_gets_nothing_with_it(people: People) -> None:
    user = await people.accounts.add("alice", PASSWORD, actor=BY)
    await people.projects.add("team", actor=BY)
    await people.grant("registry-editor", "user:alice", "team")
    await people.grant("registry-viewer", "user:alice")
    await people.accounts.join("dev", "alice", actor=BY)
    made = await people.credentials.make_personal(user, actor=BY)
    await people.accounts.remove("alice", actor=BY)
    assert await credentials.find(people.database, made.credential.id) is None
    again = await people.accounts.add("alice", PASSWORD, actor=BY)
    assert await grants.page(people.database, None, "user:alice") == []
    assert await people.accounts.groups_of(again) == []
    with pytest.raises(RecordUnknown):
        await people.credentials.make_personal(user._replace(name="bob"), actor=BY)


async def test_whose_password_is_kept_elsewhere_gets_none_here(people: People) -> None:
    await people.database.write(lambda tx: users.add(tx, "carol", source="ldap"))
    with pytest.raises(ValueInvalid, match="ldap knows it"):
        await people.accounts.set_password("carol", PASSWORD, actor=BY)
    user = await people.accounts.find("carol")
    await people.database.write(lambda tx: users.join(tx, user.id, "staff", "ldap"))
    with pytest.raises(ValueInvalid, match="ldap says"):
        await people.accounts.leave("staff", "carol", actor=BY)
    assert await people.accounts.join("staff", "carol", actor=BY)
    await people.accounts.leave("staff", "carol", actor=BY)
    assert await people.accounts.groups_of(user) == [("staff", "ldap")]


async def test_groups_are_listed_page_by_page(people: People) -> None:
    for name in ("alice", "bob", "carol"):
        await people.accounts.add(name, PASSWORD, actor=BY)
        await people.accounts.join("all", name, actor=BY)
    await people.accounts.join("dev", "bob", actor=BY)
    assert await people.accounts.group_page() == [("all", 3), ("dev", 1)]
    assert await people.accounts.group_page(after="all", most=5) == [("dev", 1)]
    assert await people.accounts.members("all", most=2) == [("alice", "local"), ("bob", "local")]
    assert await people.accounts.members("all", after="bob") == [("carol", "local")]
    assert [user.name for user in await people.accounts.page(after="alice", most=1)] == ["bob"]
    assert str(Grant("r", "s")) == "r for s in the whole registry"


async def test_what_is_done_is_written_down_without_secrets(people: People, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "stowage.rights")
    user = await people.accounts.add("alice", PASSWORD, actor=BY)
    made = await people.credentials.make_personal(user, label="laptop", actor=BY)
    assert not await people.accounts.enable("alice", actor=BY)  # nothing is done
    await people.accounts.join("dev", "alice", actor=BY)
    await people.projects.add("team", actor=BY)
    await people.grant("registry-viewer", "group:dev", "team")
    assert [line.partition(f" by {BY}: ")[0] for line in caplog.messages] == [
        "user.add",
        "token.add",
        "group.join",
        "project.add in team",
        "grant.add in team",
    ]
    text = "\n".join(caplog.messages)
    assert "laptop" in text and "group:dev" in text
    assert made.secret not in text and made.secret[8:] not in text and PASSWORD not in text
