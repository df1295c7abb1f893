"""Rollback and undelete: what they obey, what they leave, and who is collecting meanwhile."""

import json
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
from sqlalchemy import delete, update

from auth.errors import Denied
from auth.grants import TagRule
from auth.policy import Decision, OpenPolicy
from auth.principal import Principal
from auth.roles import Action
from registry.db import grants, history, projects, repositories, tags
from registry.db.connection import Database, Transaction
from registry.db.statements import Statement, parameter
from registry.db.tables import blobs, tag_rules
from registry.errors import (
    ContentDamaged,
    QuotaExceeded,
    RecordUnknown,
    RollbackRefused,
    ValueInvalid,
)
from registry.oci.names import RepositoryName, Tag
from registry.services import rollback
from registry.services.projects import Projects
from registry.services.quotas import Limits, Quotas
from registry.services.retention import Rules
from registry.services.rollback import Target, Wanted
from storage.digest import digest_bytes
from tests.factories import artifact_manifest, image_manifest
from tests.support.databases import Place
from tests.unit.services.undoing import Registry

pytestmark = pytest.mark.anyio
A = "team/app"


@pytest.fixture
def registry(database: Database) -> Registry:
    return Registry(database)


async def now(registry: Registry, repository: str = A) -> dict[str, str]:
    """The tags as they are."""
    names = await tags.page(registry.database, RepositoryName(repository), after="", limit=1000)
    repository_id = await repositories.find(registry.database, RepositoryName(repository))
    assert repository_id is not None
    found = {name: await tags.current(registry.database, repository_id, Tag(name)) for name in names}
    return {name: one.digest for name, one in found.items() if one is not None}


async def actions(place: Place, since: int = 0) -> list[tuple[str, str]]:
    """The events there were, without those of blobs."""
    rows = place.sql(f"SELECT action, payload FROM outbox WHERE id > {since} ORDER BY id")
    return [
        (action, json.loads(payload).get("tag", ""))
        for action, payload in rows
        if "media_type" in payload or "tag" in payload
    ]


async def test_what_a_rollback_tells(registry: Registry, place: Place) -> None:
    first = await registry.push_image(A, b"a", b"b", tag="latest")
    at = await registry.moment()
    second = await registry.push_image(A, b"a", b"c", tag="latest")
    await registry.push(A, image_manifest(b"a", [b"c"]), "new")
    await registry.delete(A, first)
    before = int(place.sql("SELECT max(id) FROM outbox")[0][0])
    outcome = await registry.roll_back(A, at=at)
    assert [tuple(one) for one in outcome.changes] == [("latest", second, first, True), ("new", second, None, False)]
    assert await actions(place, before) == [("undelete", ""), ("tag", "latest"), ("untag", "new")]
    rows = place.sql(
        "SELECT tag, cause, started_by, started_from, ended_cause, ended_by, ended_from FROM tag_history ORDER BY id"
    )
    push, back = ("push", "user:test", "192.0.2.7"), ("rollback", "user:test", "192.0.2.7")
    assert rows == [
        ("latest", *push, *push),
        ("latest", *push, *back),
        ("new", *push, *back),
        ("latest", *back, "", "", ""),
    ]
    [told] = place.sql("SELECT principal, repository, address, detail FROM audit_entries WHERE action = 'rollback'")
    assert told[:3] == ("user:test", A, "192.0.2.7")
    assert json.loads(told[3])["changed"] == 2
    assert place.sql("SELECT count(DISTINCT started_at) FROM tag_history WHERE cause = 'rollback'") == [("1",)]
    # It is undone the same way.
    await registry.roll_back(A, at=outcome.at - 1)
    assert await now(registry) == {"latest": second, "new": second}


async def test_between_what_a_tag_was_and_is_there_is_no_moment(registry: Registry, place: Place) -> None:
    for number in range(5):
        await registry.push_image(A, b"%d" % number, tag="latest")
    rows = place.sql("SELECT started_at, ended_at FROM tag_history ORDER BY id")
    assert [row[1] for row in rows[:-1]] == [row[0] for row in rows[1:]]


