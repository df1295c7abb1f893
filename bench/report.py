"""The tables that are printed, and the figures that are written."""

import os
import platform
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from bench.measure import Measured, Round
from bench.scenarios import Scenario
from bench.sections import Figures
from bench.servers import Server
from bench.targets import Judgement

_GENERATOR_LIMITS = 0.9
_LABEL = 32
FOOTNOTE = (
    "Rates and CPU: medians of rounds in turns; ratio: median of each round's ratio; p99: of all rounds' operations;\n"
    "CPU of all a server's processes, in s where a size of 512 MiB is named; peak RSS: sum of its processes' peaks.\n"
    f"*: the load generator used {_GENERATOR_LIMITS:.0%} of a core or more, the server may be faster than shown."
)


class Pair(NamedTuple):
    """A row of a table: one server beside another, or a server alone.

    Attributes:
        label: what the row is called.
        first, second: what was measured; the ratio is how many times the first's rate is that of the second.
        judgements: of its targets.
    """

    label: str
    first: Measured
    second: Measured | None
    judgements: Sequence[Judgement] = ()


def machine() -> dict[str, object]:
    """Return what the figures depend on: cores, processor, Python, versions of what serves."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("uvicorn", "uvloop", "httptools")},
    }


def describe(facts: Mapping[str, object], servers: Iterable[type[Server]]) -> str:
    """Return the line on the machine and the versions."""
    libraries = ", ".join(f"{name} {facts[name]}" for name in ("uvicorn", "uvloop", "httptools"))
    versions = {one.name: one.version() for one in servers}
    measured = ", ".join(f"{name} {number}" for name, number in versions.items())
    return (
        f"{facts['cores']} cores ({facts['processor']}) shared with the load generator, Linux {facts['kernel']}, "
        f"Python {facts['python']}, {libraries}; {measured}"
    )


def header(title: str, first: str, second: str, ratio_of: str = "ratio") -> str:
    """Return the head of a table of pairs. `first` and `second` have 9 characters at most."""
    return (
        f"\n{title}\n"
        f"{'':{_LABEL}}{'':6}{first:>9}{second:>9}{ratio_of:>8}  {'p99 ms':>15}  {'CPU ms/op':>15}  "
        f"{'peak RSS MiB':>13}  target"
    )


def row(scenario: type[Scenario], pair: Pair) -> str:
    """Return a line of the table."""
    per_second, scale = ("MiB/s", scenario.mib) if scenario.mib else ("/s", 1)
    cpu_scale, digits = (0.001, 2) if scenario.mib >= 512 else (1, 3)
    both = [pair.first] if pair.second is None else [pair.first, pair.second]
    rates = [f"{_median(one, lambda each: each.rate) * scale:,.0f}{_mark(one)}" for one in both] + [""]
    ratios = "" if pair.second is None else f"{rate_ratio(pair.first, pair.second):.2f}x"
    p99 = _joined(f"{one.p99_ms:,.1f}" for one in both)
    cpu = _joined(f"{_median(one, lambda each: each.cpu_ms) * cpu_scale:,.{digits}f}" for one in both)
    rss = _joined(f"{one.peak_mib:,.0f}" for one in both)
    judged = "; ".join(one.text for one in pair.judgements)
    line = (
        f"{pair.label:{_LABEL}}{per_second:6}{rates[0]:>9}{rates[1]:>9}{ratios:>8}"
        f"  {p99:>15}  {cpu:>15}  {rss:>13}  {judged}"
    )
    return line.rstrip()


def figures(name: str, scenario: type[Scenario], results: Mapping[str, Measured], pairs: Iterable[Pair]) -> Figures:
    """Return all that was measured under one name, by server; `pairs` give ratios and targets in the table's order."""
    return {
        "name": name,
        "connections": scenario.connections,
        "mib_per_operation": scenario.mib,
        "servers": {server: asdict(one) for server, one in results.items()},
        "ratios": [rate_ratio(pair.first, pair.second) for pair in pairs if pair.second is not None],
        "targets": [judgement._asdict() for pair in pairs for judgement in pair.judgements],
    }


def rate_ratio(first: Measured, second: Measured) -> float:
    """Return the median of how many times the first's rate in a round is that of the second in the same round."""
    return _ratio(first, second, lambda each: each.rate)


def cpu_ratio(first: Measured, second: Measured) -> float:
    """Return the same of the CPU time of an operation."""
    return _ratio(first, second, lambda each: each.cpu_ms)


def _ratio(first: Measured, second: Measured, figure: Callable[[Round], float]) -> float:
    return statistics.median(figure(a) / figure(b) for a, b in zip(first.rounds, second.rounds, strict=True))


def _median(measured: Measured, figure: Callable[[Round], float]) -> float:
    return statistics.median(figure(one) for one in measured.rounds)


def _mark(measured: Measured) -> str:
    return "*" if _median(measured, lambda each: each.generator_cpu) >= _GENERATOR_LIMITS else " "


def _joined(values: Iterable[str]) -> str:
    return " / ".join(values)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
