"""What is measured: each scenario prepares a server once, and then does one operation again and again."""

import hashlib
import itertools
import json
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from typing import ClassVar, Generic, TypeVar

from bench.contents import (
    Content,
    Image,
    ask,
    head,
    large_content,
    push_blob,
    push_image,
    push_stream,
    put_manifest,
)
from bench.load import Operation, Request, UnexpectedAnswer

_MIB = 1024 * 1024
_STOCK_PER_SECOND = 3000
_Item = TypeVar("_Item")


class Scenario(ABC):
    """One scenario on one server.

    Attributes:
        name: how it is called in the table.
        connections: how many do the operation at the same time.
        mib: MiB that one operation moves, where the rate is in MiB/s; 0 where operations are counted.
        rounds: how often it is measured.
        warm: whether operations are done before measuring, uncounted.
        least: how many times distribution's rate the rate should be.
        most_cpu: at most how many times distribution's CPU time an operation should take; 0 without a target.
        needs: what a server must be able to do for it (`Server.lacks`); empty where every one is.
    """

    name: ClassVar[str]
    connections: ClassVar[int] = 16
    mib: ClassVar[int] = 0
    rounds: ClassVar[int] = 5
    warm: ClassVar[bool] = True
    least: ClassVar[float]
    most_cpu: ClassVar[float] = 0
    needs: ClassVar[str] = ""

    def prepare(self) -> Iterator[Iterator[Operation]]:
        """Yield what to push before measuring; each batch is done before the next is asked for."""
        return iter(())

    def stock(self, seconds: float) -> None:
        """Make what a round of `seconds` sends, so that making it is not measured."""
        return

    @abstractmethod
    def work(self) -> Iterator[Operation]:
        """Yield the operation, without end."""

    @abstractmethod
    def check(self) -> Operation:
        """Show by hashes, after measuring, that the server had and kept the right bytes. Raises UnexpectedAnswer."""


class Repeated(Scenario):
    """The same request again and again."""

    request: Request

    def work(self) -> Iterator[Operation]:
        """Yield the request, without end."""
        return map(ask, itertools.repeat(self.request))


class Stocked(Scenario, Generic[_Item]):
    """Pushes of new content each time, made in advance; more is made when it runs out."""

    share: ClassVar[float] = 1.0
    """Of what the fastest scenario needs, how much this one does."""

    def __init__(self) -> None:
        self._items: deque[_Item] = deque()
        self._numbers = itertools.count()

    @abstractmethod
    def make(self) -> _Item:
        """Make the content of one operation."""

    @abstractmethod
    def push(self, number: int, item: _Item) -> Operation:
        """Push it; `number` tells it from others."""

    def stock(self, seconds: float) -> None:
        """Make as much as no server does in `seconds`."""
        while len(self._items) < self.share * seconds * _STOCK_PER_SECOND:
            self._items.append(self.make())

    def work(self) -> Iterator[Operation]:
        """Yield pushes of what was made, without end."""
        while True:
            item = self._items.popleft() if self._items else self.make()
            yield self.push(next(self._numbers), item)


class ManifestGet(Repeated):
    """A manifest by its tag."""

    name = "manifest GET by tag"
    least: ClassVar[float] = 3
    method = "GET"

    def __init__(self) -> None:
        self._image = Image.random()
        length = len(self._image.manifest.data) if self.method == "GET" else 0
        self.request = Request(head(self.method, "/v2/bench/image/manifests/latest"), 200, length)

    def prepare(self) -> Iterator[Iterator[Operation]]:
        """Push the image."""
        yield iter([push_image("bench/image", "latest", self._image)])

    def check(self) -> Operation:
        """Compare the digest in the head, the length and the bytes."""
        answer = yield self.request
        same(answer.field(b"docker-content-digest").decode(), self._image.manifest.digest)
        same(answer.field(b"content-length").decode(), str(len(self._image.manifest.data)))
        yield from check_content("/v2/bench/image/manifests/latest", self._image.manifest.digest)


class _ManifestHead(ManifestGet):
    """Whether a tag is there."""

    name = "manifest HEAD by tag"
    method = "HEAD"


class BlobGet4KiB(Repeated):
    """A small blob."""

    name = "blob GET 4 KiB"
    least: ClassVar[float] = 12
    size: ClassVar[int] = 4096

    def __init__(self) -> None:
        self._content = Content.random(self.size)
        self._target = f"/v2/bench/blobs/blobs/{self._content.digest}"
        self.request = Request(head("GET", self._target), 200, self.size)

    def prepare(self) -> Iterator[Iterator[Operation]]:
        """Push the blob."""
        yield iter([push_blob("bench/blobs", self._content)])

    def check(self) -> Operation:
        """Compare the bytes."""
        yield from check_content(self._target, self._content.digest)


class _BlobGet1MiB(BlobGet4KiB):
    """A blob of medium size."""

    name = "blob GET 1 MiB"
    least = 2.5
    size = _MIB
    mib = 1


