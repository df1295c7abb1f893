"""Runs retention policies that are due."""

import logging
import os
from contextlib import suppress
from functools import partial
from time import monotonic

from registry.db import jobs, maintenance, retention
from registry.db.connection import Database, Transaction
from registry.db.retention import Policy, Run, Waiting
from registry.errors import ReadOnly, RecordInUse, RegistryError, Unavailable, ValueInvalid
from registry.jobs.runner import Job, Lease, LeaseLost, Paused, take
from registry.services.retention_policies import due_after, in_order
from registry.services.tag_retention import ACTOR, Retention

NAME = "retain"
_EVERY_S = 30
_AGE_S = 86_400
LEASE_S = 30
_LOOK_AGAIN_S = 3600.0
_PAGE = 200

_logger = logging.getLogger("stowage.retention")


def retain(database: Database, retaining: Retention) -> Job:
    """Return the job: a policy that can't be run is in nobody's way."""
    looked_at = -_LOOK_AGAIN_S

    async def work(lease: Lease) -> str:
        nonlocal looked_at
        if monotonic() > looked_at + _LOOK_AGAIN_S:
            await _correct(database, lease)
            looked_at = monotonic()
        dropped = ran = 0
        defect: Exception | None = None
        for policy in in_order(await retention.due(database)):
            later = partial(_put_off, lease, policy)
            try:
                dropped += (await retaining.run(policy, lease.confirm, by=ACTOR, done=later)).dropped
                ran += 1
                continue
            except (LeaseLost, Paused, Unavailable):
                raise
            except RegistryError as error:  # it was changed meanwhile, or is none by rules that came later
                _logger.warning("retention policy %s can't run: %s", _words(policy), error)
            except Exception as error:  # noqa: BLE001 - raised when the others have had their turn
                _logger.warning("retention policy %s can't run: %r", _words(policy), error)
                defect = error
            await database.write(later, reserve=True)
        if defect is not None:
            raise defect
        return f"{ran} retention policies run, {dropped} tags removed" if ran else ""

    return Job(NAME, _EVERY_S, work, age_s=_AGE_S, lease_s=LEASE_S, retry_s=_EVERY_S)


async def run_now(database: Database, retaining: Retention, policy: Policy, *, by: str) -> Run:
    """Run a policy, due or not, and return what came of it.

    Raises:
        RecordInUse: some policy is run elsewhere now, or this one was changed.
        ReadOnly: maintenance is on.
    """
    lease = await take(database, NAME, owner=f"{by}, process {os.getpid()}", lease_s=LEASE_S)
    if lease is None:
        raise RecordInUse("a retention policy is run now: one at a time is; try again when it is done")

    async def check(transaction: Transaction) -> None:
        await lease.confirm(transaction)
        resting = await maintenance.find(transaction)
        if resting is not None:
            raise ReadOnly("the registry is read-only for maintenance: no tags go", retry_after=resting.retry_after)

    try:
        async with lease.kept():
            return await retaining.run(policy, check, by=by)
    except LeaseLost:
        raise RecordInUse("this process stood still for long, and another one runs policies now: try again") from None
    finally:
        await lease.give_back()


async def _put_off(lease: Lease, policy: Policy | Waiting, transaction: Transaction) -> None:
    await lease.confirm(transaction)
    try:
        due_at = due_after(policy.schedule, True, await jobs.clock(transaction))
    except ValueInvalid as error:  # by rules that came later
        _logger.warning("retention policy with id %d is not run by itself any more: %s", policy.id, error)
        due_at = None
    await retention.put_off(transaction, policy, due_at)


async def _correct(database: Database, lease: Lease) -> None:
    """Have no policy wait for a time that a clock which was ahead made of its schedule."""
    after = 0
    while found := await retention.waiting(database, after=after, limit=_PAGE):
        clock, after = await jobs.clock(database), found[-1].id
        for one in found:
            with suppress(ValueInvalid):  # no schedule, by rules that came later
                if (due_after(one.schedule, True, clock) or one.due_at) < one.due_at:
                    await database.write(partial(_put_off, lease, one), reserve=True)


def _words(policy: Policy) -> str:
    return f"{policy.name} of {policy.project or 'the whole registry'}"
