"""A client that writes at random and knows, of all it did, what must be there: before, after and during a crash."""

import random
import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import httpx

from tests.factories import OCI_MANIFEST, digest_of, image_manifest, random_bytes

SHARED = "faults/shared"
"""A repository whose tag `latest` all writers move."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V", bound=Hashable)


class Known(Generic[K, V]):
    """For each key the values that it may have: one, or two while a change is not acknowledged."""

    def __init__(self, absent: V) -> None:
        self._absent = absent
        self._values: dict[K, set[V]] = {}

    def __iter__(self) -> Iterator[K]:
        return iter(list(self._values))

    def __getitem__(self, key: K) -> set[V]:
        return self._values.get(key, {self._absent})

    def having(self, value: V) -> list[K]:
        """Keys that have this value, for sure."""
        return [key for key, values in self._values.items() if values == {value}]

    @contextmanager
    def change(self, key: K, value: V) -> Iterator[None]:
        """A change, acknowledged if the block ends without an error."""
        self._values[key] = self[key] | {value}
        yield
        self._values[key] = {value}

    def settle(self, key: K, value: V) -> None:
        """Take note of what was found after a crash. Raises AssertionError if it can't be."""
        assert value in self[key], f"{key}: found {value!r}, expected one of {self[key]!r}"
        self._values[key] = {value}


@dataclass
class Session:
    """An upload that goes on over several rounds. `ending`: a PUT was sent and not answered."""

    location: str
    content: bytes
    received: int = 0
    ending: bool = False