class _BlobPut4KiB(Stocked[Content]):
    """A small blob, POST and PUT."""

    name = "blob PUT 4 KiB"
    least = 3

    def make(self) -> Content:
        return Content.random(4096)

    def push(self, number: int, item: Content) -> Operation:
        self._last = item
        return push_blob("bench/put", item)

    def check(self) -> Operation:
        yield from check_content(f"/v2/bench/put/blobs/{self._last.digest}", self._last.digest)


class ImagePush(Stocked[Image]):
    """Two blobs of 4 KiB and a manifest that is tagged."""

    name = "push of a small image"
    least = 3
    share = 0.2
    repository = "bench/images"

    def make(self) -> Image:
        """Make an image that no other is like."""
        return Image.random()

    def push(self, number: int, item: Image) -> Operation:
        """Push it under a tag of its own."""
        self._last = item
        return push_image(self.repository, f"t{number}", item)

    def check(self) -> Operation:
        """Compare the bytes of what was pushed last."""
        for kind, content in (
            ("blobs", self._last.config),
            ("blobs", self._last.layer),
            ("manifests", self._last.manifest),
        ):
            yield from check_content(f"/v2/{self.repository}/{kind}/{content.digest}", content.digest)


class _Mount(Scenario):
    """A blob of one repository into another that did not exist."""

    name = "cross-repository mount"
    least = 2

    def __init__(self) -> None:
        self._content = Content.random(4096)
        self._mounted = itertools.count()

    def prepare(self) -> Iterator[Iterator[Operation]]:
        yield iter([push_blob("bench/source", self._content)])

    def work(self) -> Iterator[Operation]:
        query = f"mount={self._content.digest}&from=bench/source"
        for number in self._mounted:
            self._last = f"bench/mounted{number}"
            yield ask(Request(head("POST", f"/v2/{self._last}/blobs/uploads/?{query}", length=0), 201))

    def check(self) -> Operation:
        yield from check_content(f"/v2/{self._last}/blobs/{self._content.digest}", self._content.digest)


class _TagPage(Repeated):
    """A page from the middle of a long list of tags."""

    name = "100 of 10,000 tags"
    needs = "pages of tags"
    least = 20
    tags: ClassVar[int] = 10_000

    def __init__(self) -> None:
        self._after = self.tags // 2 - 1
        self.request = Request(head("GET", f"/v2/bench/tags/tags/list?n=100&last=t{self._after:05}"), 200)

    def prepare(self) -> Iterator[Iterator[Operation]]:
        image = Image.random()
        yield iter([push_image("bench/tags", "t00000", image)])
        yield (put_manifest("bench/tags", f"t{number:05}", image.manifest) for number in range(1, self.tags))

    def check(self) -> Operation:
        body = bytearray()
        yield self.request._replace(sink=body.extend)
        same(json.loads(body)["tags"], [f"t{self._after + number:05}" for number in range(1, 101)])


class LargePush(Scenario):
    """A large blob: POST, one PATCH that streams, PUT."""

    name = "push of 512 MiB"
    least = 1.8
    most_cpu = 0.5
    connections = 1
    mib = 512
    rounds = 3
    warm = False

    def work(self) -> Iterator[Operation]:
        """Yield pushes of new content, without end."""
        while True:
            parts, self._digest = large_content(self.mib * _MIB).renew()
            yield push_stream("bench/large", parts, self._digest)

    def check(self) -> Operation:
        """Compare the bytes of what was pushed last."""
        yield from check_content(f"/v2/bench/large/blobs/{self._digest}", self._digest)


class LargePull(Repeated):
    """A large blob, which is in the page cache."""

    name = "pull of 512 MiB"
    least = 1.2
    most_cpu = 0.75
    connections = 1
    mib = 512

    def prepare(self) -> Iterator[Iterator[Operation]]:
        """Push the blob."""
        parts, self._digest = large_content(self.mib * _MIB).renew()
        self._target = f"/v2/bench/large/blobs/{self._digest}"
        self.request = Request(head("GET", self._target), 200, self.mib * _MIB)
        yield iter([push_stream("bench/large", parts, self._digest)])

    def check(self) -> Operation:
        """Compare the bytes."""
        yield from check_content(self._target, self._digest)


def check_content(target: str, digest: str) -> Operation:
    """GET `target` and hash the body. Raises UnexpectedAnswer when it is not `digest`."""
    hashed = hashlib.sha256()
    yield Request(head("GET", target), 200, sink=hashed.update)
    same(f"sha256:{hashed.hexdigest()}", digest)


def same(found: object, expected: object) -> None:
    """Raise UnexpectedAnswer when a server has not what is expected."""
    if found != expected:
        raise UnexpectedAnswer(f"the server has {str(found)[:300]}, expected {str(expected)[:300]}")


# What leaves much to be written back comes last, so that it does not slow others.
SCENARIOS: tuple[type[Scenario], ...] = (
    ManifestGet,
    _ManifestHead,
    BlobGet4KiB,
    _BlobGet1MiB,
    _BlobPut4KiB,
    ImagePush,
    _Mount,
    _TagPage,
    LargePull,
    LargePush,
)
