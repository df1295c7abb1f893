"""`python -m bench`: Stowage beside other registries in turns, and what it takes as content and transfers grow."""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from bench.collection import Collection, CollectionOnS3
from bench.comparison import Comparison
from bench.encryption import Encryption
from bench.filling import Inconsistent
from bench.fleet import OnPostgresql, OnReplicas, OnS3
from bench.growth import Growth
from bench.load import UnexpectedAnswer
from bench.login import LoggedIn, LoggingIn
from bench.memory import Memory
from bench.report import FOOTNOTE, describe, machine
from bench.sections import Section, Setting
from bench.servers import PEERS, MissingPeer, Server, ServerFailed
from bench.startup import StartUp
from bench.takeover import TakeOver
from bench.webhooks import Webhooks
from tests.support.s3 import S3Error

# What leaves much to be written back comes last, so that it does not slow others.
SECTIONS: tuple[Section, ...] = (
    Comparison(),
    Encryption(),
    LoggedIn(),
    LoggingIn(),
    OnS3(),
    OnPostgresql(),
    OnReplicas(),
    Webhooks(),
    Growth(),
    StartUp(),
    TakeOver(),
    Collection(),
    CollectionOnS3(),
    Memory(),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print tables, and return the exit status."""
    options = _parse(arguments)
    chosen = {section: _chosen(section, options.only or [""]) for section in SECTIONS}
    chosen = {section: names for section, names in chosen.items() if names}
    if not chosen:
        print(f"bench: nothing is like {' or '.join(map(repr, options.only))}; there are:", file=sys.stderr)
        print(_names(), file=sys.stderr)
        return 2
    peers = _peers(options.peer)
    programs = list(dict.fromkeys(one for section in chosen for one in section.programs(peers)))
    began, facts = time.monotonic(), machine()
    results: dict[str, object] = {}
    try:
        print(describe(facts, programs), flush=True)
        with tempfile.TemporaryDirectory(prefix="stowage-bench-", dir=options.folder) as folder:
            setting = Setting(Path(folder), options.seconds, peers)
            for section, names in chosen.items():
                results[section.key] = section.measure(names, setting)
    except (Inconsistent, MissingPeer, S3Error, ServerFailed, UnexpectedAnswer) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(f"\n{FOOTNOTE}\nAll took {time.monotonic() - began:.0f} s.")
    if options.json:
        versions = {one.name: one.version() for one in programs}
        everything = {"machine": facts, "versions": versions, "seconds": options.seconds, **results}
        options.json.write_text(json.dumps(everything, indent=2) + "\n")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench",
        description="Measure Stowage beside other registries on this machine, in turns.",
        epilog=f"What there is:\n{_names()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--only",
        action="append",
        metavar="PATTERN",
        help="only what has PATTERN in its name; * and ? are wild; may be given several times",
    )
    parser.add_argument("--seconds", type=_positive, default=1.0, metavar="S", help="how long a round takes [1]")
    parser.add_argument(
        "--peer",
        action="append",
        choices=[*PEERS, "none"],
        help=f"beside which registry, may be given several times [{', '.join(PEERS)}]",
    )
    parser.add_argument(
        "--folder", type=Path, metavar="DIR", help="where the data goes for the run [the system's temporary folder]"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to FILE")
    return parser.parse_args(arguments)


def _positive(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= 60:
        raise argparse.ArgumentTypeError("expected more than 0 and at most 60")
    return seconds


def _peers(asked: Sequence[str] | None) -> tuple[type[Server], ...]:
    return tuple(PEERS[name] for name in dict.fromkeys(asked or PEERS) if name != "none")


def _chosen(section: Section, patterns: Sequence[str]) -> list[str]:
    wild = [f"*{pattern.lower()}*" for pattern in patterns]
    return [name for name in section.names if any(fnmatchcase(name.lower(), one) for one in wild)]


def _names() -> str:
    return "\n".join(f"  {name}" for section in SECTIONS for name in section.names)


if __name__ == "__main__":
    sys.exit(main())
