"""Tags and manifests that stay whoever asks, on both databases."""

import asyncio

import pytest
from sqlalchemy import select, update

from auth.errors import Denied
from auth.grants import IMMUTABLE, TagRule
from auth.roles import Action
from registry.db import candidates
from registry.db.candidates import Kind
from registry.db.connection import Database, Transaction
from registry.db.statements import Statement, parameter
from registry.db.tables import audit_entries, manifests, tags
from registry.errors import (
    ContentInUse,
    ContentLocked,
    ManifestUnknown,
    RecordExists,
    RecordInUse,
    RecordUnknown,
    TagFixed,
    ValueInvalid,
)
from registry.oci.names import RepositoryName, Tag
from registry.services.collection import judged_now
from registry.services.expiry_labels import LABEL
from registry.services.granting import Granting
from registry.services.locks import Locks
from registry.services.projects import Projects
from registry.services.retention import Keeper, Rules
from registry.services.tag_expiry import TagExpiry
from storage.digest import Digest
from tests.factories import OCI_INDEX, descriptor, index_manifest
from tests.unit.services.tagged import BY, Tagged
from tests.unit.services.undoing import Registry

pytestmark = pytest.mark.anyio

APP = RepositoryName("team/app")
_OLD = Statement(update(tags).values(updated_at=tags.c.updated_at - parameter("age"), expires_at=tags.c.updated_at))
_NAMED = Statement(select(tags.c.name, manifests.c.digest).join(tags, tags.c.manifest_id == manifests.c.id))
_ACTIONS = Statement(select(audit_entries.c.action).order_by(audit_entries.c.id))


@pytest.fixture
async def tagged(database: Database) -> Tagged:
    return Tagged(database)


async def test_an_immutable_tag_stays_as_it_is(tagged: Tagged) -> None:
    number = await Granting(tagged.database).add_rule(TagRule("v*", IMMUTABLE, pattern="team/**"), actor=BY)
    digest = await tagged.push("team/app", "v1", "latest")  # to make it is not to move it
    await tagged.push("other/app", "v1")
    for doing in (
        tagged.push("team/app", "v1"),
        tagged.push("team/app", "new", "latest", "v1"),
        tagged.deletion.delete_tag(APP, Tag("v1"), actor=BY),
        tagged.deletion.delete_manifest(APP, digest, actor=BY),
    ):
        with pytest.raises(TagFixed, match=f"rule {number}: tags like v\\* in team/\\*\\* are immutable") as refused:
            await doing
        assert refused.value.rule == number
    assert await tagged.tags("team/app") == ["latest", "v1"]
    await tagged.push("other/app", "v1")
    await tagged.push("team/app", "latest")
    await Granting(tagged.database).remove_rule("", number, actor=BY)
    await tagged.push("team/app", "v1")


async def test_nothing_moves_or_ends_an_immutable_tag(database: Database, tagged: Tagged) -> None:
    """Each way in which something may, one after the other. Taking over from another registry has its own test."""
    registry = Registry(database)
    await Projects(database).add("team", actor=BY)
    before = await registry.moment()
    old = await tagged.push("team/app", "v1")
    then = await registry.moment()
    gone = await tagged.push("team/app", "v2")
    await registry.delete("team/app", gone)
    await tagged.push("team/app", "v2", said={LABEL: "1s"})
    new = await tagged.push("team/app", "v1", said={LABEL: "1s"})
    await database.write(lambda tx: tx.run(_OLD, age=2 * 86_400_000_000))
    await Granting(database).add_rule(TagRule("v?", IMMUTABLE, project="team"), actor=BY)
    named = await _named(tagged)
    policy = await tagged.policy("none", {"template": "lastXDays", "days": 1})
    for doing, error in (
        (tagged.push("team/app", "v1"), TagFixed),
        (tagged.push("team/app", "v1", content=await tagged.content(old)), TagFixed),
        (tagged.deletion.delete_tag(APP, Tag("v1"), actor=BY), TagFixed),
        (tagged.deletion.delete_manifest(APP, new, actor=BY), TagFixed),
        (registry.roll_back("team/app", tag="v1"), Denied),
        (registry.roll_back("team/app", tag="v1", digest=old), Denied),
        (registry.roll_back("team/app", at=then), Denied),
        (registry.roll_back("team/app", at=before), Denied),
        (registry.purge("team/app", new), ContentInUse),
        (Projects(database).remove("team", actor=BY), RecordInUse),
    ):
        with pytest.raises(error) as refused:
            await doing
        if error in {TagFixed, Denied}:
            assert "rule 1: tags like v? in team are immutable" in str(refused.value)
        assert await _named(tagged) == named
    partly = await registry.roll_back("team/app", at=before, partial=True)
    assert (partly.changes, [one.denied for one in partly.obstacles]) == ([], [True, True])
    assert [one.tag for one in (await registry.undelete("team/app", gone)).left] == ["v2"]
    assert (await tagged.retention.run(policy, _anybody, by=BY)).dropped == 0
    assert await TagExpiry(database, audited=True).run(_anybody) == 0
    await registry.collect()
    assert await _named(tagged) == named


