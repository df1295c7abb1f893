"""Memory that processes share: adding up, what stays of a process and what goes with it."""

import os
import time
from collections.abc import Iterator

import pytest

from registry.metrics.board import Board
from registry.metrics.families import NO_ROUTE, Kind, Layout, families
from registry.metrics.figures import Figures
from registry.metrics.processes import process


@pytest.fixture
def board() -> Iterator[Board]:
    made = Board(Layout(families(["manifest", NO_ROUTE], ["sweep"])))
    yield made
    made.close()


def total(board: Board, name: str, *labels: str) -> float:
    return board.totals()[board.layout.at(name, *labels)]


def test_figures_of_all_processes_are_added_up(board: Board) -> None:
    regions = [board.take() for _ in range(3)]
    for number, region in enumerate(regions):
        pid = os.fork()
        if pid == 0:
            try:
                figures = Figures(board, region)
                for _ in range(1000 * (number + 1)):
                    figures.request("manifest", "GET", 200, 0.003, 10, 20)
                figures.connections(number, accepted=True)
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
    assert total(board, "http_requests", "manifest", "GET", "200") == 6000
    assert total(board, "http_request_bytes", "manifest", "GET") == 60_000
    assert total(board, "http_response_bytes", "manifest", "GET") == 120_000
    assert total(board, "http_connections") == 3
    assert total(board, "http_connections_accepted") == 3
    assert len(board.processes()) == 3


def test_what_was_counted_outlives_its_process_and_what_was_true_of_it_does_not(board: Board) -> None:
    region = board.take()
    figures = Figures(board, region)
    figures.request("manifest", "GET", 200, 1, 0, 0)
    figures.connections(7, accepted=False)
    figures.waits("manifest", 1)
    figures.job("sweep", 2.0, True)
    assert board.processes() == [(region, os.getpid())]
    board.release(region)
    assert board.processes() == []
    assert total(board, "http_requests", "manifest", "GET", "200") == 1
    assert total(board, "http_connections") == total(board, "http_requests_in_progress", "manifest") == 0
    assert total(board, "job_last_success_timestamp_seconds", "sweep") > time.time() - 60
    assert board.take() == region  # the next process goes on where this one ended
    Figures(board, region).request("manifest", "GET", 200, 1, 0, 0)
    assert total(board, "http_requests", "manifest", "GET", "200") == 2
    assert board.take() != region


def test_of_times_the_latest_counts(board: Board) -> None:
    first, second = Figures(board, board.take()), Figures(board, board.take())
    first.job("sweep", 1.0, True)
    second.job("sweep", 1.0, True)
    second.job("sweep", 1.0, False)
    assert time.time() - 60 < total(board, "job_last_success_timestamp_seconds", "sweep") <= time.time()
    assert total(board, "job_failures", "sweep") == 1


def test_a_source_is_followed_by_what_it_grew_in_this_process(board: Board) -> None:
    region = board.take()
    value = 5
    for _ in range(2):  # one process after the other, each from its own 0
        figures = Figures(board, region)
        figures.follow(lambda: value, "cache_hits", "blobs")
        figures.follow(lambda: value, "cache_bytes", "blobs")
        figures.look()
        figures.look()
    assert total(board, "cache_hits", "blobs") == 10
    assert total(board, "cache_bytes", "blobs") == 5


@pytest.mark.parametrize(("seconds", "bucket"), [(0.0, 0), (0.001, 0), (0.0011, 1), (600.0, 15), (601.0, 16)])
def test_a_bucket_holds_what_is_not_above_its_bound(board: Board, seconds: float, bucket: int) -> None:
    Figures(board, board.take()).request("manifest", "GET", 200, seconds, 0, 0)
    start = board.layout.at("http_request_duration_seconds", "manifest", "GET")
    cells = board.totals()[start : start + 17]
    assert [number for number, count in enumerate(cells) if count] == [bucket]
    assert board.totals()[start + 17] == seconds


def test_labels_that_are_not_known_are_other_or_refused(board: Board) -> None:
    figures = Figures(board, board.take())
    figures.request("manifest", "BREW", 799, 0, 0, 0)
    figures.refused("", 431)
    assert total(board, "http_requests", "manifest", "other", "other") == 1
    assert total(board, "http_requests", NO_ROUTE, "other", "431") == 1
    with pytest.raises(ValueError, match="unknown-job"):
        figures.duration("job_duration_seconds", "unknown-job")
    with pytest.raises(KeyError):
        figures.counter("no_such_family")


def test_families_do_not_overlap_and_are_named_as_prometheus_advises() -> None:
    layout = Layout(families(["a", "b"], ["c"]))
    end = 0
    for name, (family, start) in layout.families.items():
        assert start == end
        end = start + family.size
        assert len({at for _, at in family.series()}) * family.width == family.size
        assert [family.at(*values) for values, _ in family.series()] == [at for _, at in family.series()]
        assert not name.endswith("_total") and name == name.lower()
        assert family.kind is not Kind.HISTOGRAM or name.endswith("_seconds")
        assert list(family.bounds) == sorted(set(family.bounds))
        assert family.help.endswith(".")
    assert layout.cells == end


def test_what_linux_tells_of_a_process() -> None:
    found = process(os.getpid())
    assert found is not None
    assert found.resident > 1_000_000 and found.files > 2 and found.cpu > 0
    assert abs(found.started - time.time()) < 86_400
    again = process(os.getpid())
    assert again is not None and again.started == found.started  # or a change would look like a new process
    assert process(2**22 + 1) is None
