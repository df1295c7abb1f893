"""Retention policies at work, on both databases."""

import json
from typing import Any

import pytest
from sqlalchemy import func, select, update

from auth.grants import IMMUTABLE, TagRule
from registry.db import history, jobs, retention
from registry.db.connection import Database
from registry.db.statements import Statement, parameter
from registry.db.tables import outbox, retention_policies, retention_runs, tag_history
from registry.errors import QueryInvalid, RecordExists, RecordInUse, RecordUnknown, ValueInvalid
from registry.jobs.retain import LEASE_S, NAME, retain, run_now
from registry.jobs.runner import JobRunner
from registry.oci.names import RepositoryName, Tag
from registry.services import retention_policies as retention_policies_service
from registry.services.granting import Granting
from registry.services.locks import Locks
from registry.services.projects import Projects
from registry.services.pulls import Pulls
from registry.services.retention_policies import RetentionPolicies, find_policy, in_order
from registry.services.tag_retention import Place, Retention
from tests.unit.services.tagged import BY, DAY, Tagged, aged, anybody, reasons

pytestmark = pytest.mark.anyio

APP = RepositoryName("team/app")
ALL = {"template": "lastXDays", "days": 1}
WRONG = json.dumps([{"template": "lastXDays"}])
_ENDED = Statement(
    select(tag_history.c.tag, tag_history.c.ended_by, tag_history.c.ended_cause)
    .where(tag_history.c.ended_at.is_not(None))
    .order_by(tag_history.c.tag)
)
_UNTAGGED = Statement(select(outbox.c.payload).where(outbox.c.action == parameter("action")).order_by(outbox.c.id))
_OLD = Statement(update(retention_runs).values(ended_at=None).where(retention_runs.c.id == parameter("run")))
_SPOIL = Statement(
    update(retention_policies)
    .values(rules=parameter("rules"), schedule=parameter("schedule"))
    .where(retention_policies.c.name == parameter("policy"))
)
_COUNT = Statement(select(func.count()).select_from(retention_runs))


@pytest.fixture
async def tagged(database: Database) -> Tagged:
    await Projects(database).add("team", actor=BY)
    return Tagged(database)


async def test_what_nothing_keeps_goes_as_if_deleted_and_is_recorded(tagged: Tagged) -> None:
    for name in ("v1", "v2", "v3"):
        await tagged.push("team/app", name, "also" if name == "v1" else f"{name}-x")
    await tagged.push("team/other", "v1")
    await tagged.push("other/app", "v1")
    await aged(tagged, "v1", "v2", "also")
    rules = (
        {"template": "latestPushedK", "count": 1, "tags": {"matches": "v*"}},
        {"template": "always", "tags": {"matches": "v2"}},
    )
    policy = await tagged.policy("nightly", *rules, project="team")
    assert await reasons(tagged, policy) == {
        "v1": "rule 1 keeps it: latestPushedK 1",  # of team/other, which comes last
        "v2": "rule 2 keeps it: always",
        "v2-x": "goes: no rule keeps it",
        "v3": "goes: no rule keeps it",
        "v3-x": "rule 1 keeps it: latestPushedK 1",
    }
    assert len(await tagged.tags("team/app")) == 6
    run = await tagged.retention.run(policy, anybody, by=BY)
    assert (run.kept, run.dropped) == (3, 3)
    outcome = json.loads(run.outcome)
    assert (outcome["state"], outcome["by"], outcome["repositories"]) == ("done", BY, 2)
    assert [one["tag"] for one in outcome["examples"]] == ["v1", "v2-x", "v3"]
    assert await tagged.tags("team/app") == ["also", "v2", "v3-x"]
    assert await tagged.tags("team/other") == ["v1"]
    assert await tagged.tags("other/app") == ["v1"]
    assert [tuple(row) for row in await tagged.database.all(_ENDED)] == [
        (name, "system:retention", "retention") for name in ("v1", "v2-x", "v3")
    ]
    told = [json.loads(row[0]) for row in await tagged.database.all(_UNTAGGED, action="untag")]
    assert [(one["tag"], one["cause"]) for one in told] == [
        ("v1", "retention"),
        ("v2-x", "retention"),
        ("v3", "retention"),
    ]
    again = await tagged.retention.run(policy, anybody, by=BY)
    assert (again.kept, again.dropped) == (3, 0)