async def test_a_rule_with_exceptions_is_for_those_who_are_named(tagged: Tagged) -> None:
    releaser = frozenset({"user:releaser", "group:release"})
    rule = TagRule("v*", frozenset({Action.DELETE}), frozenset({"group:release"}))
    assert not rule.is_immutable
    await Granting(tagged.database).add_rule(rule, actor=BY)
    await tagged.push("team/app", "v1")
    await tagged.push("team/app", "v1")  # moving it is not denied
    with pytest.raises(TagFixed, match="nobody may delete tags like"):
        await tagged.deletion.delete_tag(APP, Tag("v1"), actor=BY)
    await tagged.deletion.delete_tag(APP, Tag("v1"), actor=BY, subjects=releaser)


async def test_no_tag_moves_once_a_rule_was_made(tagged: Tagged) -> None:
    """Whoever has the rule's number looks what the tag names: that is what it names from then on."""
    await tagged.push("team/app", "v1")
    granting = Granting(tagged.database)

    async def keep_pushing() -> None:
        with pytest.raises(TagFixed):
            while True:
                await tagged.push("team/app", "v1")

    pushing = [asyncio.create_task(keep_pushing()) for _ in range(4)]
    await asyncio.sleep(0.1)
    await granting.add_rule(TagRule("v1", IMMUTABLE), actor=BY)
    named = await _named(tagged)
    await asyncio.gather(*pushing)
    assert await _named(tagged) == named
    assert list(named) == ["v1"]


async def test_a_locked_manifest_stays_with_its_children(tagged: Tagged) -> None:
    locks = Locks(tagged.database)
    child = await tagged.push("team/app")
    content = await tagged.content(child)
    index = await tagged.push("team/app", "v1", content=index_manifest([descriptor(content, OCI_INDEX)]))
    await locks.lock(APP, index, reason="released to customers", actor=BY)
    with pytest.raises(RecordExists):
        await locks.lock(APP, index, reason="", actor=BY)
    with pytest.raises(ContentLocked, match="by user:somebody: released to customers"):
        await tagged.deletion.delete_manifest(APP, index, actor=BY)
    with pytest.raises(ContentInUse):
        await tagged.deletion.delete_manifest(APP, child, actor=BY)
    await tagged.deletion.delete_tag(APP, Tag("v1"), actor=BY)
    assert await _keepers(tagged) == {Keeper.LOCK}  # what it lists is not even asked about
    await locks.unlock(APP, index, actor=BY)
    assert Keeper.LOCK not in await _keepers(tagged)
    with pytest.raises(RecordUnknown):
        await locks.unlock(APP, index, actor=BY)
    await tagged.deletion.delete_manifest(APP, index, actor=BY)
    for repository, digest in ((APP, index), (RepositoryName("team/none"), index)):
        with pytest.raises(ManifestUnknown):
            await locks.lock(repository, digest, reason="", actor=BY)
    with pytest.raises(ValueInvalid):
        await locks.lock(APP, child, reason="two\nlines", actor=BY)
    actions = [row[0] for row in await tagged.database.all(_ACTIONS)]
    assert actions == ["lock.add", "lock.remove"]


async def _anybody(transaction: Transaction) -> None:
    """Let it go on."""


async def _named(tagged: Tagged) -> dict[str, Digest]:
    """What all tags name."""
    return {row[0]: row[1] for row in await tagged.database.all(_NAMED)}


async def _keepers(tagged: Tagged) -> set[Keeper]:
    """What keeps the manifests that are queued for collection, and those that were."""
    rules = Rules(grace=0, hold=0, window=0, untagged="collect")
    found: set[Keeper] = set()

    async def work(transaction: Transaction) -> None:
        for candidate in await candidates.page(transaction, Kind.MANIFEST, after=None, limit=100):
            judged = await judged_now(transaction, candidate, rules)
            assert judged is not None
            found.add(judged[1].keeper)

    await tagged.database.write(work)
    return found
