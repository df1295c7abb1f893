"""`python -m bench`: Stowage beside a peer, scenario by scenario, in turns."""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from bench.http import UnexpectedAnswer
from bench.measure import Round, Subject
from bench.scenarios import SCENARIOS, Scenario
from bench.servers import PEERS, MissingPeer, Server, Stowage

_HEADER = f"{'':24} {'stowage':>12} {'peer':>12} {'ratio':>7} {'p99 ms':>15} {'CPU ms/op':>19}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table, and return the exit status."""
    options = _parse(arguments)
    chosen = [one for one in SCENARIOS if options.only in one.name]
    if not chosen:
        print(f"bench: no scenario has {options.only!r} in its name", file=sys.stderr)
        return 2
    try:
        with tempfile.TemporaryDirectory(prefix="stowage-bench-", dir=options.folder) as folder:
            results = _run(chosen, PEERS[options.peer], Path(folder), options.seconds)
    except (MissingPeer, UnexpectedAnswer) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench", description="Measure Stowage beside another registry on this machine, in turns."
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="only scenarios with TEXT in their name")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long a round takes [3]")
    parser.add_argument("--peer", choices=PEERS, default="distribution", help="beside which registry [distribution]")
    parser.add_argument("--folder", type=Path, help="where the data goes, for the run [the system's temporary folder]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to FILE")
    return parser.parse_args(arguments)


def _run(scenarios: list[Scenario], peer: type[Server], folder: Path, seconds: float) -> list[dict[str, object]]:
    print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}; peer: {peer.name}")
    print("rates are operations/s, or MiB/s where a size is named; ratios are medians of rounds in turns\n")
    print(_HEADER)
    results: list[dict[str, object]] = []
    for number, scenario in enumerate(scenarios):
        with ExitStack() as ending:
            servers = [kind(folder / f"{number}-{kind.name}") for kind in (Stowage, peer)]
            for server in servers:
                ending.callback(server.stop)
                server.start()
            rounds = _measure(scenario, servers, seconds)
            peaks = [server.peak_mib() for server in servers]
        print(_row(scenario, rounds), flush=True)
        results.append(
            {
                "scenario": scenario.name,
                "stowage": [asdict(one) for one in rounds[0]],
                peer.name: [asdict(one) for one in rounds[1]],
                "peak_mib": dict(zip(("stowage", peer.name), peaks, strict=True)),
            }
        )
    return results


def _measure(scenario: Scenario, servers: list[Server], seconds: float) -> tuple[list[Round], list[Round]]:
    subjects = [Subject(server, scenario) for server in servers]
    for subject in subjects:
        subject.prepare()
    rounds: tuple[list[Round], list[Round]] = ([], [])
    for _ in range(scenario.rounds):
        for subject, measured in zip(subjects, rounds, strict=True):
            measured.append(subject.measure(seconds))
    return rounds


def _row(scenario: Scenario, rounds: tuple[list[Round], list[Round]]) -> str:
    ours, theirs = rounds
    ratio = statistics.median(a.rate / b.rate for a, b in zip(ours, theirs, strict=True))
    unit = scenario.mib or 1
    rates = [statistics.median(one.rate for one in each) * unit for each in rounds]
    slow = [statistics.median(one.p99_ms for one in each) for each in rounds]
    cpu = [statistics.median(one.cpu_ms for one in each) for each in rounds]
    return (
        f"{scenario.name:24} {rates[0]:12,.0f} {rates[1]:12,.0f} {ratio:6.2f}x "
        f"{slow[0]:7.1f}/{slow[1]:7.1f} {cpu[0]:9.3f}/{cpu[1]:9.3f}"
    )


if __name__ == "__main__":
    sys.exit(main())
