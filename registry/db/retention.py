"""Retention policies, and what came of their runs."""

from typing import NamedTuple

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.dialects import postgresql

from registry.db.connection import Reader, Transaction
from registry.db.projects import EVERYWHERE
from registry.db.statements import Statement, now, parameter
from registry.db.tables import projects, retention_policies, retention_runs

_MOST_RUNS = 100
"""So many runs of each policy are remembered."""


class Policy(NamedTuple):
    """A policy. Times in microseconds since the epoch.

    Attributes:
        project: its name, "" for the whole registry.
        rules: JSON.
        schedule: cron, "" for never by itself.
        due_at: when it runs next, None for never.
        revision: raised by each change.
    """

    id: int
    project: str
    name: str
    rules: str
    schedule: str
    is_enabled: bool
    due_at: int | None
    created_at: int
    created_by: str
    revision: int


class Waiting(NamedTuple):
    """A policy that is due at some time to come, in microseconds since the epoch."""

    id: int
    revision: int
    schedule: str
    due_at: int


class Run(NamedTuple):
    """A run of a policy. Times in microseconds since the epoch; `outcome`: JSON."""

    id: int
    began_at: int
    ended_at: int | None
    kept: int
    dropped: int
    outcome: str


_policy = retention_policies.c
_COLUMNS = (
    _policy.id,
    projects.c.name,
    _policy.name,
    _policy.rules,
    _policy.schedule,
    _policy.enabled,
    _policy.due_at,
    _policy.created_at,
    _policy.created_by,
    _policy.revision,
)
# Never one that has outlived its project for one of the whole registry.
_policies = (
    select(*_COLUMNS)
    .select_from(retention_policies.outerjoin(projects, projects.c.id == _policy.project_id))
    .where((_policy.project_id == EVERYWHERE) | projects.c.name.is_not(None))
)
_PAGE = Statement(
    _policies.where(_policy.project_id == parameter("project_id"), _policy.name > parameter("after"))
    .order_by(_policy.name)
    .limit(parameter("limit"))
)
_FIND = Statement(_policies.where(_policy.project_id == parameter("project_id"), _policy.name == parameter("name")))
_COUNT = Statement(
    select(func.count()).select_from(retention_policies).where(_policy.project_id == parameter("project_id"))
)
_HOLD = Statement(
    select(_policy.id)
    .where(_policy.id == parameter("policy_id"), _policy.revision == parameter("as_of"))
    .with_for_update(read=True)
)
_DUE = Statement(_policies.where(_policy.due_at <= now(), _policy.enabled == 1).order_by(_policy.due_at, _policy.id))
_WAITING = Statement(
    select(_policy.id, _policy.revision, _policy.schedule, _policy.due_at)
    .where(_policy.due_at > now(), _policy.enabled == 1, _policy.id > parameter("after"))
    .order_by(_policy.id)
    .limit(parameter("limit"))
)
_ADD = Statement(
    postgresql.insert(retention_policies)
    .values(
        project_id=parameter("project_id"),
        name=parameter("name"),
        rules=parameter("rules"),
        schedule=parameter("schedule"),
        enabled=parameter("enabled"),
        due_at=parameter("due_at"),
        created_at=now(),
        created_by=parameter("actor"),
    )
    .on_conflict_do_nothing()
)
_CHANGE = Statement(
    update(retention_policies)
    .where(_policy.id == parameter("policy_id"))
    .values(
        rules=parameter("rules"),
        schedule=parameter("schedule"),
        enabled=parameter("enabled"),
        due_at=parameter("due_at"),
        revision=_policy.revision + 1,
    )
)
_REMOVE = Statement(delete(retention_policies).where(_policy.id == parameter("policy_id")))
_REMOVE_OF_PROJECT = Statement(delete(retention_policies).where(_policy.project_id == parameter("of_project")))
_PUT_OFF = Statement(
    update(retention_policies)
    .where(_policy.id == parameter("policy_id"), _policy.revision == parameter("as_of"))
    .values(due_at=parameter("due_at"))
)
_run = retention_runs.c
_RUN_COLUMNS = (_run.id, _run.began_at, _run.ended_at, _run.kept, _run.dropped, _run.outcome)
_BEGIN = Statement(
    insert(retention_runs)
    .values(policy_id=parameter("policy_id"), began_at=now(), kept=0, dropped=0, outcome=parameter("outcome"))
    .returning(_run.id)
)
_ADVANCE = Statement(
    update(retention_runs)
    .where(_run.id == parameter("run_id"))
    .values(
        kept=_run.kept + parameter("kept_more"),
        dropped=_run.dropped + parameter("dropped_more"),
        outcome=parameter("outcome"),
    )
)
_END = Statement(
    update(retention_runs)
    .where(_run.id == parameter("run_id"), _run.ended_at.is_(None))
    .values(ended_at=now(), outcome=parameter("outcome"))
)
_RUNS = Statement(
    select(*_RUN_COLUMNS)
    .where(_run.policy_id == parameter("policy_id"), _run.id < parameter("before"))
    .order_by(_run.id.desc())
    .limit(parameter("limit"))
)
_OPEN = Statement(
    select(*_RUN_COLUMNS).where(_run.policy_id == parameter("policy_id"), _run.ended_at.is_(None)).order_by(_run.id)
)
_RUN = Statement(select(*_RUN_COLUMNS).where(_run.policy_id == parameter("policy_id"), _run.id == parameter("run_id")))
_older = retention_runs.alias("older")
_FORGET = Statement(
    delete(retention_runs).where(
        _run.policy_id == parameter("policy_id"),
        _run.id
        <= select(_older.c.id)
        .where(_older.c.policy_id == parameter("of_policy"))
        .order_by(_older.c.id.desc())
        .limit(1)
        .offset(parameter("most"))
        .scalar_subquery(),
    )
)


