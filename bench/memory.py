"""How much memory servers take when many large blobs are pushed and pulled at the same time."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from bench.contents import LargeContent, ask, head, push_stream
from bench.load import Operation, Request, run
from bench.scenarios import check_content
from bench.sections import Figures, Section, Setting
from bench.servers import Server, Stowage
from bench.targets import Target

_MIB = 1024 * 1024
_TARGET = Target(200, " MiB", at_most=True)
_REPOSITORY = "bench/memory"


class Memory(Section):
    """Uploads and downloads at once; the greatest resident size of each process.

    Args:
        transfers: uploads, and as many downloads, at the same time.
        mib: the size of each.
    """

    key = "memory"

    def __init__(self, transfers: int = 32, mib: int = 64) -> None:
        self._transfers, self._mib = transfers, mib
        self.names = (f"memory of {transfers} uploads and {transfers} downloads of {mib} MiB",)

    def programs(self, peers: Sequence[type[Server]]) -> Sequence[type[Server]]:
        """Return Stowage and the peers."""
        return [Stowage, *peers]

    def measure(self, chosen: Sequence[str], setting: Setting) -> list[Figures]:
        """Measure, print and return the figures."""
        transfers = f"{self._transfers} uploads and {self._transfers} downloads of {self._mib} MiB at once"
        print(f"\nPeak RSS in MiB, {transfers}")
        print(f"{'':18}{'up':>6}{'down MiB/s':>12}{'idle':>8}{'peak':>8}  of each process; target", flush=True)
        content = LargeContent(self._mib * _MIB)
        return [self._measure(kind, content, setting) for kind in self.programs(setting.peers)]

    def _measure(self, kind: type[Server], content: LargeContent, setting: Setting) -> Figures:
        own = setting.folder / kind.name
        with ExitStack() as ending:
            ending.callback(shutil.rmtree, own)
            server = kind(own)
            ending.callback(server.stop)
            server.start()
            idle = server.peak_mib()
            transfers = _Transfers(content, self._transfers)
            run(server.port, iter([transfers.prepare()]))
            load = run(server.port, transfers.work(), connections=2 * self._transfers)
            peaks = list(server.peaks_mib().values())
            run(server.port, iter([transfers.check()]))
        # With workers the first process only looks after them; the target is for those that serve.
        serving = peaks[1:] or peaks
        judged = [_TARGET.judge(max(serving))] if kind is Stowage else []
        up = self._transfers * self._mib / load.elapsed
        down = len(load.taken) * self._mib / load.elapsed - up
        each = " / ".join(f"{one:,.0f}" for one in peaks)
        text = "".join(f"; a worker {one.text}" for one in judged)
        line = f"{kind.name:18}{up:>6,.0f}{down:>12,.0f}{idle:>8,.0f}{sum(peaks):>8,.0f}  {each}{text}"
        print(line, flush=True)
        return {
            "name": f"{self.names[0]}, {kind.name}",
            "up_mib_per_second": up,
            "down_mib_per_second": down,
            "idle_mib": idle,
            "peaks_mib": peaks,
            "targets": [one._asdict() for one in judged],
        }


class _Transfers:
    """Uploads that all begin at once, and downloads of one blob for as long as any upload is under way."""

    def __init__(self, content: LargeContent, count: int) -> None:
        self._content = content
        self._count = count
        self._under_way = 0

    def prepare(self) -> Operation:
        """Push what is downloaded."""
        parts, digest = self._content.renew()
        self._target = f"/v2/{_REPOSITORY}/blobs/{digest}"
        yield from push_stream(_REPOSITORY, parts, digest)

    def work(self) -> Iterator[Operation]:
        """Yield the uploads, then downloads: at least as many."""
        uploads = [self._upload() for _ in range(self._count)]
        self._under_way = self._count
        yield from uploads
        request = Request(head("GET", self._target), 200, self._content.size)
        for _ in range(self._count):
            yield ask(request)
        while self._under_way:
            yield ask(request)

    def check(self) -> Operation:
        """Show that an upload arrived whole."""
        yield from check_content(f"/v2/{_REPOSITORY}/blobs/{self._last}", self._last)

    def _upload(self) -> Operation:
        parts, digest = self._content.renew()
        yield from push_stream(_REPOSITORY, parts, digest)
        self._last = digest
        self._under_way -= 1
