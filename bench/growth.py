"""How much slower operations become as tags and repositories become many."""

import itertools
import json
import random
import shutil
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar, NamedTuple

from bench.contents import Image, ask, head, push_image
from bench.filling import Filled, filled_server, tag_name
from bench.load import Operation, Request
from bench.measure import Subject, measure_in_turns
from bench.report import Pair, figures, header, rate_ratio, row
from bench.scenarios import ImagePush, Repeated, Scenario, check_content, same
from bench.sections import Figures, Section, Setting
from bench.servers import Server, Stowage
from bench.targets import Target

_TARGET = Target(1.3, at_most=True)
_MANY = "grown/tags"
_DIFFERENT = 5000
"""Different requests, sent again and again in random order, of an operation that takes one of many things."""


class Size(NamedTuple):
    """What a server holds: one repository with `tags` tags, and `repositories` with one tag each."""

    tags: int
    repositories: int


class _Grown(Scenario):
    """An operation on a server that was filled. `within`: in the one repository with many tags, else across all."""

    def __init__(self, size: Size, *, within: bool) -> None:
        super().__init__()
        self.size = size
        self.within = within

    def pick(self) -> tuple[str, str]:
        """Return repository and tag of a manifest."""
        if self.within:
            return _MANY, tag_name(random.randrange(self.size.tags))
        return _name(random.randrange(self.size.repositories)), tag_name(0)


class _TagGet(_Grown):
    """A manifest by its tag, which is another each time."""

    name = "tag GET"

    def __init__(self, size: Size, *, within: bool) -> None:
        super().__init__(size, within=within)
        self._targets = ["/v2/{}/manifests/{}".format(*self.pick()) for _ in range(_DIFFERENT)]

    def work(self) -> Iterator[Operation]:
        return map(ask, itertools.cycle([Request(head("GET", target), 200) for target in self._targets]))

    def check(self) -> Operation:
        answer = yield Request(head("HEAD", self._targets[0]), 200)
        yield from check_content(self._targets[0], answer.field(b"docker-content-digest").decode())


class _Page(_Grown, Repeated):
    """As many from the middle of a list as half of the shorter list: as much work on both."""

    key: ClassVar[str]

    def __init__(self, size: Size, *, within: bool) -> None:
        super().__init__(size, within=within)
        self.length = min(size) // 2
        self.request = Request(head("GET", self.target(f"n={self.length}&last={self.item(self.middle())}")), 200)

    @abstractmethod
    def target(self, query: str) -> str:
        """Return path and query of the list."""

    @abstractmethod
    def item(self, number: int) -> str:
        """Return an item of the list."""

    @abstractmethod
    def middle(self) -> int:
        """Return the number of the item that the page follows."""

    def check(self) -> Operation:
        body = bytearray()
        yield self.request._replace(sink=body.extend)
        first = self.middle() + 1
        same(json.loads(body)[self.key], [self.item(number) for number in range(first, first + self.length)])


class _TagPage(_Page):
    """Tags of the repository that has many."""

    name = "page of tags"
    key = "tags"

    def target(self, query: str) -> str:
        return f"/v2/{_MANY}/tags/list?{query}"

    def item(self, number: int) -> str:
        return tag_name(number)

    def middle(self) -> int:
        return self.size.tags // 2 - 1


class _CatalogPage(_Page):
    """Repositories."""

    name = "page of the catalog"
    key = "repositories"

    def target(self, query: str) -> str:
        return f"/v2/_catalog?{query}"

    def item(self, number: int) -> str:
        return _name(number)

    def middle(self) -> int:
        return self.size.repositories // 2 - 1


class _Push(_Grown, ImagePush):
    """An image with a new tag."""

    name = "push of a small image"

    def push(self, number: int, item: Image) -> Operation:
        self._last = item
        self.repository, _ = self.pick()
        return push_image(self.repository, f"pushed{number}", item)


_OPERATIONS: tuple[type[_Grown], ...] = (_TagGet, _TagPage, _CatalogPage, _Push)  # what adds rows comes last


class Growth(Section):
    """Each operation on a server with little and a server with much, in turns.

    Args:
        small: tags in one repository, and repositories, of the one.
        large: of the other: once so many tags, once so many repositories.
    """

    key = "growth"

    def __init__(self, small: int = 100, large: int = 100_000) -> None:
        self._small, self._large = small, large
        self._kinds = {"tags": Size(large, small), "repositories": Size(small, large)}
        self.names = tuple(_title(grown, one) for grown in self._kinds for one in _OPERATIONS)

    def programs(self, peers: Sequence[type[Server]]) -> Sequence[type[Server]]:
        """Return Stowage: peers are not filled."""
        return [Stowage]

    def measure(self, chosen: Sequence[str], setting: Setting) -> list[Figures]:
        """Fill, measure, print and return the figures."""
        found: list[Figures] = []
        for grown, size in self._kinds.items():
            operations = [one for one in _OPERATIONS if _title(grown, one) in chosen]
            if operations:
                found += self._measure(grown, size, operations, setting)
        return found

    def _measure(
        self, grown: str, size: Size, operations: Sequence[type[_Grown]], setting: Setting
    ) -> Iterator[Figures]:
        where = "tags in one repository" if grown == "tags" else "repositories"
        title = f"Growth from {self._small:,} to {self._large:,} {where}; ratio: time of an operation, many / few"
        print(header(title, f"{self._small:,}", f"{self._large:,}"), flush=True)
        with ExitStack() as ending:
            servers: dict[str, tuple[Server, Size]] = {}
            for name, held in (("small", Size(self._small, self._small)), ("large", size)):
                folder = setting.folder / name
                ending.callback(shutil.rmtree, folder, ignore_errors=True)
                servers[name] = (_filled(folder, held), held)
            for server, _ in servers.values():
                ending.callback(server.stop)
                server.start()
            for operation in operations:
                yield _in_turns(operation, grown, servers, setting)


def _filled(folder: Path, size: Size) -> Server:
    across = (Filled(_name(number), 1) for number in range(size.repositories))
    return filled_server(folder, itertools.chain([Filled(_MANY, size.tags)], across))


def _in_turns(
    operation: type[_Grown], grown: str, servers: Mapping[str, tuple[Server, Size]], setting: Setting
) -> Figures:
    subjects = {
        name: Subject(server, operation(size, within=grown == "tags")) for name, (server, size) in servers.items()
    }
    results = measure_in_turns(subjects, operation.rounds, setting.seconds / 2)  # there are eight of them
    small, large = results["small"], results["large"]
    pair = Pair(operation.name, small, large, [_TARGET.judge(rate_ratio(small, large))])
    print(row(operation, pair), flush=True)
    return figures(_title(grown, operation), operation, results, [pair])


def _title(grown: str, operation: type[_Grown]) -> str:
    return f"growth in {grown}: {operation.name}"


def _name(number: int) -> str:
    return f"grown/r{number:07}"
