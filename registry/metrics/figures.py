"""What one process counts and measures."""

import asyncio
import time
from bisect import bisect_left
from collections.abc import Callable

from registry.metrics.board import Board
from registry.metrics.families import CODES, METHODS, NO_ROUTE, OTHER, REQUEST_BOUNDS, Kind

Duration = Callable[[float], None]
"""Records how many seconds something took."""
Count = Callable[[], None]
"""Counts one more."""

_SUM = len(REQUEST_BOUNDS) + 1


class Figures:
    """The figures of one process, in its region of the board.

    Counting a request takes about a microsecond: a place that is looked up once for each kind of request, and a few
    additions there.
    """

    def __init__(self, board: Board, region: int) -> None:
        self.board = board
        self._layout = board.layout
        self._cells = board.open(region)
        self._requests: dict[tuple[str, str, int], tuple[int, int, int, int]] = {}
        self._sources: list[tuple[int, bool, Callable[[], float]]] = []
        self._callbacks: list[Callable[[], None]] = []
        self._seen: dict[int, float] = {}
        self._connections = self._layout.at("http_connections")
        self._accepted = self._layout.at("http_connections_accepted")
        self._cut = self._layout.at("http_responses_cut")
        self._waiting = {
            route: self._layout.at("http_requests_in_progress", route)
            for route in self._layout.families["http_requests_in_progress"][0].labels["route"]
        }

    def request(self, route: str, method: str, code: int, seconds: float, received: int, sent: int) -> None:
        """Count a request that is over.

        Args:
            received: bytes of its body.
            sent: bytes of its answer's body.
        """
        places = self._requests.get((route, method, code))
        if places is None:
            places = self._places(route, method, code)
        requests, duration, into, out = places
        cells = self._cells
        cells[requests] += 1
        cells[duration + bisect_left(REQUEST_BOUNDS, seconds)] += 1
        cells[duration + _SUM] += seconds
        if received:
            cells[into] += received
        cells[out] += sent

    def refused(self, method: str, code: int) -> None:
        """Count a request that was refused before it was one, so that neither its time nor its size means anything."""
        self._cells[self._places(NO_ROUTE, method, code)[0]] += 1

    def _places(self, route: str, method: str, code: int) -> tuple[int, int, int, int]:
        labels = (route, method if method in METHODS else OTHER)
        text = str(code) if str(code) in CODES else OTHER
        places = (
            self._layout.at("http_requests", *labels, text),
            self._layout.at("http_request_duration_seconds", *labels),
            self._layout.at("http_request_bytes", *labels),
            self._layout.at("http_response_bytes", *labels),
        )
        self._requests[route, method, code] = places
        return places

    def waits(self, route: str, change: int) -> None:
        """Count a request that begins to wait (1), or one that did and is over (-1)."""
        self._cells[self._waiting[route]] += change

    def cut(self) -> None:
        """Count an answer that ended before its end."""
        self._cells[self._cut] += 1

    def connections(self, now: int, *, accepted: bool) -> None:
        """Tell how many connections are open, after one came or went."""
        self._cells[self._connections] = now
        if accepted:
            self._cells[self._accepted] += 1

    def job(self, name: str, seconds: float, succeeded: bool) -> None:
        """Count a run of a background job."""
        self.duration("job_duration_seconds", name)(seconds)
        if succeeded:
            self._cells[self._layout.at("job_last_success_timestamp_seconds", name)] = time.time()
        else:
            self._cells[self._layout.at("job_failures", name)] += 1

    def duration(self, name: str, *labels: str) -> Duration:
        """Return what records seconds in a histogram."""
        family, start = self._layout.families[name]
        first, bounds, cells = start + family.at(*labels), family.bounds, self._cells
        total = first + len(bounds) + 1

        def record(seconds: float) -> None:
            cells[first + bisect_left(bounds, seconds)] += 1
            cells[total] += seconds

        return record

    def counter(self, name: str, *labels: str) -> Count:
        """Return what adds one to a counter."""
        place, cells = self._layout.at(name, *labels), self._cells

        def add() -> None:
            cells[place] += 1

        return add

    def counters(self, name: str) -> Callable[..., None]:
        """Return what adds one to that series of a counter whose labels it is called with."""
        family, start = self._layout.families[name]
        places, cells = {labels: start + place for labels, place in family.series()}, self._cells

        def add(*labels: str) -> None:
            cells[places[labels]] += 1

        return add

    def follow(self, source: Callable[[], float], name: str, *labels: str) -> None:
        """Take a figure from `source` whenever `look` is called: what somebody else counts in this process, from 0."""
        family = self._layout.families[name][0]
        self._sources.append((self._layout.at(name, *labels), family.kind is Kind.COUNTER, source))

    def every_second(self, callback: Callable[[], None]) -> None:
        """Have `callback` called by `keep_looking`."""
        self._callbacks.append(callback)

    async def keep_looking(self) -> None:
        """Ask the sources every second, and call what is to be called."""
        while True:
            self.look()
            for callback in self._callbacks:
                callback()
            await asyncio.sleep(1)

    def look(self) -> None:
        """Ask the sources. To be called at the end, too."""
        for place, is_counter, source in self._sources:
            value = source()
            if is_counter:
                self._cells[place] += value - self._seen.get(place, 0)
                self._seen[place] = value
            else:
                self._cells[place] = value