class Writer(threading.Thread):
    """Writes until the server is gone.

    Args:
        make_client: makes a client of the server, of one's own.
        number: tells writers apart, and seeds their choices.
    """

    def __init__(self, make_client: Callable[[], httpx.Client], number: int) -> None:
        super().__init__(name=f"writer-{number}", daemon=True)
        self.repository = f"faults/writer-{number}"
        self.blobs: Known[str, bool] = Known(False)
        self.manifests: Known[str, bool] = Known(False)
        self.tags: Known[str, str | None] = Known(None)
        self.contents: dict[str, bytes] = {}
        self.layers: dict[str, list[str]] = {}
        self.shared_acknowledged = 0
        self.acknowledged = 0
        self.failure: BaseException | None = None
        self.session: Session | None = None
        self._make_client = make_client
        self._random = random.Random(number)

    def again(self) -> "Writer":
        """A thread that goes on with the knowledge of this one, which has ended."""
        other = Writer(self._make_client, 0)
        other.__dict__.update({name: value for name, value in vars(self).items() if not name.startswith("_")})
        other.name, other._random = self.name, self._random
        return other

    def run(self) -> None:
        """Do one thing after another."""
        doings = [self.push_loose, self.push_image, self.push_image, self.move_tag, self.untag]
        doings += [self.delete_manifest, self.delete_loose, self.push_shared, self.go_on, self.go_on]
        with self._make_client() as client:
            while True:
                try:
                    self._random.choice(doings)(client)
                    self.acknowledged += 1
                except httpx.TransportError:
                    return  # the crash
                except BaseException as error:  # noqa: BLE001 - handed to the test, which raises it
                    self.failure = error
                    return

    def push_loose(self, client: httpx.Client) -> None:
        """Push a blob that no manifest will refer to."""
        self._push_blob(client, self.repository, random_bytes(self._random.choice([10, 5000, 200_000])))

    def delete_loose(self, client: httpx.Client) -> None:
        """Delete a blob that no manifest refers to, if there is one."""
        used = {digest for digests in self.layers.values() for digest in digests}
        loose = [digest for digest in self.blobs.having(True) if digest not in used]
        if loose:
            digest = self._random.choice(loose)
            with self.blobs.change(digest, False):
                expect(client.delete(f"/v2/{self.repository}/blobs/{digest}"), 202)

    def push_image(self, client: httpx.Client) -> None:
        """Push an image under a tag."""
        content, digests = self._push_parts(client, self.repository)
        digest, tag = digest_of(content), f"tag-{self._random.randrange(8)}"
        self.contents[digest], self.layers[digest] = content, digests
        with self.manifests.change(digest, True), self.tags.change(tag, digest):
            self._put(client, self.repository, tag, content)

    def move_tag(self, client: httpx.Client) -> None:
        """Point a tag at an image that is there."""
        there = self.manifests.having(True)
        if there:
            digest, tag = self._random.choice(there), f"tag-{self._random.randrange(8)}"
            with self.tags.change(tag, digest):
                self._put(client, self.repository, tag, self.contents[digest])

    def untag(self, client: httpx.Client) -> None:
        """Delete a tag."""
        tags = [tag for tag in self.tags if None not in self.tags[tag]]
        if tags:
            tag = self._random.choice(tags)
            with self.tags.change(tag, None):
                expect(client.delete(f"/v2/{self.repository}/manifests/{tag}"), 202)

    def delete_manifest(self, client: httpx.Client) -> None:
        """Delete an image, and with it its tags."""
        there = self.manifests.having(True)
        if len(there) > 3:
            digest = self._random.choice(there)
            tags = self.tags.having(digest)
            with self.manifests.change(digest, False):
                changes = [self.tags.change(tag, None) for tag in tags]
                for change in changes:
                    change.__enter__()
                expect(client.delete(f"/v2/{self.repository}/manifests/{digest}"), 202)
                for change in changes:
                    change.__exit__(None, None, None)

    def push_shared(self, client: httpx.Client) -> None:
        """Push an image under the tag that all writers move."""
        content, _ = self._push_parts(client, SHARED)
        self._put(client, SHARED, "latest", content)
        self.shared_acknowledged += 1

    def go_on(self, client: httpx.Client) -> None:
        """Begin an upload, send its next chunk, or finish it."""
        session = self.session
        if session is None:
            response = expect(client.post(f"/v2/{self.repository}/blobs/uploads/"), 202)
            size = self._random.choice([100_000, 3_000_000])
            self.session = Session(response.headers["location"], random_bytes(size))
            return
        if session.received < len(session.content):
            end = min(session.received + self._random.choice([1, 70_000, 1_500_000]) + 1, len(session.content))
            chunk = session.content[session.received : end]
            span = {"Content-Range": f"{session.received}-{end - 1}"} if self._random.random() < 0.5 else {}
            expect(client.patch(session.location, content=chunk, headers=span), 202)
            session.received = end
            return
        digest = digest_of(session.content)
        self.contents[digest] = session.content
        with self.blobs.change(digest, True):
            session.ending = True
            expect(client.put(session.location, params={"digest": digest}), 201)
        self.session = None

    def _push_parts(self, client: httpx.Client, repository: str) -> tuple[bytes, list[str]]:
        """Push config and layers of a new image; its manifest, and their digests."""
        config, layers = random_bytes(100), [random_bytes(self._random.choice([500, 100_000])) for _ in range(2)]
        digests = [self._push_blob(client, repository, blob) for blob in (config, *layers)]
        return image_manifest(config, layers), digests

    def _push_blob(self, client: httpx.Client, repository: str, content: bytes) -> str:
        digest = digest_of(content)
        self.contents[digest] = content
        target = f"/v2/{repository}/blobs/uploads/"
        if repository != self.repository:
            expect(client.post(target, params={"digest": digest}, content=content), 201)
            return digest
        with self.blobs.change(digest, True):
            if self._random.random() < 0.5:
                expect(client.post(target, params={"digest": digest}, content=content), 201)
            else:
                location = expect(client.post(target), 202).headers["location"]
                expect(client.patch(location, content=content), 202)
                expect(client.put(location, params={"digest": digest}), 201)
        return digest

    def _put(self, client: httpx.Client, repository: str, tag: str, content: bytes) -> None:
        headers = {"Content-Type": OCI_MANIFEST}
        expect(client.put(f"/v2/{repository}/manifests/{tag}", content=content, headers=headers), 201)


def expect(response: httpx.Response, status: int) -> httpx.Response:
    """Assert the status."""
    assert response.status_code == status, f"{response.request.method} {response.url}: {response.text}"
    return response
