"""Retention: what policies say of the tags that are there, page by page, and letting those go that nothing keeps.

Nothing is remembered of a repository but the latest tags that a rule asks for, so it may have any number of tags.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import NamedTuple

from auth.grants import project_of
from auth.roles import Action
from registry.db import jobs, repositories, retained_tags, retention
from registry.db.connection import Database, Reader, Transaction
from registry.db.retained_tags import Current, Found
from registry.db.retention import Policy, Run
from registry.db.tags import Why
from registry.errors import QueryInvalid, RecordInUse, RegistryError
from registry.oci.names import RepositoryName, Tag
from registry.services import audit
from registry.services.audit import Origin
from registry.services.tag_dropping import BATCH, LOCKED, Dropped, Dropping, drop
from registry.services.tag_guard import TagGuard
from registry.services.tag_policy import Decision, Evaluation, Rank, Rule, TagFacts, parse_rules
from storage.digest import Digest

ACTOR = "system:retention"

_PAGE = 250
"""Tags, and repositories, that are read at once."""
_TURN_S = 0.005
"""For so long tags are judged before requests have their turn."""
_EXAMPLES = 100
_SIGNATURE = re.compile(r"(sha256)-([a-f0-9]{64})(?:\..*)?|(sha512)-([a-f0-9]{128})(?:\..*)?").fullmatch

Check = Callable[[Transaction], Awaitable[None]]
"""Asked in each transaction: may the run go on? Raises if not."""


class Judged(NamedTuple):
    """A tag, and what a policy says of it."""

    repository: RepositoryName
    facts: TagFacts
    decision: Decision


class Place(NamedTuple):
    """Where a listing goes on: after which tag, by which moment and bounds."""

    repository: str
    tag: str
    at: int
    bounds: Mapping[int, Rank]


@dataclass(slots=True)
class _Progress:
    """A run so far. `kept`: those not written down yet. `dropped`: all that are. `origin`: of who has it run."""

    by: str
    origin: Origin = field(default_factory=audit.origin)
    kept: int = 0
    dropped: int = 0
    repositories: int = 0
    state: str = "running"
    error: str = ""
    examples: list[dict[str, str]] = field(default_factory=list)

    def after(self, repository: str, gone: list[Dropped], kept: int) -> "_Progress":
        """Return what it is once these are gone, and so many stayed that moved meanwhile."""
        room = _EXAMPLES - len(self.examples)
        more = [{"repository": repository, "tag": one.tag, "digest": one.digest} for one in gone[:room]]
        return replace(self, kept=self.kept + kept, dropped=self.dropped + len(gone), examples=[*self.examples, *more])

    def over(self, state: str) -> "_Progress":
        """Return it as it is recorded at its end."""
        return replace(self, state=state)

    def outcome(self) -> str:
        """Return it as JSON of bounded size."""
        found = {"state": self.state, "by": self.by, "repositories": self.repositories, "examples": self.examples}
        return json.dumps({**found, **({"error": self.error[:300]} if self.error else {})}, separators=(",", ":"))


class _Running(NamedTuple):
    """What a run has to know of itself."""

    run_id: int
    policy: Policy
    progress: _Progress
    check: Check


class _Judging(NamedTuple):
    """What is asked about the tags of one repository, and what its latest tags are."""

    name: RepositoryName
    evaluation: Evaluation
    bounds: Mapping[int, Rank]


class Retention:
    """Policies at work.

    Args:
        audited: whether the audit log tells of each tag that goes; of runs it always does.
        told: called with how many tags went.
    """

    def __init__(self, database: Database, *, audited: bool, told: Callable[[int], None] | None = None) -> None:
        self._database = database
        self._audited = audited
        self._told = told

    async def preview(self, policy: Policy, after: Place | None) -> AsyncIterator[tuple[Judged, Place]]:
        """Yield what a policy says of each tag that it is about, in order, and where to go on after it.

        Changes nothing. Raises QueryInvalid: `after` is no place in what the policy is about.
        """
        if after is not None and policy.project and project_of(after.repository) != policy.project:
            raise QueryInvalid(f"after: {after.repository} is not in {policy.project}")
        rules = _rules_of(policy)
        at = await jobs.clock(self._database) if after is None else after.at
        if after is not None:
            evaluation = Evaluation(rules, after.repository, at, after.bounds)
            async for one in self._judged(RepositoryName(after.repository), evaluation, after.bounds, after.tag):
                yield one, Place(one.repository, one.facts.name, at, after.bounds)
        async for name in self._repositories(policy, "" if after is None else after.repository):
            evaluation = Evaluation(rules, name, at)
            bounds = await self._ranked(name, evaluation)
            async for one in self._judged(name, evaluation, bounds):
                yield one, Place(name, one.facts.name, at, bounds)

    async def run(self, policy: Policy, check: Check, *, by: str, done: Check | None = None) -> Run:
        """Let the tags go that a policy does not keep. Return the run as it was recorded.

        Args:
            by: who has it run.
            done: asked in the transaction that records that the run is done: it is if, and only if, this is.

        Raises:
            RecordInUse: the policy was changed or removed since it was read.
            Whatever `check` raises; Unavailable. What was done until then is done, and recorded.
        """
        progress = _Progress(by)
        run_id = await self._database.write(lambda tx: self._begin(tx, policy, progress, check), reserve=True)
        try:
            at = await jobs.clock(self._database)
            rules = _rules_of(policy)
            async for name in self._repositories(policy, ""):
                evaluation = Evaluation(rules, name, at)
                if evaluation.is_about:
                    progress.repositories += 1
                    await self._clear(name, evaluation, _Running(run_id, policy, progress, check))
            over = progress.over("done")
            await self._database.write(lambda tx: self._end(tx, policy, run_id, over, done), reserve=True)
            progress.state = "done"
        except RegistryError as error:
            progress.state, progress.error = "failed", error.message
            raise
        except Exception:
            progress.state = "interrupted"
            raise
        finally:
            if progress.state not in {"running", "done"}:  # running: what a process leaves that is being ended
                await self._database.write(lambda tx: self._end(tx, policy, run_id, progress), reserve=True)
        found = await retention.run(self._database, policy.id, run_id)
        return found or Run(run_id, at, at, 0, 0, progress.outcome())  # the policy was removed meanwhile

    async def _clear(self, name: RepositoryName, evaluation: Evaluation, running: _Running) -> None:
        """Let go what nothing keeps in one repository."""
        judging = _Judging(name, evaluation, await self._ranked(name, evaluation))
        going: list[TagFacts] = []
        async for one in self._judged(*judging):
            if one.decision.stays:
                running.progress.kept += 1
                continue
            going.append(one.facts)
            if len(going) == BATCH:
                await self._drop(judging, going, running)
                going = []
        if going:
            await self._drop(judging, going, running)

    async def _drop(self, judging: _Judging, going: list[TagFacts], running: _Running) -> None:
        """Let tags go that are as they were seen to be, in one transaction, and record that there."""
        progress = running.progress
        origin = Origin("", f"retention run {running.run_id}") if self._audited else None

        async def work(transaction: Transaction) -> _Progress:
            await _go_on(transaction, running.policy, running.check)
            still = await _still_going(transaction, judging, going)

            def may_go(now: Current) -> bool:
                return now.tag in still

            names = [Tag(one.name) for one in going]
            gone = await drop(transaction, judging.name, names, may_go, Dropping(ACTOR, Why.RETENTION, origin))
            now = progress.after(judging.name, gone, len(going) - len(gone))
            await retention.advance(
                transaction, running.run_id, kept=now.kept, dropped=len(gone), outcome=now.outcome()
            )
            return now

        now = await self._database.write(work, reserve=True)
        if self._told is not None and now.dropped > progress.dropped:
            self._told(now.dropped - progress.dropped)
        progress.examples, progress.dropped, progress.kept = now.examples, now.dropped, 0

    async def _repositories(self, policy: Policy, after: str) -> AsyncIterator[RepositoryName]:
        """Yield the repositories that a policy may be about."""
        while True:
            if policy.project:
                found = await retained_tags.of_project(self._database, policy.project, after=after, limit=_PAGE)
            else:
                names = await repositories.page(self._database, after=after, limit=_PAGE)
                found = [RepositoryName(name) for name in names]
            for name in found:
                yield name
            if len(found) < _PAGE:
                return
            after = found[-1]

    async def _ranked(self, name: RepositoryName, evaluation: Evaluation) -> Mapping[int, Rank]:
        """Find the latest tags of a repository, where rules ask for them."""
        if evaluation.counts:
            async for facts in self._tags(name):
                evaluation.rank(facts)
        return evaluation.bounds

    async def _judged(
        self, name: RepositoryName, evaluation: Evaluation, bounds: Mapping[int, Rank], after: str = ""
    ) -> AsyncIterator[Judged]:
        """Yield what becomes of the tags of a repository that some rule is about."""
        if not evaluation.is_about:
            return
        guard = TagGuard(name)
        async for facts in self._tags(name, after):
            decision = evaluation.judge(facts, bounds)
            if not decision.stays:  # of others it is not asked: that takes longer than all the rest
                rule = await guard.forbidding(self._database, Action.DELETE, Tag(facts.name))
                decision = decision if rule is None else Decision(True, str(rule))
            if decision.is_asked:
                yield Judged(name, facts, decision)

    async def _tags(self, name: RepositoryName, after: str = "") -> AsyncIterator[TagFacts]:
        while found := await retained_tags.page(self._database, name, after=after, limit=_PAGE):
            began = 0.0
            for facts in await facts_of(self._database, name, found):
                if monotonic() > began + _TURN_S:  # what reads SQLite waits for nothing, and expressions may be slow
                    await asyncio.sleep(0)
                    began = monotonic()
                yield facts
            if len(found) < _PAGE:
                return
            after = found[-1].tag

    async def _begin(self, transaction: Transaction, policy: Policy, progress: _Progress, check: Check) -> int:
        await _go_on(transaction, policy, check)
        for run in await retention.open_runs(transaction, policy.id):  # whoever did them is gone
            outcome = {"by": ACTOR, **json.loads(run.outcome), "state": "interrupted"}
            await retention.end(transaction, run.id, json.dumps(outcome, separators=(",", ":")))
            left = _Progress(outcome["by"], Origin("", ""), dropped=run.dropped, state=outcome["state"])
            await _record(transaction, policy, run.id, left)
        return await retention.begin(transaction, policy.id, progress.outcome())

    async def _end(
        self, transaction: Transaction, policy: Policy, run_id: int, progress: _Progress, done: Check | None = None
    ) -> None:
        if done is not None:
            await done(transaction)
        outcome = progress.outcome()
        if await retention.end(transaction, run_id, outcome):
            await retention.advance(transaction, run_id, kept=progress.kept, dropped=0, outcome=outcome)
        elif await retention.run(transaction, policy.id, run_id) is not None:
            return  # who has the lease now found that it was interrupted, and recorded that
        await _record(transaction, policy, run_id, progress)


async def _record(transaction: Transaction, policy: Policy, run_id: int, progress: _Progress) -> None:
    """Have the audit log tell of a run that is over."""
    await audit.record(
        transaction,
        "retention.run",
        audit.DONE if progress.state == "done" else audit.FAILED,
        progress.by,
        project=policy.project,
        address=progress.origin.address,
        request_id=progress.origin.request_id,
        detail={"policy": policy.name, "run": run_id, "dropped": progress.dropped, "state": progress.state},
    )


async def _go_on(transaction: Transaction, policy: Policy, check: Check) -> None:
    """Return if a run may go on: until the transaction ends nobody changes the policy."""
    await check(transaction)
    if not await retention.hold(transaction, policy):
        raise RecordInUse(
            f"retention policy {policy.name} was changed or removed meanwhile: what it had not removed stays"
        )


async def _still_going(transaction: Transaction, judging: _Judging, going: list[TagFacts]) -> set[str]:
    """Return the names of those tags that are what they were, and that nothing keeps now either.

    It may be long since they were looked at: they may have been pulled, or got a subject that stays.
    """
    await repositories.lock(transaction, judging.name)
    seen = {one.name: (one.digest, one.updated_at) for one in going}
    found = await retained_tags.several(transaction, judging.name, [Tag(one.name) for one in going])
    return {
        one.name
        for one in await facts_of(transaction, judging.name, found)
        if seen[one.name] == (one.digest, one.updated_at) and not judging.evaluation.judge(one, judging.bounds).stays
    }


async def facts_of(reader: Reader, name: RepositoryName, found: list[Found]) -> list[TagFacts]:
    """Return what policies go by, of some tags of a repository.

    What keeps them whatever a policy says is among it, but for rules about tags.
    """
    subjects = {one.tag: subject for one in found if (subject := _subject(one.tag)) is not None}
    staying = await retained_tags.staying(reader, name, sorted(set(subjects.values())))
    facts: list[TagFacts] = []
    for one in found:
        subject = subjects.get(one.tag)
        is_signature = subject is not None and subject in staying
        keeper = f"it belongs to {subject}, which stays" if is_signature else ""
        if one.is_locked:
            keeper = LOCKED
        facts.append(TagFacts(one.tag, one.digest, one.updated_at, one.pulled_at, keeper, is_signature))
    return facts


def _subject(tag: Tag) -> Digest | None:
    """Return the digest of what a tag hangs on, as cosign and clients without the referrers API name them."""
    found = _SIGNATURE(tag)
    return None if found is None else Digest(f"{found[1] or found[3]}:{found[2] or found[4]}")


def _rules_of(policy: Policy) -> tuple[Rule, ...]:
    return parse_rules(json.loads(policy.rules), policy.project)
