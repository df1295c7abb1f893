"""Stowage beside other registries, scenario by scenario, on fresh servers, in turns."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.measure import Measured, Subject, measure_in_turns
from bench.report import Pair, cpu_ratio, figures, header, rate_ratio, row
from bench.scenarios import SCENARIOS, Scenario
from bench.sections import Figures, Section, Setting
from bench.servers import Distribution, Server, Stowage
from bench.targets import Judgement, Target


class Comparison(Section):
    """Every scenario; the targets are those beside distribution v3."""

    key = "comparison"
    names = tuple(one.name for one in SCENARIOS)

    def programs(self, peers: Sequence[type[Server]]) -> Sequence[type[Server]]:
        """Return Stowage and the peers."""
        return [Stowage, *peers]

    def measure(self, chosen: Sequence[str], setting: Setting) -> list[Figures]:
        """Measure, print and return the figures."""
        print(header("Beside other registries; above 1 Stowage is faster", "Stowage", "peer"), flush=True)
        kinds = self.programs(setting.peers)
        return [_measure(one, kinds, setting) for one in SCENARIOS if one.name in chosen]


def compare(
    scenario: type[Scenario], kinds: Mapping[str, Callable[[Path], Server]], setting: Setting
) -> dict[str, Measured]:
    """Do one scenario on a fresh server of each kind, in turns. Return what was measured under the same names.

    Args:
        kinds: make a server in a folder of its own.
    """
    with ExitStack() as ending:
        subjects: dict[str, Subject] = {}
        for name, kind in kinds.items():
            own = setting.folder / name
            ending.callback(shutil.rmtree, own)
            server = kind(own)
            ending.callback(server.stop)
            server.start()
            subjects[name] = Subject(server, scenario())
        return measure_in_turns(subjects, scenario.rounds, setting.seconds)


def _measure(scenario: type[Scenario], kinds: Sequence[type[Server]], setting: Setting) -> Figures:
    able = [one for one in kinds if scenario.needs not in one.lacks]
    results = compare(scenario, {one.name: one for one in able}, setting)
    several = len(kinds) > 2
    pairs = _pairs(scenario, results, several=several)
    lines = [row(scenario, pair) for pair in pairs]
    lines += [f"  {one.name} has no {scenario.needs}" for one in kinds if one not in able]
    print(*([scenario.name] if several else []), *lines, sep="\n", flush=True)
    return figures(scenario.name, scenario, results, pairs)


def _pairs(scenario: type[Scenario], results: Mapping[str, Measured], *, several: bool) -> list[Pair]:
    """Return Stowage beside each peer, named where there are `several`, or alone."""
    ours = results[Stowage.name]
    peers = {name: one for name, one in results.items() if name != Stowage.name}
    if not peers:
        return [Pair(scenario.name, ours, None)]
    return [
        Pair(
            f"  beside {name}" if several else scenario.name,
            ours,
            one,
            judge(scenario, ours, one) if name == Distribution.name else (),
        )
        for name, one in peers.items()
    ]


def judge(scenario: type[Scenario], ours: Measured, theirs: Measured) -> list[Judgement]:
    """Compare with the scenario's targets beside distribution v3."""
    judged = [Target(scenario.least).judge(rate_ratio(ours, theirs))]
    if scenario.most_cpu:
        judged.append(Target(scenario.most_cpu, at_most=True).judge(cpu_ratio(ours, theirs), "CPU"))
    return judged
