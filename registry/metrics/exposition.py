"""Figures in Prometheus' form. Imported when they are first asked for: the library takes longer than a start should."""

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from registry import __version__
from registry.metrics.board import Board
from registry.metrics.families import Family, Kind
from registry.metrics.processes import Process, process

PREFIX = "stowage_"

Counts = Mapping[str, int]
"""How many there are of each, without the prefix; what nobody could count is left out."""

OfWebhooks = Mapping[str, Mapping[str, float]]
"""Figures of each webhook, by its name."""

_MOST = "100000 are as many or more"
_COUNTED = {
    "upload_sessions": f"Uploads begun and neither finished nor cancelled; {_MOST}",
    "collection_candidates": f"What nothing may need any more and collection has not removed; {_MOST}",
    "blobs_quarantined": f"Blobs that were found damaged and are not served until they are pushed again; {_MOST}",
    "blobs_unverified": f"Blobs whose bytes were never compared with their digests; {_MOST}",
    "events_unplaced": "Events that have no place in the stream yet, which nobody hears of; 10000 are as many or more",
    "events_unplaced_age_seconds": "For how long the first of them has been waiting; 0 where there is none",
    "events_oldest_age_seconds": "How old the oldest event is that is kept; 0 where there is none",
    "backup_held_bytes": "Blobs that nothing names but copies of the database; of more than 100000 blobs a part",
}

_OF_WEBHOOKS = {
    "waiting": "Deliveries that failed and are tried again, or wait behind one",
    "given_up": "Deliveries that were given up, as long as that is kept",
    "behind_events": "Events that the webhook has not come to",
    "behind_seconds": "How old the first event is that was not delivered; 0 where there is none",
    "missed_events": "Events that were dropped before the webhook came to them, by their age",
    "paused": "1 while the webhook is paused",
}


def render(board: Board, accept: str, *, counts: Counts, webhooks: OfWebhooks, maintenance: bool) -> tuple[bytes, str]:
    """Return the text and its Content-Type: OpenMetrics where `accept` asks for it, else Prometheus' own form.

    Args:
        counts: what the database was asked for.
        webhooks: the same of each webhook.
        maintenance: whether the registry is read-only.
    """
    # The library puts what a client says of the version into its answer: so it is told what we say.
    wanted = "application/openmetrics-text; version=1.0.0" if "application/openmetrics-text" in accept else "text/plain"
    encode, content_type = choose_encoder(wanted)
    return encode(_Collector(board, counts, webhooks, maintenance)), content_type


class _Collector(Collector):
    def __init__(self, board: Board, counts: Counts, webhooks: OfWebhooks, maintenance: bool) -> None:
        self._board = board
        self._counts = counts
        self._webhooks = webhooks
        self._maintenance = maintenance

    def collect(self) -> Iterator[Metric]:
        """Yield every family, those that are empty too."""
        build = GaugeMetricFamily(f"{PREFIX}build_info", "What is running.", labels=["version", "python"])
        build.add_metric([__version__, platform.python_version()], 1)
        yield build
        totals = self._board.totals()
        for family, start in self._board.layout.families.values():
            yield _metric(family, totals[start : start + family.size])
        for name, meaning in _COUNTED.items():
            gauge = GaugeMetricFamily(f"{PREFIX}{name}", f"{meaning}.")
            if (count := self._counts.get(name)) is not None:
                gauge.add_metric([], count)
            yield gauge
        for name, meaning in _OF_WEBHOOKS.items():
            gauge = GaugeMetricFamily(f"{PREFIX}webhook_{name}", f"{meaning}.", labels=["webhook"])
            for webhook, figures in self._webhooks.items():
                gauge.add_metric([webhook], figures[name])
            yield gauge
        yield GaugeMetricFamily(f"{PREFIX}maintenance", "1 while the registry is read-only.", self._maintenance)
        yield from self._of_processes()

    def _of_processes(self) -> Iterator[Metric]:
        pids = {f"worker-{region + 1}": pid for region, pid in self._board.processes()}
        if self._board.owner not in pids.values():
            pids["supervisor"] = self._board.owner
        found = ((name, process(pid)) for name, pid in pids.items())
        return _process_metrics([(name, one) for name, one in found if one is not None])


def _metric(family: Family, cells: Sequence[float]) -> Metric:
    name, labels = f"{PREFIX}{family.name}", list(family.labels)
    if family.kind is Kind.HISTOGRAM:
        return _histogram(HistogramMetricFamily(name, family.help, labels=labels), family, cells)
    kind = CounterMetricFamily if family.kind is Kind.COUNTER else GaugeMetricFamily
    metric = kind(name, family.help, labels=labels)
    for values, place in family.series():
        if cells[place] or not family.sparse:
            metric.add_metric(values, cells[place])
    return metric


def _histogram(metric: HistogramMetricFamily, family: Family, cells: Sequence[float]) -> Metric:
    names = [*map(floatToGoString, family.bounds), "+Inf"]
    for values, place in family.series():
        counts = list(accumulate(cells[place : place + len(names)]))
        if counts[-1] or not family.sparse:
            metric.add_metric(values, list(zip(names, counts, strict=True)), cells[place + len(names)])
    return metric


def _process_metrics(found: Sequence[tuple[str, Process]]) -> Iterator[Metric]:
    """Yield a family for each figure of the processes. Their sum is the server's; a new worker begins anew."""
    labels = ["process"]
    cpu = CounterMetricFamily(f"{PREFIX}process_cpu_seconds", "CPU time, in user and system mode.", labels=labels)
    for name, one in found:
        cpu.add_metric([name], one.cpu)
    yield cpu
    gauges: tuple[tuple[str, str, Callable[[Process], float]], ...] = (
        ("resident_memory_bytes", "Memory in use; what processes share counts in each.", lambda one: one.resident),
        ("virtual_memory_bytes", "Memory mapped.", lambda one: one.virtual),
        ("threads", "Threads.", lambda one: one.threads),
        ("open_fds", "Open file descriptors.", lambda one: one.files),
        ("max_fds", "Most file descriptors that may be open; 0 is without limit.", lambda one: one.most_files),
        ("start_time_seconds", "When the process was started, in seconds since the epoch.", lambda one: one.started),
    )
    for suffix, meaning, value in gauges:
        gauge = GaugeMetricFamily(f"{PREFIX}process_{suffix}", meaning, labels=labels)
        for name, one in found:
            gauge.add_metric([name], value(one))
        yield gauge
