"""Projects, their service accounts, and tokens."""

import hashlib
import re

import pytest

from auth.errors import NameRefused, ScopeInvalid
from auth.grants import TagRule
from auth.roles import Action
from registry.db import credentials, grants, repositories
from registry.db.connection import Database
from registry.errors import RecordExists, RecordInUse, RecordUnknown, ValueInvalid
from registry.oci.names import RepositoryName
from registry.services.last_use import LastUse
from storage.digest import digest_bytes
from tests.factories import image_manifest
from tests.support.databases import Place
from tests.support.rights import BY, PASSWORD, People
from tests.unit.services.quoted import Quoted

pytestmark = pytest.mark.anyio


@pytest.fixture
def people(database: Database) -> People:
    return People(database)


async def given(people: People, project: str) -> set[tuple[str, str]]:
    return {(one.role, one.subject) for one in await people.granting.page(project)}


async def made_repository(people: People, name: str) -> None:
    await people.database.write(lambda tx: repositories.find_or_create(tx, RepositoryName(name)))


ACCOUNTS = {
    ("registry-editor", "serviceaccount:team/builder"),
    ("registry-viewer", "serviceaccount:team/default"),
    ("registry-viewer", "serviceaccount:team/deployer"),
}


async def test_a_project_is_made_with_who_works_for_it(people: People) -> None:
    made = await people.projects.add("team", actor=BY)
    assert (made.name, made.created_by, made.quota_bytes) == ("team", BY, None)
    assert await given(people, "team") == ACCOUNTS
    assert [one.name for one in await people.service_accounts.page("team")] == ["builder", "default", "deployer"]
    assert not await people.projects.is_public(made)
    with pytest.raises(RecordExists):
        await people.projects.add("team", actor=BY)
    for name in ("Team", "a/b", ""):
        with pytest.raises(NameRefused):
            await people.projects.add(name, actor=BY)


async def test_it_is_public_when_that_is_said_and_private_again(people: People) -> None:
    made = await people.projects.add("team", is_public=True, admin="user:alice", actor=BY)
    public = ("registry-viewer", "system:anonymous")
    assert await given(people, "team") == {*ACCOUNTS, public, ("registry-admin", "user:alice")}
    assert await people.projects.is_public(made)
    assert await people.projects.set_public("team", is_public=False, actor=BY)
    assert not await people.projects.set_public("team", is_public=False, actor=BY)
    assert not await people.projects.is_public(made)
    assert await people.projects.set_public("team", is_public=True, actor=BY)
    assert public in await given(people, "team")


@pytest.mark.parametrize("name", ["team", "team/app/web"])
async def test_it_stays_while_repositories_are_there(people: People, name: str) -> None:
    await people.projects.add("team", actor=BY)
    for other in ("team-b/x", "teams", "tea/m", "team.x/y"):  # these are others' repositories
        await made_repository(people, other)
    account = await people.service_accounts.find("team", "builder")
    token = await people.credentials.make_for_account(account, actor=BY)
    await people.grant("registry-viewer", "serviceaccount:team/builder")
    await people.granting.add_rule(TagRule("v*", frozenset({Action.PUSH}), project="team"), actor=BY)
    await made_repository(people, name)
    with pytest.raises(RecordInUse, match="gc --now"):
        await people.projects.remove("team", actor=BY)
    assert await credentials.find_live(people.database, token.credential.id) is not None


async def test_a_project_that_is_removed_leaves_nothing(people: People, place: Place) -> None:
    await people.projects.add("team", actor=BY)
    await people.projects.add("other", actor=BY)
    account = await people.service_accounts.find("team", "builder")
    token = await people.credentials.make_for_account(account, actor=BY)
    await people.grant("registry-viewer", "serviceaccount:team/builder")
    await people.granting.add_rule(TagRule("v*", frozenset({Action.PUSH}), project="team"), actor=BY)
    excepted = frozenset({"serviceaccount:team/builder", "user:alice"})
    await people.granting.add_rule(TagRule("v*", frozenset({Action.PUSH}), excepted, "other"), actor=BY)
    await people.projects.remove("team", actor=BY)
    assert await credentials.find(people.database, token.credential.id) is None
    assert await grants.page(people.database, None, "serviceaccount:team/builder") == []
    assert [rule.excepted for rule in (await people.granting.rules("other")).values()] == [frozenset({"user:alice"})]
    assert place.sql("SELECT count(*) FROM tag_rules") == [("1",)]
    assert place.sql("SELECT count(*) FROM grants") == [("3",)]
    for refused in (people.projects.find("team"), people.projects.remove("team", actor=BY), given(people, "team")):
        with pytest.raises(RecordUnknown):
            await refused
    assert [one.name for one in await people.projects.page()] == ["other"]