async def test_what_keeps_a_tag_whatever_the_policy(tagged: Tagged) -> None:
    locked = await tagged.push("team/app", "locked")
    image = await tagged.push("team/app", "kept")
    gone = await tagged.push("team/app", "gone")
    hex_of = {name: digest.partition(":")[2] for name, digest in (("image", image), ("gone", gone))}
    signature, orphan = f"sha256-{hex_of['image']}.sig", f"sha256-{hex_of['gone']}.att"
    await tagged.push("team/app", signature)
    await tagged.push("team/app", orphan)
    await tagged.push("team/app", "v1")
    await tagged.push("team/app", "v2")
    await aged(tagged, "locked", "gone", signature, orphan, "v1")
    await Locks(tagged.database).lock(APP, locked, reason="released", actor=BY)
    await Granting(tagged.database).add_rule(TagRule("v*", IMMUTABLE, project="team"), actor=BY)
    policy = await tagged.policy("all", ALL)
    assert await reasons(tagged, policy) == {
        "locked": "its manifest is locked",
        "kept": "rule 1 keeps it: lastXDays 1",
        "gone": "goes: no rule keeps it",
        signature: f"it belongs to {image}, which stays",
        orphan: f"it belongs to {gone}, which stays",  # for now
        "v1": "rule 1: tags like v* in team are immutable",
        "v2": "rule 1 keeps it: lastXDays 1",
    }
    await tagged.retention.run(policy, anybody, by=BY)
    assert await tagged.tags("team/app") == sorted(["locked", "kept", signature, orphan, "v1", "v2"])
    await tagged.retention.run(policy, anybody, by=BY)
    assert await tagged.tags("team/app") == sorted(["locked", "kept", signature, "v1", "v2"])


async def test_no_policy_waits_for_what_a_clock_that_was_ahead_said(tagged: Tagged) -> None:
    right = await tagged.policy("daily", ALL, schedule="@daily")
    off = await tagged.policy("off", ALL, schedule="@daily")
    assert right.due_at is not None
    late = right.due_at + 365 * DAY
    for one in (right, off):
        await tagged.database.write(lambda tx, one=one: retention.put_off(tx, one, late))  # type: ignore[misc]  # a lambda's default
    await tagged.policies.change("", "off", is_enabled=False, actor=BY)
    await JobRunner(tagged.database, [retain(tagged.database, tagged.retention)], owner="here").run_due()
    due = (await find_policy(tagged.database, "", "daily")).due_at
    assert due is not None and due - right.due_at in {0, DAY}  # it may be midnight meanwhile
    assert (await find_policy(tagged.database, "", "off")).due_at is None


async def test_a_policy_that_can_not_run_is_in_nobodys_way(tagged: Tagged, monkeypatch: pytest.MonkeyPatch) -> None:
    await tagged.push("team/app", "old")
    await aged(tagged, "old")
    for name in ("broken", "defect", "good"):
        await tagged.policy(name, ALL, schedule="@daily")
    await tagged.database.write(lambda tx: tx.run(_SPOIL, policy="broken", rules=WRONG, schedule="0 0 30 2 *"))
    for one in await retention.page(tagged.database, 0, after="", limit=10):
        await tagged.database.write(lambda tx, one=one: retention.put_off(tx, one, 1))  # type: ignore[misc]  # a lambda's default
    run = Retention.run

    async def failing(self: Retention, policy: retention.Policy, *check: Any, **how: Any) -> retention.Run:
        if policy.name == "defect":
            raise ZeroDivisionError
        return await run(self, policy, *check, **how)

    monkeypatch.setattr(Retention, "run", failing)
    outcomes: list[bool] = []
    job = retain(tagged.database, tagged.retention)
    await JobRunner(tagged.database, [job], owner="here", record=lambda *one: outcomes.append(one[2])).run_due()
    assert outcomes == [False]
    assert await tagged.tags("team/app") == []
    assert not await retention.due(tagged.database)


async def test_there_are_only_so_many_policies(tagged: Tagged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention_policies_service, "MOST_POLICIES", 1)
    await tagged.policy("one", ALL)
    await tagged.policy("one", ALL, project="team")
    for project in ("", "team"):
        with pytest.raises(RecordInUse, match="as many as there may be"):
            await tagged.policy("two", ALL, project=project)


async def test_a_listing_is_about_the_policys_project_alone(tagged: Tagged) -> None:
    await tagged.push("other/app", "secret")
    policy = await tagged.policy("all", ALL, project="team")
    for repository in ("other/app", "other", "teams/app"):
        with pytest.raises(QueryInvalid, match="is not in team"):
            await reasons(tagged, policy, Place(repository, "a", 0, {}))


async def test_a_listing_goes_on_where_it_was(tagged: Tagged) -> None:
    for repository in ("team/app", "team/base"):
        for number in range(5):
            await tagged.push(repository, f"v{number}")
    policy = await tagged.policy("two", {"template": "latestPushedK", "count": 2})
    whole = [(judged, place) async for judged, place in tagged.retention.preview(policy, None)]
    assert [judged.decision.stays for judged, _ in whole] == [False, False, False, True, True] * 2
    for number, (_, place) in enumerate(whole):
        rest = [judged async for judged, _ in tagged.retention.preview(policy, place)]
        assert rest == [judged for judged, _ in whole[number + 1 :]]


