"""Retention while something else happens: tags move, policies change, maintenance begins; on both databases."""

import json

import pytest

from auth.grants import IMMUTABLE, TagRule
from registry.db import maintenance, retention
from registry.db.connection import Database, Transaction
from registry.errors import ReadOnly, RecordInUse
from registry.jobs.retain import run_now
from registry.jobs.runner import LeaseLost
from registry.oci.names import RepositoryName, Tag
from registry.services.granting import Granting
from registry.services.locks import Locks
from registry.services.projects import Projects
from registry.services.pulls import Pulls
from tests.unit.services.tagged import BY, Tagged, aged, anybody, interrupted, reasons

pytestmark = pytest.mark.anyio

APP = RepositoryName("team/app")
ALL = {"template": "lastXDays", "days": 1}


@pytest.fixture
async def tagged(database: Database) -> Tagged:
    await Projects(database).add("team", actor=BY)
    return Tagged(database)


async def test_a_tag_that_moved_since_it_was_looked_at_stays(tagged: Tagged) -> None:
    for name in ("a", "b", "c", "d"):
        await tagged.push("team/app", name)
    await aged(tagged, "a", "b", "c", "d")
    policy = await tagged.policy("all", ALL)
    moved = False

    async def check(transaction: Transaction) -> None:
        nonlocal moved
        if not moved and len(await retention.open_runs(transaction, policy.id)) == 1:
            moved = True
            raise LeaseLost("the run was looking at tags, and has to begin anew")

    with pytest.raises(LeaseLost):
        await tagged.retention.run(policy, check, by=BY)
    assert await tagged.tags("team/app") == ["a", "b", "c", "d"]

    async def meanwhile() -> None:
        await tagged.push("team/app", "b")
        await tagged.deletion.delete_tag(APP, Tag("c"), actor=BY)
        await tagged.push("team/app", "e")
        await Granting(tagged.database).add_rule(TagRule("d", IMMUTABLE), actor=BY)

    run = await interrupted(tagged, 2, meanwhile).run(policy, anybody, by=BY)
    assert (run.kept, run.dropped) == (3, 1)
    assert await tagged.tags("team/app") == ["b", "d", "e"]


async def test_what_keeps_a_tag_is_asked_again_before_it_goes(tagged: Tagged) -> None:
    subject = await tagged.push("team/app")
    signature = f"sha256-{subject.partition(':')[2]}.sig"
    pulled = await tagged.push("team/app", "pulled")
    locked = await tagged.push("team/app", "locked")
    for name in (signature, "gone"):
        await tagged.push("team/app", name)
    await aged(tagged, signature, "pulled", "locked", "gone")
    content = await tagged.content(subject)

    async def meanwhile() -> None:
        await tagged.push("team/app", "v1", content=content)
        await Locks(tagged.database).lock(APP, locked, reason="", actor=BY)
        pulls = Pulls(tagged.database)
        pulls.note(APP, pulled)
        await pulls.write()

    policy = await tagged.policy("all", {"template": "nDaysSinceLastPull", "days": 1})
    assert len([one for one in (await reasons(tagged, policy)).values() if one.startswith("goes")]) == 4
    run = await interrupted(tagged, 2, meanwhile).run(policy, anybody, by=BY)
    assert (run.kept, run.dropped) == (3, 1)
    assert await tagged.tags("team/app") == sorted([signature, "pulled", "locked", "v1"])


@pytest.mark.parametrize("change", ["removed", "disabled", "other rules"])
async def test_a_run_ends_when_its_policy_is_changed(tagged: Tagged, change: str) -> None:
    for repository in ("team/app", "team/other"):
        await tagged.push(repository, "old")
    await aged(tagged, "old")
    policy = await tagged.policy("all", ALL, schedule="@daily")

    async def meanwhile() -> None:
        if change == "removed":
            await tagged.policies.remove("", "all", actor=BY)
        elif change == "disabled":
            await tagged.policies.change("", "all", is_enabled=False, actor=BY)
        else:
            await tagged.policies.change("", "all", rules=[{"template": "always"}], actor=BY)

    with pytest.raises(RecordInUse, match="changed or removed meanwhile"):
        await interrupted(tagged, 3, meanwhile).run(policy, anybody, by=BY)  # the second is about team/app
    assert await tagged.tags("team/app") == []
    assert await tagged.tags("team/other") == ["old"]
    with pytest.raises(RecordInUse):  # and none begins by what was read before
        await tagged.retention.run(policy, anybody, by=BY)
    [told] = await tagged.runs_told()
    assert (told[0], json.loads(told[2])["dropped"], json.loads(told[2])["state"]) == ("failed", 1, "failed")


async def test_a_run_is_done_when_it_is_put_off_and_not_before(tagged: Tagged) -> None:
    await tagged.push("team/app", "old")
    await aged(tagged, "old")
    policy = await tagged.policy("all", ALL)

    async def lost(transaction: Transaction) -> None:
        raise LeaseLost("another process has it")

    with pytest.raises(LeaseLost):
        await tagged.retention.run(policy, anybody, by=BY, done=lost)
    [run] = await tagged.policies.runs(policy, before=2**62, most=10)
    assert (json.loads(run.outcome)["state"], run.dropped) == ("interrupted", 1)


async def test_maintenance_ends_a_run_by_hand(tagged: Tagged) -> None:
    for repository in ("team/app", "team/other"):
        await tagged.push(repository, "old")
    await aged(tagged, "old")
    policy = await tagged.policy("all", ALL)

    async def rest() -> None:
        await tagged.database.write(lambda tx: maintenance.begin(tx, message="", retry_after=60))

    with pytest.raises(ReadOnly):
        await run_now(tagged.database, interrupted(tagged, 3, rest), policy, by=BY)
    assert [await tagged.tags(one) for one in ("team/app", "team/other")] == [[], ["old"]]
    with pytest.raises(ReadOnly):
        await run_now(tagged.database, tagged.retention, policy, by=BY)
    await tagged.database.write(maintenance.end)
    assert (await run_now(tagged.database, tagged.retention, policy, by=BY)).dropped == 1
