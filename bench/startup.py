"""How long a server takes from its start to its first answer."""

import os
import shutil
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.filling import Filled, filled_server, tag_name
from bench.sections import Figures, Section, Setting
from bench.servers import Server, Stowage, get_status
from bench.targets import Target

_TARGET = Target(1.5, " s", at_most=True)
_ROUNDS = 3
_TAGS = 1000
"""Tags of each repository."""
_ASK_EVERY_S = 0.002


class StartUp(Section):
    """From starting the process until a GET of a manifest was answered with 200.

    Args:
        manifests: how many the full server has, each with a tag and a blob of its own.
    """

    key = "start-up"

    def __init__(self, manifests: int = 1_000_000) -> None:
        self._manifests = manifests
        self.names = (f"start-up with {manifests:,} manifests",)

    def programs(self, peers: Sequence[type[Server]]) -> Sequence[type[Server]]:
        """Return Stowage: peers keep nothing that they would have to open."""
        return [Stowage]

    def measure(self, chosen: Sequence[str], setting: Setting) -> list[Figures]:
        """Fill, measure, print and return the figures."""
        print("\nFrom the start of the process to the first manifest, s")
        print(f"{'':56}{'median':>8}{'longest':>9}  target", flush=True)
        with ExitStack() as ending:
            servers: list[tuple[Server, str]] = []
            for name, tags in (("one", 1), ("full", self._manifests)):
                folder = setting.folder / name
                ending.callback(shutil.rmtree, folder, ignore_errors=True)
                per_repository = min(tags, _TAGS)
                repositories = (Filled(f"filled/r{number}", per_repository) for number in range(tags // per_repository))
                server = filled_server(folder, repositories, own_layers=True)
                ending.callback(server.stop)
                servers.append((server, f"/v2/filled/r0/manifests/{tag_name(per_repository - 1)}"))
            os.sync()  # pages that are still to be written can't be dropped
            return _in_turns(*servers, full=self.names[0])


def time_to_answer(server: Server, target: str) -> float:
    """Start the server and return the seconds until it answered a GET of `target` with 200. It is stopped again.

    Raises:
        ServerFailed: it ended, or never answered.
    """
    began = time.perf_counter()
    server.launch()
    server.wait_for(lambda: get_status(server.port, target) == 200, every=_ASK_EVERY_S)
    taken = time.perf_counter() - began
    server.stop()
    return taken


def _in_turns(one: tuple[Server, str], many: tuple[Server, str], *, full: str) -> list[Figures]:
    cases = {"start-up with one manifest": one, full: many, f"{full}, file not in memory": many}
    taken: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(_ROUNDS):
        for name, (server, target) in cases.items():
            if name.endswith("not in memory"):
                _drop_pages(server.folder / "data")
            taken[name].append(time_to_answer(server, target))
    found: list[Figures] = []
    for name, seconds in taken.items():
        median = statistics.median(seconds)
        judged = [_TARGET.judge(median)] if full in name else []
        text = "".join(one.text for one in judged)
        print(f"{name:56}{median:>8.2f}{max(seconds):>9.2f}  {text}".rstrip(), flush=True)
        found.append({"name": name, "seconds": seconds, "targets": [one._asdict() for one in judged]})
    return found


def _drop_pages(folder: Path) -> None:
    """Have the kernel forget the files of the database, as after the machine was restarted."""
    for file in folder.glob("stowage.sqlite3*"):
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
