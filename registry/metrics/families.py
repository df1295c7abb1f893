"""Every figure: name, meaning, labels with all values they can have, and where it stands in a process's memory.

Since each label has few and known values, every figure has a fixed place, so that counting needs no dictionary of
series, and adding up processes no names. Names follow Prometheus' advice: base units, `_total` for counters.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import accumulate, product

REQUEST_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0)
"""Upper bounds of the buckets for whole requests, bodies included, in seconds."""
OPERATION_BOUNDS = (0.00001, 0.000025, 0.0001, 0.00025, 0.001, 0.0025, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0)
"""Upper bounds of the buckets for what storage and database do, in seconds."""
JOB_BOUNDS = (0.01, 0.1, 1.0, 10.0, 60.0, 300.0, 1800.0, 7200.0)
"""Upper bounds of the buckets for runs of jobs, in seconds."""

OTHER = "other"
NO_ROUTE = "none"
"""The route of requests to no endpoint that there is."""
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", OTHER)
CODES = (
    *("200", "201", "202", "204", "206", "304", "307"),
    *(
        "400",
        "401",
        "403",
        "404",
        "405",
        "406",
        "408",
        "409",
        "410",
        "412",
        "413",
        "414",
        "415",
        "416",
        "422",
        "429",
        "431",
    ),
    *("499", "500", "501", "502", "503", "504", "507", OTHER),
)
"""499 is a request whose client went away before it was answered."""
STORAGE_OPERATIONS = ("open", "create_upload", "publish", "size", "delete")


class Kind(Enum):
    """What becomes of a figure when processes are added up, and when one ends.

    COUNTER and HISTOGRAM: added up, and kept when the process ends. GAUGE: added up, gone with the process. LATEST:
    the largest counts, and is kept.
    """

    COUNTER = "counter"
    GAUGE = "gauge"
    LATEST = "latest"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Family:
    """Figures of one name.

    Args:
        name: without the prefix `stowage_`, and without `_total`.
        help: what it tells, in one sentence.
        labels: the names of the labels, each with all values.
        bounds: of a histogram's buckets, ascending, without infinity.
        sparse: series that are zero are left out, since most combinations of labels never come.
    """

    name: str
    help: str
    kind: Kind
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    bounds: tuple[float, ...] = ()
    sparse: bool = False

    @property
    def width(self) -> int:
        """Cells of one series: a histogram's buckets, the last one unbounded, and its sum; else one."""
        return len(self.bounds) + 2 if self.kind is Kind.HISTOGRAM else 1

    @property
    def size(self) -> int:
        """Cells of all series."""
        return math.prod(len(values) for values in self.labels.values()) * self.width

    def series(self) -> Iterator[tuple[tuple[str, ...], int]]:
        """Yield the labels of each series, and its place within the family."""
        for number, values in enumerate(product(*self.labels.values())):
            yield values, number * self.width

    def at(self, *values: str) -> int:
        """Return the place of a series within the family. Raises ValueError for a label that is not known."""
        number = 0
        for value, known in zip(values, self.labels.values(), strict=True):
            number = number * len(known) + known.index(value)
        return number * self.width