async def page(reader: Reader, project_id: int, *, after: str, limit: int) -> list[Policy]:
    """Return up to `limit` policies of a project, or of EVERYWHERE, whose names follow `after`, in order of names."""
    return [_made(row) for row in await reader.all(_PAGE, project_id=project_id, after=after, limit=limit)]


async def find(reader: Reader, project_id: int, name: str) -> Policy | None:
    """Return a policy, or None."""
    row = await reader.first(_FIND, project_id=project_id, name=name)
    return None if row is None else _made(row)


async def count(reader: Reader, project_id: int) -> int:
    """Return how many policies a project, or EVERYWHERE, has."""
    row = await reader.first(_COUNT, project_id=project_id)
    return 0 if row is None else row[0]


async def hold(transaction: Transaction, policy: Policy) -> bool:
    """Say whether a policy still is as it was read. If so, it is until the transaction ends.

    Asked before anything of its runs is written: who removes a policy holds it, and then its runs.
    """
    return await transaction.first(_HOLD, policy_id=policy.id, as_of=policy.revision) is not None


async def due(reader: Reader) -> list[Policy]:
    """Return the policies that are to run now."""
    return [_made(row) for row in await reader.all(_DUE)]


async def waiting(reader: Reader, *, after: int, limit: int) -> list[Waiting]:
    """Return up to `limit` policies that are not due yet, with ids that follow `after`, in order."""
    return [Waiting._make(row) for row in await reader.all(_WAITING, after=after, limit=limit)]


async def add(
    transaction: Transaction,
    project_id: int,
    name: str,
    *,
    rules: str,
    schedule: str,
    is_enabled: bool,
    due_at: int | None,
    actor: str,
) -> bool:
    """Record a policy. False if there is one of that name."""
    values = {"rules": rules, "schedule": schedule, "enabled": int(is_enabled), "due_at": due_at}
    return await transaction.run(_ADD, project_id=project_id, name=name, **values, actor=actor) == 1


async def change(
    transaction: Transaction, policy_id: int, *, rules: str, schedule: str, is_enabled: bool, due_at: int | None
) -> None:
    """Change a policy."""
    values = {"rules": rules, "schedule": schedule, "enabled": int(is_enabled), "due_at": due_at}
    await transaction.run(_CHANGE, policy_id=policy_id, **values)


async def remove(transaction: Transaction, policy_id: int) -> None:
    """Remove a policy, and what is remembered of its runs."""
    await transaction.run(_REMOVE, policy_id=policy_id)


async def remove_of_project(transaction: Transaction, project_id: int) -> None:
    """Remove all policies of a project."""
    await transaction.run(_REMOVE_OF_PROJECT, of_project=project_id)


async def put_off(transaction: Transaction, policy: Policy | Waiting, due_at: int | None) -> None:
    """Have a policy run at another time, unless it was changed meanwhile."""
    await transaction.run(_PUT_OFF, policy_id=policy.id, as_of=policy.revision, due_at=due_at)


async def begin(transaction: Transaction, policy_id: int, outcome: str) -> int:
    """Record a run that begins, and return its id."""
    row = await transaction.first(_BEGIN, policy_id=policy_id, outcome=outcome)
    assert row is not None  # noqa: S101 - RETURNING of one inserted row
    run_id: int = row[0]
    await transaction.run(_FORGET, policy_id=policy_id, of_policy=policy_id, most=_MOST_RUNS)
    return run_id


async def advance(transaction: Transaction, run_id: int, *, kept: int, dropped: int, outcome: str) -> None:
    """Record what a run has come to: so many more were kept, and dropped."""
    await transaction.run(_ADVANCE, run_id=run_id, kept_more=kept, dropped_more=dropped, outcome=outcome)


async def end(transaction: Transaction, run_id: int, outcome: str) -> bool:
    """Record that a run has ended. False if that is recorded, or it is not there."""
    return await transaction.run(_END, run_id=run_id, outcome=outcome) == 1


async def runs(reader: Reader, policy_id: int, *, before: int, limit: int) -> list[Run]:
    """Return up to `limit` runs of a policy with ids below `before`, the latest first."""
    return [Run._make(row) for row in await reader.all(_RUNS, policy_id=policy_id, before=before, limit=limit)]


async def open_runs(reader: Reader, policy_id: int) -> list[Run]:
    """Return the runs of a policy that have not ended."""
    return [Run._make(row) for row in await reader.all(_OPEN, policy_id=policy_id)]


async def run(reader: Reader, policy_id: int, run_id: int) -> Run | None:
    """Return a run of a policy, or None."""
    row = await reader.first(_RUN, policy_id=policy_id, run_id=run_id)
    return None if row is None else Run._make(row)


def _made(row: tuple[object, ...]) -> Policy:
    made = Policy._make(row)
    return made._replace(project=made.project or "", is_enabled=bool(made.is_enabled))
