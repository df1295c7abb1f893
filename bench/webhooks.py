"""What telling others takes: events delivered a second, and a push with ten endpoints beside one with none."""

import asyncio
import json
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

from bench.measure import Measured, Subject
from bench.receiver import Receiver
from bench.report import Pair, cpu_ratio, figures, header, rate_ratio, row
from bench.scenarios import ImagePush, Scenario
from bench.sections import Figures, Section, Setting
from bench.servers import Server, ServerFailed, Stowage
from bench.targets import Target
from registry.db import webhooks
from registry.db.connection import Transaction
from registry.db.place import place_of
from registry.oci.names import RepositoryName
from registry.services import events
from registry.settings import Settings

_ENDPOINTS = 10
_EVENTS = 10_000
_REPOSITORIES = 100
_DIGEST = "sha256:" + "0" * 64
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_PATIENCE_S = 120.0


class Telling(Stowage):
    """Stowage with endpoints."""

    def __init__(self, folder: Path, receiver: Receiver, endpoints: int) -> None:
        super().__init__(folder)
        self._endpoints = [
            {"name": f"bench-{number}", "url": f"http://127.0.0.1:{receiver.port}/{number}", "allow_private": True}
            for number in range(endpoints)
        ]

    def environment(self) -> dict[str, str]:
        """Return the environment, with endpoints."""
        return super().environment() | {"STOWAGE_WEBHOOKS": json.dumps(self._endpoints)}


class _PushAlone(ImagePush):
    """One push after the other."""

    name = "webhooks: push of a small image, one at a time"
    connections = 1


class _PushTogether(ImagePush):
    """As many at once as the machine bears."""

    name = "webhooks: push of a small image, 16 at once"


class Webhooks(Section):
    """Pushes with ten endpoints beside none, and how fast events are delivered that are there already."""

    key = "webhooks"
    scenarios: ClassVar[tuple[type[Scenario], ...]] = (_PushAlone, _PushTogether)
    names = (*(one.name for one in scenarios), "webhooks: events delivered")
    least = Target(round(1 / 1.1, 2))

    def __init__(self, count: int = _EVENTS) -> None:
        self._count = count

    def programs(self, peers: Sequence[type[Server]]) -> Sequence[type[Server]]:
        """Return Stowage."""
        return [Stowage]

    def measure(self, chosen: Sequence[str], setting: Setting) -> list[Figures]:
        """Measure, print and return the figures."""
        print(header(f"With {_ENDPOINTS} webhooks, beside none", "told", "untold"), flush=True)
        found = [self._measure_pushes(one, setting) for one in self.scenarios if one.name in chosen]
        if self.names[-1] in chosen:
            found.append(self._measure_delivery(setting))
        return found

    def _measure_pushes(self, scenario: type[Scenario], setting: Setting) -> Figures:
        with Receiver() as receiver, ExitStack() as ending:
            subjects: dict[str, Subject] = {}
            for name, endpoints in (("told", _ENDPOINTS), ("untold", 0)):
                folder = setting.folder / f"webhooks-{name}"
                ending.callback(shutil.rmtree, folder)
                server = Telling(folder, receiver, endpoints)
                ending.callback(server.stop)
                server.start()
                subjects[name] = Subject(server, scenario())
            results, meanwhile = _in_turns(subjects, scenario.rounds, setting.seconds, receiver)
        label = scenario.name.partition(": ")[2]
        told, untold = results["told"], results["untold"]
        pair = Pair(label, told, untold, (self.least.judge(rate_ratio(told, untold)),))
        print(row(scenario, pair), flush=True)
        print(f"  of its messages {meanwhile:.0%} came while it was measured, the others later", flush=True)
        more = {"cpu_ratio": cpu_ratio(told, untold), "told_meanwhile": meanwhile}
        return {**figures(scenario.name, scenario, results, [pair]), **more}

    def _measure_delivery(self, setting: Setting) -> Figures:
        folder = setting.folder / "webhooks-delivery"
        with Receiver() as receiver:
            server = Telling(folder, receiver, 1)
            try:
                server.start()
                asyncio.run(_write_events(folder / "data", self._count))
                if receiver.wait_for(self._count, _PATIENCE_S) < self._count:
                    raise ServerFailed(f"of {self._count} events {receiver.seen()[0]} were delivered")
                _, seconds = receiver.seen()
                peak = server.peak_mib()
            finally:
                server.stop()
                shutil.rmtree(folder)
        rate = self._count / seconds
        print(f"\nOf {self._count:,} events in {_REPOSITORIES} repositories {rate:,.0f} a second reach one webhook")
        return {"name": self.names[-1], "events": self._count, "rate": rate, "peak_mib": peak}


def _in_turns(
    subjects: dict[str, Subject], rounds: int, seconds: float, receiver: Receiver
) -> tuple[dict[str, Measured], float]:
    """Measure as `measure_in_turns` does, but let all be told before the next is measured, which would pay for it.

    Return the share of messages that came while something was measured, too: who delivers gives way to pushes.
    """
    for subject in subjects.values():
        subject.prepare()
        subject.warm_up(seconds)
    meanwhile = 0
    _let_rest(receiver)
    before = receiver.seen()[0]
    for _ in range(rounds):
        for subject in subjects.values():
            began = receiver.seen()[0]
            subject.measure(seconds)
            meanwhile += receiver.seen()[0] - began
            _let_rest(receiver)
    total = receiver.seen()[0] - before
    for subject in subjects.values():
        subject.finish()
    return {name: subject.measured for name, subject in subjects.items()}, meanwhile / max(1, total)


def _let_rest(receiver: Receiver) -> None:
    """Return when no more messages come."""
    seen, before = receiver.seen()[0], -1
    while seen != before:
        before, seen = seen, receiver.wait_for(seen + 1, 1.0)


async def _write_events(data: Path, count: int) -> None:
    """Have pushes in the stream, once the server knows its endpoint."""
    database = place_of(Settings(data=data)).open()
    await database.start()
    try:
        for _ in range(int(_PATIENCE_S * 10)):
            if await webhooks.every(database):
                break
            await asyncio.sleep(0.1)

        async def work(transaction: Transaction) -> None:
            for number in range(count):
                await events.record(
                    transaction,
                    RepositoryName(f"bench/{number % _REPOSITORIES}"),
                    events.PUSH,
                    actor="user:bench",
                    digest=_DIGEST,
                    media_type=_MANIFEST,
                    size=1000,
                    tag=f"t{number}",
                )

        await database.write(work)
    finally:
        await database.stop()
