"""What a fleet runs on: blobs in S3, facts in PostgreSQL, several replicas."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import ClassVar

from bench.comparison import compare, judge
from bench.on_postgresql import Replicas, StowageOnPostgresql, new_cluster
from bench.on_s3 import DistributionOnS3, StowageOnS3
from bench.report import Pair, figures, header, row
from bench.scenarios import BlobGet4KiB, ImagePush, LargePull, LargePush, ManifestGet, Scenario
from bench.sections import Figures, Section, Setting
from bench.servers import Distribution, Server, Stowage
from tests.support.s3 import S3Server

_OURS, _THEIRS = Stowage.name, Distribution.name
_LARGE_MIB = 256


class _ManifestOnS3(ManifestGet):
    """A manifest by its tag."""

    name = "S3: manifest GET by tag"
    least = 5


class _BlobOnS3(BlobGet4KiB):
    """A small blob."""

    name = "S3: blob GET 4 KiB"
    least = 3


class _ImageOnS3(ImagePush):
    """Two blobs of 4 KiB and a manifest that is tagged."""

    name = "S3: push of a small image"
    least = 3


class _PullFromS3(LargePull):
    """A large blob, sent by the server and not by redirect."""

    name = f"S3: pull of {_LARGE_MIB} MiB, proxied"
    mib = _LARGE_MIB
    least = 1
    most_cpu = 0


class _PushToS3(LargePush):
    """A large blob: POST, one PATCH that streams, PUT."""

    name = f"S3: push of {_LARGE_MIB} MiB"
    mib = _LARGE_MIB
    least = 2
    most_cpu = 0


class _ManifestOnPostgresql(ManifestGet):
    """A manifest by its tag, beside distribution on a folder."""

    name = "PostgreSQL: manifest GET by tag"
    least = 1.5


class _ImageOnReplicas(ImagePush):
    """The same as S3's, on three replicas behind nginx."""

    name = "replicas: push of a small image"
    least = 0  # no target: on one machine, three replicas share its cores


class OnS3(Section):
    """Stowage and distribution v3, both with their blobs in the one bucket of a versitygw."""

    key = "s3"
    scenarios: ClassVar[tuple[type[Scenario], ...]] = (_ManifestOnS3, _BlobOnS3, _ImageOnS3, _PullFromS3, _PushToS3)
    names = tuple(one.name for one in scenarios)

    def programs(self, peers: Sequence[type[Server]]) -> Sequence[type[Server]]:
        """Return Stowage, and distribution if it is asked for."""
        return [Stowage, *(one for one in peers if one is Distribution)]

    def measure(self, chosen: Sequence[str], setting: Setting) -> list[Figures]:
        """Measure, print and return the figures."""
        print(header("On S3 (versitygw on this machine); above 1 Stowage is faster", "Stowage", "distrib."), flush=True)
        makers: dict[str, Callable[[S3Server, Path], Server]] = {_OURS: StowageOnS3}
        if Distribution in setting.peers:
            makers[_THEIRS] = DistributionOnS3
        with S3Server(setting.folder / "versitygw") as store:
            kinds = {name: partial(make, store) for name, make in makers.items()}
            return [measured(one, kinds, setting) for one in self.scenarios if one.name in chosen]


class OnPostgresql(Section):
    """Stowage with its facts in PostgreSQL and its blobs in a folder, beside distribution v3 on a folder."""

    key = "postgresql"
    scenarios: ClassVar[tuple[type[Scenario], ...]] = (_ManifestOnPostgresql,)
    names = tuple(one.name for one in scenarios)

    def programs(self, peers: Sequence[type[Server]]) -> Sequence[type[Server]]:
        """Return Stowage, and distribution if it is asked for."""
        return [Stowage, *(one for one in peers if one is Distribution)]

    def measure(self, chosen: Sequence[str], setting: Setting) -> list[Figures]:
        """Measure, print and return the figures."""
        title = "On PostgreSQL, beside distribution on a folder; above 1 Stowage is faster"
        print(header(title, "Stowage", "distrib."), flush=True)
        with ExitStack() as ending:
            cluster = new_cluster()
            ending.callback(cluster.remove)
            cluster.start()
            kinds: dict[str, Callable[[Path], Server]] = {
                _OURS: lambda folder: StowageOnPostgresql(cluster.create(empty=True), folder)
            }
            if Distribution in setting.peers:
                kinds[_THEIRS] = Distribution
            return [measured(one, kinds, setting) for one in self.scenarios if one.name in chosen]


class OnReplicas(Section):
    """Three replicas on S3 and PostgreSQL behind nginx, beside one distribution v3 on the same S3."""

    key = "replicas"
    names = (_ImageOnReplicas.name,)

    def programs(self, peers: Sequence[type[Server]]) -> Sequence[type[Server]]:
        """Return Stowage, and distribution if it is asked for."""
        return [Stowage, *(one for one in peers if one is Distribution)]

    def measure(self, chosen: Sequence[str], setting: Setting) -> list[Figures]:
        """Measure, print and return the figures."""
        title = "Three replicas on S3 and PostgreSQL behind nginx, beside one distribution on the same S3"
        print(header(title, "Stowage", "distrib."), flush=True)
        with ExitStack() as ending:
            cluster = new_cluster()
            ending.callback(cluster.remove)
            cluster.start()
            store = ending.enter_context(S3Server(setting.folder / "versitygw"))
            kinds: dict[str, Callable[[Path], Server]] = {_OURS: partial(Replicas, cluster, store)}
            if Distribution in setting.peers:
                kinds[_THEIRS] = partial(DistributionOnS3, store)
            return [measured(_ImageOnReplicas, kinds, setting)]


def measured(scenario: type[Scenario], kinds: Mapping[str, Callable[[Path], Server]], setting: Setting) -> Figures:
    """Measure a scenario, print its row and return its figures."""
    results = compare(scenario, kinds, setting)
    ours, theirs = results[_OURS], results.get(_THEIRS)
    pair = Pair(
        scenario.name, ours, theirs, judge(scenario, ours, theirs) if theirs is not None and scenario.least else ()
    )
    print(row(scenario, pair), flush=True)
    return figures(scenario.name, scenario, results, [pair])
