"""Doing one scenario's operation for a while, and what it took."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.load import Load, run
from bench.scenarios import Scenario
from bench.servers import Server


@dataclass(frozen=True, slots=True)
class Round:
    """One measurement.

    Attributes:
        operations: how many were done.
        rate: operations per second.
        p50_ms: median duration of an operation.
        p99_ms: what 99 of 100 operations do not exceed; of few operations, the longest.
        cpu_ms: CPU time of all the server's processes, per operation.
        generator_cpu: cores that the load generator kept busy. Near 1 it is what limits the rate.
    """

    operations: int
    rate: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    generator_cpu: float

    @classmethod
    def of(cls, load: Load) -> "Round":
        """Sum up what a run took."""
        count = len(load.taken)
        ascending = sorted(load.taken)
        return cls(
            operations=count,
            rate=count / load.elapsed,
            p50_ms=percentile(ascending, 0.5) * 1000,
            p99_ms=percentile(ascending, 0.99) * 1000,
            cpu_ms=load.server_cpu / count * 1000,
            generator_cpu=load.own_cpu / load.elapsed,
        )


@dataclass(slots=True)
class Measured:
    """All rounds of one server in one scenario. `p99_ms` is over the operations of all rounds together."""

    rounds: list[Round] = field(default_factory=list)
    p99_ms: float = 0.0
    peak_mib: float = 0.0


class Subject:
    """One server in one scenario."""

    def __init__(self, server: Server, scenario: Scenario) -> None:
        self.measured = Measured()
        self._server = server
        self._scenario = scenario
        self._taken: list[float] = []

    def prepare(self) -> None:
        """Push what the scenario reads."""
        for batch in self._scenario.prepare():
            run(
                self._server.port, batch, connections=16, tls=self._server.tls, authorization=self._server.authorization
            )

    def warm_up(self, seconds: float) -> None:
        """Do the operation for a fifth of `seconds`, uncounted, if the scenario wants that."""
        if self._scenario.warm:
            self._run(seconds / 5)

    def measure(self, seconds: float) -> None:
        """Do the operation on all connections for `seconds`, at least once on each."""
        load = self._run(seconds)
        self.measured.rounds.append(Round.of(load))
        self._taken += load.taken

    def finish(self) -> None:
        """Sum up. Raises UnexpectedAnswer when the server has not the right bytes."""
        self.measured.peak_mib = self._server.peak_mib()
        self.measured.p99_ms = percentile(sorted(self._taken), 0.99) * 1000
        check = iter([self._scenario.check()])
        run(self._server.port, check, tls=self._server.tls, authorization=self._server.authorization)

    def _run(self, seconds: float) -> Load:
        self._scenario.stock(seconds)
        return run(
            self._server.port,
            self._scenario.work(),
            connections=self._scenario.connections,
            seconds=seconds,
            meter=self._server.cpu_seconds,
            tls=self._server.tls,
            authorization=self._server.authorization,
        )


def measure_in_turns(subjects: Mapping[str, Subject], rounds: int, seconds: float) -> dict[str, Measured]:
    """Prepare every subject, measure each once a round, and return what was measured under the same names.

    Raises:
        UnexpectedAnswer: a server did not what was asked for, or has not the right bytes afterwards.
    """
    for subject in subjects.values():
        subject.prepare()
    os.sync()  # what was prepared is not to be written back while something is measured
    for subject in subjects.values():
        subject.warm_up(seconds)
    for _ in range(rounds):
        for subject in subjects.values():
            subject.measure(seconds)
    for subject in subjects.values():
        subject.finish()
    return {name: subject.measured for name, subject in subjects.items()}


def percentile(ascending: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` of the values do not exceed (nearest rank)."""
    return ascending[max(math.ceil(len(ascending) * share) - 1, 0)]
