"""Clients that write at random and enter in a ledger what they asked for and what they were told, until a crash."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx

from tests.factories import (
    EMPTY,
    OCI_INDEX,
    OCI_MANIFEST,
    artifact_manifest,
    descriptor,
    digest_of,
    image_manifest,
    index_manifest,
    pieces,
)
from tests.faults.ledger import BLOB, MANIFEST, REFERRER, TAG, THERE, Key, Ledger, Session

SHARED = "faults/shared"
"""A repository that all writers push to, and whose tag `latest` all of them move and delete."""

ACCEPT = {"Accept": f"{OCI_MANIFEST}, {OCI_INDEX}"}
"""What clients send with GET of a manifest; some registries have none without it."""

_TAGS = 8


@dataclass(frozen=True)
class Sizes:
    """How large contents are, in bytes: one of these is drawn for each."""

    blobs: tuple[int, ...] = (10, 5000, 200_000)
    uploads: tuple[int, ...] = (100_000, 3_000_000)
    chunks: tuple[int, ...] = (2, 70_000, 1_500_000)


class Writer(threading.Thread):
    """Does one thing after another until the server is gone.

    Args:
        make_client: makes a client of the server, of one's own.
        ledger: where all writers enter what they do.
        repository: where nobody else writes.
        seed: what its choices follow from.
        sizes: of what it pushes.
        lenient: do without what the server refuses, instead of failing; for registries that can do less.

    Attributes:
        acknowledged: how many things it has done.
        failure: what went wrong, other than the server's end.
    """

    def __init__(
        self,
        make_client: Callable[[], httpx.Client],
        ledger: Ledger,
        repository: str,
        seed: str,
        *,
        sizes: Sizes | None = None,
        lenient: bool = False,
    ) -> None:
        super().__init__(name=repository, daemon=True)
        self.repository = repository
        self.acknowledged = 0
        self.failure: BaseException | None = None
        self.leave = threading.Event()
        self._given = (make_client, ledger, repository, f"{seed}+")
        self._make_client = make_client
        self._ledger = ledger
        self._random = random.Random(seed)
        self._sizes = sizes or Sizes()
        self._lenient = lenient
        self._doings = [self._push_loose, self._push_image, self._push_image, self._push_index, self._push_artifact]
        self._doings += [self._move_tag, self._delete_tag, self._delete_manifest, self._delete_loose, self._mount]
        self._doings += [self._push_shared, self._push_shared, self._delete_shared, self._cancel]
        self._doings += [self._go_on, self._go_on, self._go_on]

    def again(self) -> "Writer":
        """A thread that goes on where this one has ended."""
        return Writer(*self._given, sizes=self._sizes, lenient=self._lenient)

    def run(self) -> None:
        """Write until the server is gone, or until told to leave."""
        with self._make_client() as client:
            while not self.leave.is_set() and self.goes_on(client):
                pass

    def goes_on(self, client: httpx.Client) -> bool:
        """Do one thing, and return whether there may be another."""
        doing = self._random.choice(self._doings)
        try:
            doing(client)
            self.acknowledged += 1
        except httpx.TransportError:
            return False  # the crash
        except BaseException as error:  # noqa: BLE001 - handed to the test, which raises it
            if not self._lenient:
                self.failure = error
                return False
            self._doings = [other for other in self._doings if other != doing] or [self._push_loose]
        return True

    def _push_loose(self, client: httpx.Client) -> None:
        """Push a blob that no manifest refers to yet; some are pushed by everybody."""
        if self._random.random() < 0.4:
            content = random.Random(self._random.randrange(6)).randbytes(20_000)
        else:
            content = self._content(self._sizes.blobs)
        self._push_blob(client, self.repository, content)

    def _delete_loose(self, client: httpx.Client) -> None:
        """Delete a blob that no manifest refers to."""
        manifests = self._ledger.known(self.repository, MANIFEST)
        used = {part for key in manifests for part in self._ledger.parts[key.name]}
        blobs = [key for key in self._ledger.known(self.repository, BLOB) if (BLOB, key.name) not in used]
        if blobs:
            self._delete_keys(client, [key := self._random.choice(blobs)], f"blobs/{key.name}")

    def _push_image(self, client: httpx.Client) -> None:
        """Push an image under a tag."""
        content, blobs = self._push_parts(client, self.repository)
        self._push_manifest(client, self.repository, content, [(BLOB, digest) for digest in blobs], tag=self._tag())

    def _push_index(self, client: httpx.Client) -> None:
        """Push an index of manifests that are there."""
        there = list(self._ledger.known(self.repository, MANIFEST))
        if len(there) < 2:
            return
        contents = {}
        for key in self._random.sample(there, 2):
            response = self._get(client, key.name)
            contents[key.name] = (response.content, response.headers["content-type"])
        children = [descriptor(content, media_type) for content, media_type in contents.values()]
        index = index_manifest(children, annotations={"unique": self._random.randbytes(8).hex()})
        parts = [(MANIFEST, digest) for digest in contents]
        self._push_manifest(client, self.repository, index, parts, media_type=OCI_INDEX, tag=self._tag())

    def _push_artifact(self, client: httpx.Client) -> None:
        """Push an artifact that refers to a manifest, which lists it then among the manifest's referrers."""
        there = list(self._ledger.known(self.repository, MANIFEST))
        if there:
            subject = self._random.choice(there).name
            content = self._get(client, subject).content
            empty = self._push_blob(client, self.repository, EMPTY)
            self._push_manifest(client, self.repository, artifact_manifest(content), [(BLOB, empty)], subject=subject)

    def _move_tag(self, client: httpx.Client) -> None:
        """Point a tag at a manifest that is there."""
        there = list(self._ledger.known(self.repository, MANIFEST))
        if there:
            digest, tag = self._random.choice(there).name, self._tag()
            found = self._get(client, digest)
            with self._ledger.change({Key(TAG, self.repository, tag): digest}):
                self._put(client, self.repository, tag, found.content, found.headers["content-type"])

    def _delete_tag(self, client: httpx.Client) -> None:
        """Delete a tag, and nothing else."""
        tags = list(self._ledger.known(self.repository, TAG))
        if tags:
            self._delete_keys(client, [key := self._random.choice(tags)], f"manifests/{key.name}")

    def _delete_manifest(self, client: httpx.Client) -> None:
        """Delete a manifest that no index lists, and with it its tags."""
        there = self._ledger.known(self.repository, MANIFEST)
        listed = {part for key in there for part in self._ledger.parts[key.name]}
        free = [key for key in there if (MANIFEST, key.name) not in listed]
        if len(free) > 3:
            key = self._random.choice(free)
            tags = [tag for tag, digest in self._ledger.known(self.repository, TAG).items() if digest == key.name]
            refers = [one for one in self._ledger.known(self.repository, REFERRER) if one.name == key.name]
            self._delete_keys(client, [key, *tags, *refers], f"manifests/{key.name}")

    def _mount(self, client: httpx.Client) -> None:
        """Mount a blob of the shared repository."""
        there = list(self._ledger.known(SHARED, BLOB))
        if there:
            digest = self._random.choice(there).name
            query = {"mount": digest, "from": SHARED}
            with self._ledger.change({Key(BLOB, self.repository, digest): THERE}):
                expect(client.post(f"/v2/{self.repository}/blobs/uploads/", params=query), 201)

    def _push_shared(self, client: httpx.Client) -> None:
        """Push an image under the tag that all writers move."""
        content, blobs = self._push_parts(client, SHARED)
        self._push_manifest(client, SHARED, content, [(BLOB, digest) for digest in blobs], tag="latest")

    def _delete_shared(self, client: httpx.Client) -> None:
        """Delete the tag that all writers move; somebody else may have been faster."""
        if self._random.random() < 0.3:
            with self._ledger.change({Key(TAG, SHARED, "latest"): None}):
                expect(client.delete(f"/v2/{SHARED}/manifests/latest"), 202, 404)

    def _go_on(self, client: httpx.Client) -> None:
        """Begin an upload, send its next chunk, or finish it."""
        session = self._session()
        if session is None:
            content = self._content(self._sizes.uploads)
            location = expect(client.post(f"/v2/{self.repository}/blobs/uploads/"), 202).headers["location"]
            self._ledger.sessions.append(Session(self.repository, location, content, opened=time.time()))
        elif session.received < len(session.content):
            self._send_chunk(client, session)
        else:
            digest = digest_of(session.content)
            with self._ledger.change({Key(BLOB, self.repository, digest): THERE}):
                session.ending = time.time()
                expect(client.put(with_digest(session.location, digest)), 201)
            session.ended = time.time()

    def _send_chunk(self, client: httpx.Client, session: Session) -> None:
        end = min(session.received + self._random.choice(self._sizes.chunks), len(session.content))
        chunk = session.content[session.received : end]
        session.sent, session.whole = end, self._random.random() < 0.5
        span = {"Content-Range": f"{session.received}-{end - 1}"} if session.whole else {}
        body = chunk if session.whole else self._body(chunk)
        response = expect(client.patch(session.location, content=body, headers=span), 202)
        # A Location may change with each answer (specification, "Pushing a blob in chunks"); registries use that.
        session.location, session.received = response.headers["location"], end

    def _cancel(self, client: httpx.Client) -> None:
        """Cancel an upload, now and then."""
        session = self._session()
        if session is not None and self._random.random() < 0.2:
            session.ending = time.time()
            expect(client.delete(session.location), 204)
            session.ended = time.time()

    def _session(self) -> Session | None:
        """The upload that is under way."""
        mine = (one for one in self._ledger.sessions[::-1] if one.repository == self.repository)
        return next((session for session in mine if session.ended > time.time()), None)

    def _push_parts(self, client: httpx.Client, repository: str) -> tuple[bytes, list[str]]:
        """Push config and layers of a new image; its manifest, and their digests."""
        config, *layers = [self._random.randbytes(100), *(self._content(self._sizes.blobs) for _ in range(2))]
        digests = [self._push_blob(client, repository, blob) for blob in (config, *layers)]
        return image_manifest(config, layers), digests

    def _push_blob(self, client: httpx.Client, repository: str, content: bytes) -> str:
        """Push a blob in one of the ways that there are, and return its digest."""
        digest, target = digest_of(content), f"/v2/{repository}/blobs/uploads/"
        with self._ledger.change({Key(BLOB, repository, digest): THERE}):
            way = self._random.randrange(3)
            if way == 0:
                response = client.post(target, params={"digest": digest}, content=self._body(content))
                # A registry may want another request for the content (specification, "Single POST").
                if expect(response, 201, 202).status_code == 201:
                    return digest
            else:
                response = expect(client.post(target), 202)
            location = response.headers["location"]
            if way == 1:
                response = expect(client.patch(location, content=self._body(content)), 202)
                expect(client.put(with_digest(response.headers["location"], digest)), 201)
            else:
                expect(client.put(with_digest(location, digest), content=self._body(content)), 201)
        return digest

    def _push_manifest(
        self,
        client: httpx.Client,
        repository: str,
        content: bytes,
        parts: list[tuple[str, str]],
        *,
        media_type: str = OCI_MANIFEST,
        tag: str | None = None,
        subject: str | None = None,
    ) -> None:
        digest = digest_of(content)
        self._ledger.parts[digest] = parts
        values: dict[Key, str | None] = {Key(MANIFEST, repository, digest): THERE}
        if tag is not None:
            values[Key(TAG, repository, tag)] = digest
        if subject is not None and not self._lenient:  # not every registry lists referrers
            values[Key(REFERRER, repository, digest, subject)] = THERE
        with self._ledger.change(values):
            self._put(client, repository, tag or digest, content, media_type)

    def _get(self, client: httpx.Client, digest: str) -> httpx.Response:
        return expect(client.get(f"/v2/{self.repository}/manifests/{digest}", headers=ACCEPT), 200)

    def _put(self, client: httpx.Client, repository: str, reference: str, content: bytes, media_type: str) -> None:
        headers = {"Content-Type": media_type}
        expect(client.put(f"/v2/{repository}/manifests/{reference}", content=content, headers=headers), 201)

    def _delete_keys(self, client: httpx.Client, gone: list[Key], path: str) -> None:
        with self._ledger.change(dict.fromkeys(gone)):
            expect(client.delete(f"/v2/{self.repository}/{path}"), 202)

    def _content(self, sizes: tuple[int, ...]) -> bytes:
        return self._random.randbytes(self._random.choice(sizes))

    def _tag(self) -> str:
        return f"tag-{self._random.randrange(_TAGS)}"

    def _body(self, content: bytes) -> bytes | Iterator[bytes]:
        """The content as it is, or in pieces of unknown number (chunked transfer coding)."""
        return pieces(content, 65536) if self._random.random() < 0.3 else content


def with_digest(location: str, digest: str) -> httpx.URL:
    """Where to finish an upload: its Location may have a query already."""
    return httpx.URL(location).copy_merge_params({"digest": digest})


def expect(response: httpx.Response, *statuses: int) -> httpx.Response:
    """Assert the status."""
    assert response.status_code in statuses, f"{response.request.method} {response.url}: {response.text}"
    return response