async def test_pulls_count_for_an_hour_and_for_what_is_pulled(tagged: Tagged) -> None:
    digests = [await tagged.push("team/app", name) for name in ("a", "b", "c")]
    await aged(tagged, "a", "b", "c")
    pulls = Pulls(tagged.database)
    pulls.note(APP, digests[1])
    pulls.note(APP, digests[1])
    pulls.note(RepositoryName("team/gone"), digests[0])
    await pulls.write()
    policy = await tagged.policy("pulled", {"template": "nDaysSinceLastPull", "days": 1})
    assert (await reasons(tagged, policy))["b"] == "rule 1 keeps it: nDaysSinceLastPull 1"
    await tagged.retention.run(policy, anybody, by=BY)
    assert await tagged.tags("team/app") == ["b"]
    pulls.note(APP, digests[1])
    await pulls.stop()


async def test_runs_are_remembered_and_what_was_killed_is_said(tagged: Tagged) -> None:
    policy = await tagged.policy("all", ALL)
    first = await tagged.retention.run(policy, anybody, by=BY)
    await tagged.database.write(lambda tx: tx.run(_OLD, run=first.id))
    await tagged.retention.run(policy, anybody, by="user:other")
    runs = await tagged.policies.runs(policy, before=2**62, most=10)
    assert [(json.loads(run.outcome)["state"], json.loads(run.outcome)["by"]) for run in runs] == [
        ("done", "user:other"),
        ("interrupted", BY),
    ]
    told = [(row[0], row[1], json.loads(row[2])["state"]) for row in await tagged.runs_told()]
    assert told == [("done", BY, "done"), ("failed", BY, "interrupted"), ("done", "user:other", "done")]
    assert all(run.ended_at for run in runs)
    for _ in range(105):
        await tagged.database.write(lambda tx: retention.begin(tx, policy.id, "{}"))
    count = await tagged.database.first(_COUNT)
    assert count is not None
    assert count[0] == 100


async def test_policies_are_run_when_they_are_due_by_one_at_a_time(tagged: Tagged) -> None:
    await tagged.push("team/app", "old")
    await aged(tagged, "old")
    await tagged.policy("counting", {"template": "latestPushedK", "count": 1}, schedule="* * * * *")
    policy = await tagged.policy("aging", ALL, schedule="0 3 * * *", project="team")
    await tagged.policy("never", ALL)
    assert policy.due_at is not None
    assert not await retention.due(tagged.database)
    for one in await retention.page(tagged.database, 0, after="", limit=10):
        await tagged.database.write(lambda tx, one=one: retention.put_off(tx, one, 1 if one.schedule else None))  # type: ignore[misc]  # a lambda's default
    await tagged.database.write(lambda tx: retention.put_off(tx, policy, 2))
    assert [one.name for one in in_order(await retention.due(tagged.database))] == ["aging", "counting"]
    generation = await tagged.database.write(lambda tx: jobs.take_anyway(tx, NAME, owner="x", lease_s=LEASE_S))
    with pytest.raises(RecordInUse):
        await run_now(tagged.database, tagged.retention, policy, by=BY)
    assert generation is not None
    await tagged.database.write(lambda tx: jobs.finish(tx, NAME, generation, pause_s=0))
    await JobRunner(tagged.database, [retain(tagged.database, tagged.retention)], owner="here").run_due()
    assert await tagged.tags("team/app") == []
    assert not await retention.due(tagged.database)
    after = await find_policy(tagged.database, "team", "aging")
    assert after.due_at == policy.due_at
    assert (await run_now(tagged.database, tagged.retention, policy, by=BY)).dropped == 0


async def test_a_policy_of_a_project_that_is_gone_is_nobodys(tagged: Tagged) -> None:
    policies, projects = RetentionPolicies(tagged.database), Projects(tagged.database)
    await projects.add("brief", actor=BY)
    await tagged.policy("all", ALL, project="brief", schedule="@hourly")
    with pytest.raises(RecordExists):
        await tagged.policy("all", ALL, project="brief")
    with pytest.raises(RecordUnknown):
        await policies.page("missing", after="", most=1)
    with pytest.raises(ValueInvalid):
        await policies.change("brief", "all", schedule="often", actor=BY)
    await policies.change("brief", "all", is_enabled=False, actor=BY)
    changed = await find_policy(tagged.database, "brief", "all")
    assert (changed.due_at, changed.schedule, changed.revision) == (None, "@hourly", 1)
    await projects.remove("brief", actor=BY)
    await projects.add("another", actor=BY)
    assert await policies.page("another", after="", most=10) == []


async def test_a_policy_that_was_wrong_is_undone(tagged: Tagged) -> None:
    digest = await tagged.push("team/app", "v1")
    await aged(tagged, "v1")
    policy = await tagged.policy("all", ALL)
    await tagged.retention.run(policy, anybody, by=BY)
    assert await tagged.tags("team/app") == []
    found = await history.page(tagged.database, await _id(tagged), tag=Tag("v1"), removed=True, after=None, limit=2)
    assert [(one.digest, one.ended_cause) for one in found] == [(digest, "retention")]


async def _id(tagged: Tagged) -> int:
    row = await tagged.database.first(Statement(select(tag_history.c.repository_id).limit(1)))
    assert row is not None
    return int(row[0])
