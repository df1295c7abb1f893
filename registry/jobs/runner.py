"""Runs jobs that are due, each under a lease of the database, so that of all processes one does it at a time."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from registry.db import jobs
from registry.db.connection import Database, Transaction
from registry.errors import Unavailable
from registry.jobs.clock import Clock
from storage.errors import StorageError

logger = logging.getLogger("stowage.jobs")

_LEASE_S = 120
_LOOK_S = 30.0


class LeaseLost(Exception):
    """Another process has the job now: what is left of it is that one's."""


class Paused(Exception):
    """Jobs are to rest: what is left of this one is done later."""


class NotYet(Exception):
    """There is nothing to do, and it is looked again sooner than the job is due: after `seconds`."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"again in {seconds} s")
        self.seconds = seconds


def never() -> bool:
    """Say that nothing is paused."""
    return False


def _unrecorded(name: str, seconds: float, succeeded: bool) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to do a job. Long work renews it between its batches.

    `durable`: that it was taken, renewed and given back is to outlast a loss of power, and is waited for.
    """

    database: Database
    name: str
    generation: int
    paused: Callable[[], bool] = never
    lease_s: int = _LEASE_S
    durable: bool = True

    async def renew(self) -> None:
        """Keep the job. Raises LeaseLost, Paused."""
        await self.database.write(self.confirm, reserve=True, durable=self.durable)

    async def confirm(self, transaction: Transaction) -> None:
        """Keep the job, in the transaction whose changes only its holder may make. Raises LeaseLost, Paused."""
        if self.paused():
            raise Paused(self.name)
        if not await jobs.renew(transaction, self.name, self.generation, lease_s=self.lease_s):
            raise LeaseLost(self.name)

    async def give_back(self, *, pause_s: int = 0) -> None:
        """Let another process have the job, which is due again after `pause_s` seconds."""
        await self.database.write(
            lambda tx: jobs.finish(tx, self.name, self.generation, pause_s=pause_s),
            reserve=True,
            durable=self.durable,
        )

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Keep the job for as long as the block runs: a store may take longer for one answer than the lease lasts."""
        keeping = asyncio.create_task(self._keep(), name=f"lease of {self.name}")
        try:
            yield
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self.lease_s / 4)
            with suppress(Unavailable):
                await self.renew()


async def take(
    database: Database,
    name: str,
    *,
    owner: str,
    lease_s: int,
    paused: Callable[[], bool] = never,
    durable: bool = True,
) -> Lease | None:
    """Take the lease of a job, due or not; None if another process has it."""
    generation = await database.write(
        lambda tx: jobs.take_anyway(tx, name, owner=owner, lease_s=lease_s), reserve=True, durable=durable
    )
    return None if generation is None else Lease(database, name, generation, paused, lease_s, durable)


@dataclass(frozen=True, slots=True)
class Job:
    """What to do every `every_s` seconds. `work` returns what it did, for the log; empty if there was nothing.

    `age_s`: it removes what is older than so many seconds, and is left alone for as long after a clock jumped.
    `lease_s`: how long after its process was killed another may go on. `retry_s`: how long after a failure it is tried
    again; without, once its lease is over.
    """

    name: str
    every_s: int
    work: Callable[[Lease], Awaitable[str]]
    age_s: int = 0
    lease_s: int = _LEASE_S
    retry_s: int = 0


class JobRunner:
    """Looks for jobs that are due until it is stopped. While `paused` says so, none begins, and none goes on for long.

    They delete, every one of them, and who made the registry read-only means to find it as it was. `record` is told of
    each run: the job's name, the seconds it took, whether it succeeded.
    """

    def __init__(
        self,
        database: Database,
        all_jobs: list[Job],
        *,
        owner: str,
        clock: Clock | None = None,
        paused: Callable[[], bool] = never,
        record: Callable[[str, float, bool], None] = _unrecorded,
    ) -> None:
        self._paused = paused
        self._record = record
        self._database = database
        self._jobs = all_jobs
        self._owner = owner
        self._clock = clock or Clock(database)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, in a task of its own."""
        self._task = asyncio.create_task(self._run(), name="jobs")

    async def stop(self) -> None:
        """Stop at once; what was under way is taken up again when its lease has ended."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def run_due(self) -> None:
        """Do every job that is due and that nobody else does."""
        try:
            await self._clock.look()
        except Unavailable as error:
            logger.warning("jobs wait until the database answers: %s", error)
            return
        for job in self._jobs:
            if self._paused() or self._clock.steady_for() < job.age_s:
                continue
            try:
                await self._run_if_due(job)
            except LeaseLost:
                logger.warning("job %s goes on in another process", job.name)
            except (Unavailable, StorageError) as error:
                logger.warning("job %s is tried again later: %s", job.name, error)
            except Exception:  # a defect of one job must not end the others
                logger.exception("job %s failed", job.name)

    async def _run(self) -> None:
        while True:
            await self.run_due()
            await asyncio.sleep(_LOOK_S)

    async def _run_if_due(self, job: Job) -> None:
        generation = await self._database.write(
            lambda tx: jobs.take(tx, job.name, owner=self._owner, lease_s=job.lease_s, pause_s=job.every_s),
            reserve=True,
        )
        if generation is None:
            return
        lease = Lease(self._database, job.name, generation, self._paused, job.lease_s)
        pause_s = job.every_s
        began = time.monotonic()
        try:
            async with lease.kept():
                done = await job.work(lease)
        except Paused:
            done, pause_s = "paused for maintenance", 0
        except NotYet as later:
            done, pause_s = "", later.seconds
        except LeaseLost:
            raise
        except Exception:
            self._record(job.name, time.monotonic() - began, False)
            if job.retry_s:
                await lease.give_back(pause_s=job.retry_s)
            raise
        else:
            self._record(job.name, time.monotonic() - began, True)
        if done:
            logger.info("job %s: %s", job.name, done)
        await lease.give_back(pause_s=pause_s)
