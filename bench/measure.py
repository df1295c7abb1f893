"""Doing one scenario's operation for a while, and what it took."""

import asyncio
import time
from dataclasses import dataclass

import uvloop

from bench.http import Connection
from bench.scenarios import Scenario, World
from bench.servers import Server


@dataclass(frozen=True, slots=True)
class Round:
    """One measurement: operations per second, 99th percentile in ms, the server's CPU ms per operation."""

    rate: float
    p99_ms: float
    cpu_ms: float


class Subject:
    """One server in one scenario."""

    def __init__(self, server: Server, scenario: Scenario) -> None:
        self._server = server
        self._scenario = scenario
        self._world = World()

    def prepare(self) -> None:
        """Push what the scenario reads."""
        uvloop.run(self._prepare())

    def measure(self, seconds: float) -> Round:
        """Do the operation on all connections for about `seconds`, at least once."""
        return uvloop.run(self._measure(seconds))

    async def _prepare(self) -> None:
        connection = await Connection.open(self._server.port)
        await self._scenario.prepare(connection, self._world)
        connection.close()

    async def _measure(self, seconds: float) -> Round:
        connections = [await Connection.open(self._server.port) for _ in range(self._scenario.connections)]
        cpu, began = self._server.cpu_seconds(), time.perf_counter()
        taken = await asyncio.gather(*(self._repeat(one, began + seconds) for one in connections))
        elapsed, cpu = time.perf_counter() - began, self._server.cpu_seconds() - cpu
        for connection in connections:
            connection.close()
        latencies = sorted(latency for each in taken for latency in each)
        count = len(latencies)
        return Round(count / elapsed, percentile(latencies, 0.99) * 1000, cpu / count * 1000)

    async def _repeat(self, connection: Connection, until: float) -> list[float]:
        latencies = []
        while True:
            began = time.perf_counter()
            await self._scenario.operation(connection, self._world)
            ended = time.perf_counter()
            latencies.append(ended - began)
            if ended >= until:
                return latencies


def percentile(ascending: list[float], share: float) -> float:
    """Return the value that `share` of the values do not exceed."""
    return ascending[min(int(len(ascending) * share), len(ascending) - 1)]