async def test_a_clock_that_was_set_back_ends_nothing_before_it_began(registry: Registry, place: Place) -> None:
    first = await registry.push_image(A, b"a", tag="latest")
    place.sql("UPDATE tag_history SET started_at = started_at + 3600000000")
    later = int(place.sql("SELECT started_at FROM tag_history")[0][0])
    second = await registry.push_image(A, b"b", tag="latest")
    assert place.sql("SELECT started_at, ended_at FROM tag_history ORDER BY id") == [
        (str(later), str(later)),
        (str(later), ""),
    ]
    assert await registry.tags_at(A, later) == {"latest": second} and first != second


async def test_tags_go_and_come_back_together_whatever_the_clock_says(registry: Registry, place: Place) -> None:
    """They began later than it is now: the clock was set back, or counts slower than changes come."""
    digest = await registry.push_image(A, b"a", tag="latest")
    await registry.push(A, image_manifest(b"a"), "1.0")
    place.sql("UPDATE tag_history SET started_at = started_at + 3600000000 WHERE tag = 'latest'")
    await registry.delete(A, digest)
    done = await registry.undelete(A, digest)
    assert (done.tags, done.left) == (["1.0", "latest"], [])
    assert await now(registry) == {"1.0": digest, "latest": digest}


async def test_a_quota_binds_a_rollback(registry: Registry) -> None:
    await Projects(registry.database).add("team", actor="test")
    for number in range(3):
        await registry.push_image(A, b"%d" % number, tag=f"t{number}")
    at = await registry.moment()
    await registry.untag(A, "t0")
    await Quotas(registry.database).set("team", Limits(None, 2))
    await Quotas(registry.database).count("team")
    with pytest.raises(QuotaExceeded):
        await registry.roll_back(A, at=at)
    with pytest.raises(QuotaExceeded):
        await registry.roll_back(A, at=at, dry_run=True)
    assert set(await now(registry)) == {"t1", "t2"}
    await registry.untag(A, "t1")
    await registry.roll_back(A, at=at, tag="t0")
    assert set(await now(registry)) == {"t0", "t2"}


async def rule(registry: Registry, tag: str, *denied: Action) -> None:
    made = TagRule(tag, frozenset(denied))
    await registry.database.write(lambda tx: grants.add_tag_rule(tx, projects.EVERYWHERE, made, actor="test"))


@pytest.mark.parametrize("denied", [Action.OVERWRITE, Action.DELETE, Action.PUSH])
async def test_a_rule_binds_a_rollback_whole(registry: Registry, denied: Action) -> None:
    """One tag that may not be as it was keeps all as they are."""
    first = await registry.push_image(A, b"a", tag="fixed")
    await registry.push(A, image_manifest(b"a"), "free")
    at = await registry.moment()
    await registry.push_image(A, b"b", tag="free")
    if denied is Action.OVERWRITE:
        await registry.push_image(A, b"b", tag="fixed")
    if denied is Action.PUSH:
        await registry.untag(A, "fixed")
    if denied is Action.DELETE:
        at -= 10_000_000  # when there was nothing
    await rule(registry, "fix*", denied)
    before = await now(registry)
    with pytest.raises(Denied, match="fixed"):
        await registry.roll_back(A, at=at)
    assert await now(registry) == before
    outcome = await registry.roll_back(A, at=at, partial=True)
    assert [one.tag for one in outcome.obstacles] == ["fixed"] and outcome.obstacles[0].denied
    expected = {**before, "free": first}
    assert await now(registry) == ({"fixed": first} if denied is Action.DELETE else expected)


