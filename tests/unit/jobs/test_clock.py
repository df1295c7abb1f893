"""Clocks that jump: what is removed by its age stays, until it is old by a clock that nobody set."""

import pytest

from registry.db import jobs
from registry.db.connection import Database
from registry.jobs.clock import Clock
from registry.jobs.runner import Job, JobRunner, Lease

pytestmark = pytest.mark.anyio

DAY = 86_400.0
YEAR = 365 * DAY


class Times:
    """A wall clock that can be set, and a clock that can't."""

    def __init__(self) -> None:
        self.wall = 1e9
        self.steady = 50.0

    def pass_by(self, seconds: float) -> None:
        """Let time pass."""
        self.wall += seconds
        self.steady += seconds


@pytest.fixture
def times() -> Times:
    """Clocks of one's own."""
    return Times()


@pytest.fixture
def clock(database: Database, times: Times, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Looks at these clocks; the database's is the wall clock."""

    async def database_time(_: object) -> int:
        return int(times.wall * 1_000_000)

    monkeypatch.setattr(jobs, "clock", database_time)
    return Clock(database, wall=lambda: times.wall, steady=lambda: times.steady)


@pytest.mark.parametrize("jump", [DAY, -DAY, YEAR, 120.0, -120.0])
async def test_a_job_that_removes_by_age_waits_for_as_long_after_a_jump(
    database: Database, clock: Clock, times: Times, jump: float, caplog: pytest.LogCaptureFixture
) -> None:
    runs: list[str] = []

    async def by_age(lease: Lease) -> str:
        runs.append("by age")
        return ""

    async def other(lease: Lease) -> str:
        runs.append("other")
        return ""

    all_jobs = [Job("by-age", 0, by_age, age_s=3600), Job("other", 0, other)]
    runner = JobRunner(database, all_jobs, owner="test", clock=clock)
    await runner.run_due()
    assert runs == ["by age", "other"]
    times.pass_by(30)
    times.wall += jump
    runs.clear()
    await runner.run_due()
    times.pass_by(3500)
    await runner.run_due()
    assert runs == ["other", "other"]
    assert f"jumped by {jump:.0f} s" in caplog.text
    times.pass_by(200)
    await runner.run_due()
    assert runs == ["other", "other", "by age", "other"]


async def test_a_clock_that_is_corrected_slowly_has_not_jumped(clock: Clock, times: Times) -> None:
    for _ in range(1000):
        await clock.look()
        times.pass_by(30)
        times.wall += 0.5
    assert clock.steady_for() > YEAR


async def test_the_databases_own_clock_counts_too(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, real = Clock(database), jobs.clock
    await clock.look()
    assert clock.steady_for() > YEAR

    async def ahead(reader: Database) -> int:
        return await real(reader) + 3600 * 1_000_000

    monkeypatch.setattr(jobs, "clock", ahead)
    await clock.look()
    assert clock.steady_for() < YEAR


async def test_a_clock_that_was_ahead_keeps_no_job_from_running(database: Database) -> None:
    async def take(lease_s: int = 120) -> int | None:
        return await database.write(lambda tx: jobs.take(tx, "test", owner="a", lease_s=lease_s, pause_s=3600))

    assert await take(lease_s=86_400) == 1
    assert await take(lease_s=86_400) is None
    assert await take() == 2  # no lease of 120 s ends tomorrow
    assert await take() is None
    await database.write(lambda tx: jobs.finish(tx, "test", 2, pause_s=86_400))
    assert await take() == 3  # nor a pause of an hour
    await database.write(lambda tx: jobs.finish(tx, "test", 3, pause_s=3600))
    assert await take() is None