def families(routes: Sequence[str], jobs: Sequence[str]) -> tuple[Family, ...]:
    """Return every family of a server with these routes and jobs, gauges first."""
    by_route = {"route": routes, "method": METHODS}
    return (
        Family("http_connections", "Open connections.", Kind.GAUGE),
        Family(
            "http_requests_in_progress",
            "Requests that wait: for a body, the disk, the database, or a client that takes its answer.",
            Kind.GAUGE,
            {"route": routes},
        ),
        Family("cache_bytes", "Memory that caches take.", Kind.GAUGE, {"cache": ("blobs",)}),
        Family("event_watchers", "Clients that follow events on /api/v1/watch.", Kind.GAUGE),
        Family(
            "http_requests",
            "Requests answered or given up. Code 499: the client went away before its answer.",
            Kind.COUNTER,
            {**by_route, "code": CODES},
            sparse=True,
        ),
        Family(
            "http_request_duration_seconds",
            "From a request's head to the end of its answer, both bodies included.",
            Kind.HISTOGRAM,
            by_route,
            REQUEST_BOUNDS,
            sparse=True,
        ),
        Family("http_request_bytes", "Bytes of requests' bodies.", Kind.COUNTER, by_route, sparse=True),
        Family("http_response_bytes", "Bytes of answers' bodies.", Kind.COUNTER, by_route, sparse=True),
        Family("http_connections_accepted", "Connections accepted.", Kind.COUNTER),
        Family("http_responses_cut", "Answers that ended before their end.", Kind.COUNTER),
        Family("cache_hits", "Content found in a cache.", Kind.COUNTER, {"cache": ("blobs",)}),
        Family("cache_misses", "Content looked for in a cache in vain.", Kind.COUNTER, {"cache": ("blobs",)}),
        Family(
            "storage_operation_duration_seconds",
            "Operations of the blob storage; publish makes an upload's bytes durable.",
            Kind.HISTOGRAM,
            {"operation": STORAGE_OPERATIONS},
            OPERATION_BOUNDS,
        ),
        Family(
            "storage_errors",
            "Operations that failed because the storage is full or does not work.",
            Kind.COUNTER,
            {"operation": STORAGE_OPERATIONS},
        ),
        Family(
            "database_read_duration_seconds",
            "Reads of the database, of which one a second is measured in each worker.",
            Kind.HISTOGRAM,
            bounds=OPERATION_BOUNDS,
        ),
        Family(
            "database_write_duration_seconds",
            "Writes to the database, until they are committed.",
            Kind.HISTOGRAM,
            bounds=OPERATION_BOUNDS,
        ),
        Family(
            "database_write_errors",
            "Writes that failed because the database is full or does not work.",
            Kind.COUNTER,
        ),
        Family("database_batches", "Commits: writes that come together share one.", Kind.COUNTER),
        Family(
            "job_duration_seconds",
            "Runs of background jobs, failed ones too.",
            Kind.HISTOGRAM,
            {"name": jobs},
            JOB_BOUNDS,
        ),
        Family("job_failures", "Runs of background jobs that failed.", Kind.COUNTER, {"name": jobs}),
        Family(
            "job_last_success_timestamp_seconds",
            "When a background job last succeeded, since the server was started.",
            Kind.LATEST,
            {"name": jobs},
            sparse=True,
        ),
        Family("collection_objects", "Blobs that collection deleted.", Kind.COUNTER),
        Family("collection_bytes", "Bytes of the blobs that collection deleted.", Kind.COUNTER),
        Family("scrub_blobs", "Blobs that the server scrubbed.", Kind.COUNTER),
        Family("scrub_bytes", "Bytes that the server read to scrub blobs.", Kind.COUNTER),
        Family(
            "scrub_faults",
            "Blobs that were found damaged, each time that they were; unreadable ones are not quarantined.",
            Kind.COUNTER,
            {"fault": ("content", "size", "missing", "unreadable")},
        ),
        Family(
            "quota_refusals",
            "Pushes refused because their project would hold more than its quota.",
            Kind.COUNTER,
            {"quota": ("bytes", "tags")},
        ),
        Family(
            "webhook_tries",
            "Messages to webhooks: delivered, failed (and tried again, or not), and events given up.",
            Kind.COUNTER,
            {"outcome": ("delivered", "failed", "given_up")},
        ),
        Family(
            "tags_dropped",
            "Tags that jobs removed: by retention's schedules, or because their time was over.",
            Kind.COUNTER,
            {"by": ("retention", "expiry")},
        ),
        Family(
            "undo_requests",
            "Rollbacks, undeletions and purges that the server was asked for; failed ones may be done in part.",
            Kind.COUNTER,
            {"action": ("rollback", "undelete", "purge"), "result": ("done", "dry_run", "refused", "failed")},
        ),
        Family("audit_lost_entries", "Refusals and pulls that the audit log does not tell of.", Kind.COUNTER),
        Family("event_lost_pulls", "Pulls that no event tells of, although events.pulls is on.", Kind.COUNTER),
        Family("access_log_dropped_lines", "Lines of the access log that nobody took in time.", Kind.COUNTER),
    )


class Layout:
    """Where each family stands in a process's memory.

    Attributes:
        cells: how many cells there are.
        gauges: how many of them, from the first on, are forgotten when the process ends.
    """

    def __init__(self, all_families: Sequence[Family]) -> None:
        ends = list(accumulate(family.size for family in all_families))
        self.families = {
            family.name: (family, end - family.size) for family, end in zip(all_families, ends, strict=True)
        }
        self.cells = ends[-1]
        self.gauges = sum(family.size for family in all_families if family.kind is Kind.GAUGE)
        firsts = [start for family, start in self.families.values() if family.kind is Kind.GAUGE]
        if any(start >= self.gauges for start in firsts):
            raise ValueError("gauges come first")

    def at(self, name: str, *labels: str) -> int:
        """Return the place of a series. Raises KeyError, ValueError for what is not known."""
        family, start = self.families[name]
        return start + family.at(*labels)