async def test_grants_bind_a_rollback(registry: Registry) -> None:
    first = await registry.push_image(A, b"a", tag="latest")
    at = await registry.moment()
    await registry.push_image(A, b"b", tag="latest")
    await registry.push(A, image_manifest(b"b"), "new")

    registry.policy = _Editors()
    with pytest.raises(Denied, match="may not delete"):
        await registry.roll_back(A, at=at)
    await registry.roll_back(A, at=at, tag="latest")
    assert (await now(registry))["latest"] == first


class _Editors(OpenPolicy):
    """Everybody may do all but delete."""

    async def decide(
        self, principal: Principal, action: Action, repository: str | None, tag: str | None = None
    ) -> Decision:
        return Decision(allowed=action is not Action.DELETE, reason="so it is")


async def test_what_is_gone_or_damaged_is_named(registry: Registry) -> None:
    gone = await registry.push_image(A, b"a", tag="gone")
    damaged = await registry.push_image(A, b"b", tag="damaged")
    kept = await registry.push_image(A, b"c", tag="kept")
    at = await registry.moment()
    for digest in (gone, damaged, kept):
        await registry.delete(A, digest)
    await registry.purge(A, gone)
    damage = Statement(update(blobs).where(blobs.c.digest == parameter("digest")).values(state=1))
    await registry.database.write(lambda tx: tx.run(damage, digest=digest_bytes(b"b")))
    with pytest.raises(RollbackRefused) as caught:
        await registry.roll_back(A, at=at)
    assert {one["tag"]: one["digest"] for one in caught.value.detail} == {"gone": gone, "damaged": damaged}
    assert await now(registry) == {}
    with pytest.raises(ContentDamaged, match="quarantine"):
        await registry.undelete(A, damaged)
    outcome = await registry.roll_back(A, at=at, partial=True)
    assert {one.tag for one in outcome.obstacles} == {"gone", "damaged"}
    assert await now(registry) == {"kept": kept}