async def test_service_accounts_come_with_a_role_or_none(people: People) -> None:
    await people.projects.add("team", actor=BY)
    made = await people.service_accounts.add("team", "scanner", role="registry-viewer", actor=BY)
    assert made.principal == "serviceaccount:team/scanner"
    assert ("registry-viewer", made.principal) in await given(people, "team")
    for error, refused in (
        (RecordExists, people.service_accounts.add("team", "scanner", actor=BY)),
        (RecordUnknown, people.service_accounts.add("none", "scanner", actor=BY)),
        (RecordUnknown, people.service_accounts.add("team", "other", role="none", actor=BY)),
        (NameRefused, people.service_accounts.add("team", "Other", actor=BY)),
        (RecordUnknown, people.service_accounts.remove("team", "other", actor=BY)),
        (RecordUnknown, people.service_accounts.page("none")),
    ):
        with pytest.raises(error):
            await refused
    assert await people.service_accounts.disable("team", "scanner", actor=BY)
    assert not await people.service_accounts.disable("team", "scanner", actor=BY)
    assert await people.service_accounts.enable("team", "scanner", actor=BY)
    await people.service_accounts.remove("team", "scanner", actor=BY)
    assert await given(people, "team") == ACCOUNTS


async def test_a_token_is_shown_once_and_kept_as_a_hash(people: People, place: Place) -> None:
    await people.projects.add("team", actor=BY)
    account = await people.service_accounts.find("team", "builder")
    made = await people.credentials.make_for_account(account, label="ci", actor=BY)
    other = await people.credentials.make_for_account(account, expires_s=3600, actor=BY)
    assert re.fullmatch("stw_[a-z2-7]{32}", made.secret)
    assert made.secret != other.secret
    assert made.secret not in repr(made) and made.secret[:8] == made.credential.hint
    stored = "\n".join(" ".join(row) for row in place.sql("SELECT * FROM credentials"))
    assert made.secret not in stored and made.secret[12:] not in stored
    digest = hashlib.sha256(made.secret.encode()).digest()
    found = await credentials.find_by_hash(people.database, digest)
    assert found is not None
    assert (found.id, found.name, found.service_account_id, found.expires_at) == (
        made.credential.id,
        "ci",
        account.id,
        None,
    )
    assert other.credential.expires_at is not None
    assert abs(other.credential.expires_at - other.credential.created_at - 3600 * 10**6) < 10**7
    assert [one.id for one in await people.credentials.of_account(account)] == [found.id, other.credential.id]
    assert await people.credentials.revoke(found.id, actor=BY)
    assert not await people.credentials.revoke(found.id, actor=BY)
    assert await credentials.find_by_hash(people.database, digest) is None
    with pytest.raises(RecordUnknown):
        await people.credentials.revoke(999, actor=BY)


async def test_tokens_that_make_no_sense_are_refused(people: People) -> None:
    user = await people.accounts.add("alice", PASSWORD, actor=BY)
    make, session = people.credentials.make_personal, people.credentials.make_session
    for error, refused in (
        (ValueInvalid, make(user, expires_s=0, actor=BY)),
        (ValueInvalid, make(user, expires_s=10**12, actor=BY)),
        (ValueInvalid, session(user, expires_s=86401, actor=BY)),
        (NameRefused, make(user, label="a\nb", actor=BY)),
        (ScopeInvalid, make(user, scope="nonsense", actor=BY)),
    ):
        with pytest.raises(error):
            await refused
    assert await people.credentials.of_user(user) == []
    made = await make(user, scope="repository:a/b:push,pull  repository:a/b:pull", actor=BY)
    assert made.credential.scope == "repository:a/b:pull,push"


async def test_last_use_is_written_down_in_batches_and_never_goes_back(people: People) -> None:
    user = await people.accounts.add("alice", PASSWORD, actor=BY)
    ids = [(await people.credentials.make_personal(user, actor=BY)).credential.id for _ in range(3)]
    uses = LastUse(people.database)
    for one in (ids[0], ids[1], ids[0], 999_999):  # one of them is gone
        uses.note(one)
    assert [one.used_at for one in await people.credentials.of_user(user)] == [None, None, None]
    revision = await people.revision.now()
    await uses.write()
    assert await people.revision.now() == revision
    first = [one.used_at for one in await people.credentials.of_user(user)]
    assert first[0] and first[1] and first[2] is None
    future = first[0] + 10**12
    await people.database.write(lambda tx: credentials.mark_used(tx, ids[0], future))
    uses.note(ids[0])
    uses.note(ids[2])
    uses.start()
    await uses.stop()  # writes down what is left
    second = [one.used_at for one in await people.credentials.of_user(user)]
    assert second[0] == future and second[1] == first[1] and second[2]


async def test_a_push_that_was_admitted_before_the_project_was_removed_makes_nothing(
    people: People, place: Place
) -> None:
    registry = Quoted(place, people.database, in_projects=True)
    for name in ("team", "other"):
        await people.projects.add(name, actor=BY)
    await registry.push_blob("other/app", b"content")
    objects = await registry.objects()
    await people.projects.remove("team", actor=BY)
    for pushing in (
        registry.push_blob("team/app", b"content"),  # which is there, elsewhere
        registry.push_blob("team/app", b"another"),
        registry.mount("team/app", digest_bytes(b"content"), "other/app"),
        registry.push("team/app", image_manifest(b"content"), "x"),
    ):
        with pytest.raises(RecordUnknown):
            await pushing
    assert await registry.objects() == objects
    assert registry.rows_of("repositories", "upload_sessions", "blobs") == {
        "repositories": "1",
        "upload_sessions": "0",
        "blobs": "1",
    }