async def test_more_than_may_be_changed_at_once_is_refused(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    await registry.push_image(A, b"a")
    await registry.push(A, image_manifest(b"a"), "a1", "a2", "b1")
    at = await registry.moment() - 10_000_000
    monkeypatch.setattr(rollback, "MOST", 2)
    with pytest.raises(ValueInvalid, match="pattern"):
        await registry.roll_back(A, at=at)
    await registry.roll_back(A, at=at, pattern="a*")
    assert set(await now(registry)) == {"b1"}


class _Counted:
    """A transaction that counts statements."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self.statements = 0

    def __getattr__(self, name: str) -> Any:
        self.statements += name != "encode_list"
        return getattr(self._transaction, name)


async def test_many_tags_take_no_more_statements_than_some(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pushes wait for it, on SQLite everybody: one for each tag, or manifest, would take seconds for thousands."""
    images = [image_manifest(b"a", annotations={"number": str(number)}) for number in range(12)]
    await registry.push_image(A, b"a")
    digests = [await registry.push(A, image, f"t{number}") for number, image in enumerate(images)]
    at = await registry.moment()
    for digest in digests:
        await registry.delete(A, digest)
    write, taken = registry.database.write, []

    async def counting(work: Callable[[Transaction], Awaitable[Any]], **how: bool) -> Any:
        async def counted(transaction: Transaction) -> Any:
            counter = _Counted(transaction)
            done = await work(cast(Transaction, counter))
            taken.append(counter.statements)
            return done

        return await write(counted, **how)

    monkeypatch.setattr(registry.database, "write", counting)
    outcomes = [await registry.roll_back(A, at=at, pattern="t1*"), await registry.roll_back(A, at=at)]
    assert [len(one.changes) for one in outcomes] == [3, 9]
    few, many = taken
    assert few == many


async def test_a_tag_that_never_was_can_not_be_as_it_was(registry: Registry) -> None:
    first = await registry.push_image(A, b"a", tag="latest")
    for tag in ("latest", "never"):
        with pytest.raises(RecordUnknown):
            await registry.roll_back(A, tag=tag)
    await registry.roll_back(A, tag="new", digest=first)  # a digest makes one
    assert await now(registry) == {"latest": first, "new": first}
    with pytest.raises(RecordUnknown):
        await registry.roll_back("team/none", at=await registry.moment())


NAMES = ("team", "team/a", "team/b", "teams/c")


async def test_a_project_is_looked_at_whole_before_it_is_changed(registry: Registry) -> None:
    first = {
        name: await registry.push_image(name, b"a", tag="latest") for name in ("team", "team/a", "team/b", "teams/c")
    }
    at = await registry.moment()
    later = {name: await registry.push_image(name, b"b", tag="latest") for name in first}
    await rule(registry, "latest", Action.OVERWRITE)
    wanted = Wanted(Target(at))
    with pytest.raises(Denied):
        [one async for one in registry.rolling_back.project("team", registry.rights, wanted)]
    await registry.database.write(lambda tx: tx.run(Statement(delete(tag_rules))))
    done = [one async for one in registry.rolling_back.project("team", registry.rights, wanted)]
    assert [one.repository for one in done] == ["team", "team/a", "team/b"]
    for name in first:
        assert await now(registry, name) == {"latest": (later if name == "teams/c" else first)[name]}


async def test_no_more_of_a_project_than_can_be_told_is_changed(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = await registry.moment()
    for name in ("team/a", "team/b"):
        await registry.push_image(name, b"a")
        await registry.push(name, image_manifest(b"a"), "one", "two")
    monkeypatch.setattr(rollback, "_MOST_IN_PROJECT", 3)
    for dry_run in (True, False):
        with pytest.raises(ValueInvalid, match="pattern"):
            [
                one
                async for one in registry.rolling_back.project(
                    "team", registry.rights, Wanted(Target(at), dry_run=dry_run)
                )
            ]
    assert set(await now(registry, "team/a")) == {"one", "two"}
    wanted = Wanted(Target(at), pattern="one")
    assert len([one async for one in registry.rolling_back.project("team", registry.rights, wanted)]) == 2


async def test_what_comes_back_without_a_tag_is_left_alone_for_a_while(registry: Registry) -> None:
    hour = 3600 * 1_000_000
    digest = await registry.push_image(A, b"a", b"b")
    await registry.delete(A, digest)
    await registry.undelete(A, digest)
    await registry.collect(Rules(grace=0, hold=hour, window=0, untagged="collect"))
    assert len(await registry.pull_at(A, digest, await registry.moment())) == 3


async def test_a_referrer_comes_back_though_its_subject_was_collected(registry: Registry) -> None:
    """It was orphaned once; since it is back that does not count."""
    for content in (b"a", b"{}"):
        await registry.push_blob(A, content)
    subject = image_manifest(b"a")
    await registry.push(A, subject, "x")
    referrer = await registry.push(A, artifact_manifest(subject))
    await registry.delete(A, referrer)
    await registry.delete(A, digest_bytes(subject))
    await registry.purge(A, digest_bytes(subject))
    await registry.undelete(A, referrer)
    await registry.collect(Rules(grace=0, hold=0, window=0))
    repository_id = await repositories.find(registry.database, RepositoryName(A))
    assert repository_id is not None
    assert referrer in await history.known(registry.database, repository_id, [referrer])


async def test_quotas_are_right_after_all_of_this(registry: Registry) -> None:
    await Projects(registry.database).add("team", actor="test")
    quotas = Quotas(registry.database)
    await quotas.set("team", Limits(2**40, 1000))
    await quotas.count("team")
    first = await registry.push_image(A, b"a", b"b", tag="latest")
    at = await registry.moment()
    second = await registry.push_image(A, b"a", b"c", tag="latest")
    await registry.push(A, image_manifest(b"a", [b"c"]), "new")
    await registry.delete(A, first)
    await registry.roll_back(A, at=at)
    await registry.delete(A, second)
    await registry.undelete(A, second)
    await registry.delete(A, second)
    await registry.purge(A, second)
    assert (await quotas.count("team")).right
