"""A disk that fills: pushes are refused, everything else goes on, and pushes too once there is room again."""

import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.factories import (
    PushedImage,
    digest_of,
    errors_of,
    image_manifest,
    new_image,
    pull_blob,
    pull_manifest,
    push_blob,
    push_image,
    put_manifest,
    random_bytes,
    start_upload,
)
from tests.support.mounts import fill, small_disk
from tests.support.server import Connect, Server, new_client
from tests.support.workers import children

DISK = "14m"
RESERVE = {"STOWAGE_STORAGE__FILESYSTEM__RESERVE": "2MiB", "STOWAGE_DATABASE__RESERVE": "2MiB"}
NONE = {"STOWAGE_STORAGE__FILESYSTEM__RESERVE": "0", "STOWAGE_DATABASE__RESERVE": "0"}
PUSHERS = 4
DELETIONS = 120
REFUSALS = 3
"""How often a pusher is refused manifests before it stops."""


class Refused(Exception):
    """The server said that there is no room."""


class Pusher(threading.Thread):
    """Pushes images and loose blobs to a repository of its own until it was refused often enough.

    Keeps what was acknowledged: `images` by tag, `loose` blobs by digest; and sessions that could not be cancelled.
    """

    def __init__(self, server: Server, number: int) -> None:
        super().__init__(name=f"pusher-{number}", daemon=True)
        self.repository = f"full/pusher-{number}"
        self.images: dict[str, PushedImage] = {}
        self.loose: dict[str, bytes] = {}
        self.uncancelled: list[str] = []
        self.failure: BaseException | None = None
        self._server = server
        self._random = random.Random(number)
        self._number = 0

    def begin(self) -> None:
        """Push a little, while there is certainly room."""
        with new_client(self._server) as client:
            for number in range(5):
                self._push_blob_and_image(client, 5000, f"first-{number}")

    def run(self) -> None:
        """Push until blobs are refused, smaller ones each time, and go on with manifests until those are too."""
        try:
            with new_client(self._server) as client:
                for size in (400_000, 40_000):
                    self._until_refused(partial(self._push_blob_and_image, client, size))
                for _ in range(REFUSALS):
                    self._until_refused(partial(self._push_again, client))
                self._until_refused(partial(self._push_blob_and_image, client, 10))
        except BaseException as error:  # noqa: BLE001 - handed to the test, which raises it
            self.failure = error

    def _until_refused(self, push: Callable[[str], None]) -> None:
        with suppress(Refused):
            while True:
                self._number += 1
                push(f"tag-{self._number}")

    def _push_blob_and_image(self, client: httpx.Client, size: int, tag: str) -> None:
        self._push_loose(client, random_bytes(self._random.randrange(size)))
        image = new_image()
        for blob in image.blobs:
            push = client.post(
                f"/v2/{self.repository}/blobs/uploads/", params={"digest": digest_of(blob)}, content=blob
            )
            check(push, 201)
        check(put_manifest(client, self.repository, tag, image.manifest), 201)
        self.images[tag] = image

    def _push_again(self, client: httpx.Client, tag: str) -> None:
        """Push a large manifest of blobs that are there."""
        known = next(iter(self.images.values()))
        padding = {"padding": "x" * 100_000, "unique": tag}
        image = replace(known, manifest=image_manifest(known.config, known.layers, annotations=padding))
        check(put_manifest(client, self.repository, tag, image.manifest), 201)
        self.images[tag] = image

    def _push_loose(self, client: httpx.Client, content: bytes) -> None:
        digest = digest_of(content)
        location = check(client.post(f"/v2/{self.repository}/blobs/uploads/"), 202).headers["location"]
        try:
            check(client.patch(location, content=content), 202)
            check(client.put(location, params={"digest": digest}), 201)
        except Refused:
            cancelled = client.delete(location)
            if cancelled.status_code == 507:
                self.uncancelled.append(location)
            else:  # 404 if it was refused when the session's bytes had become a blob
                assert cancelled.status_code in {204, 404}
            raise
        self.loose[digest] = content


def check(response: httpx.Response, status: int) -> httpx.Response:
    """Return a response of this status. Raise Refused for a refusal, which must be one of a full disk, in JSON."""
    if response.status_code in {503, 507}:
        message = errors_of(response)[0]["message"]
        assert int(response.headers["retry-after"]) > 0
        raise Refused(message)
    assert response.status_code == status, f"{response.request.method} {response.url}: {response.text}"
    return response


def fill_by_pushing(server: Server) -> list[Pusher]:
    """Push with several clients until all were refused; return what they know."""
    pushers = [Pusher(server, number) for number in range(PUSHERS)]
    for pusher in pushers:
        pusher.begin()
    for pusher in pushers:
        pusher.start()
    for pusher in pushers:
        pusher.join(120)
        assert not pusher.is_alive(), f"{pusher.name} hangs"
        if pusher.failure is not None:
            raise pusher.failure
        assert pusher.images and pusher.loose
    return pushers


def check_everything(client: httpx.Client, pushers: list[Pusher]) -> None:
    """All that was acknowledged is there, byte for byte; and all that is listed can be had."""
    for pusher in pushers:
        for digest, content in pusher.loose.items():
            assert pull_blob(client, pusher.repository, digest) == content
        for tag, image in pusher.images.items():
            assert pull_manifest(client, pusher.repository, tag) == image.manifest
            for blob in image.blobs:
                assert pull_blob(client, pusher.repository, digest_of(blob)) == blob
        listed = client.get(f"/v2/{pusher.repository}/tags/list").json()["tags"]
        assert set(listed) >= set(pusher.images)
        for tag in listed:
            for layer in client.get(f"/v2/{pusher.repository}/manifests/{tag}").json()["layers"]:
                pull_blob(client, pusher.repository, layer["digest"])


def delete_some(client: httpx.Client, pusher: Pusher) -> None:
    """Delete a blob, a tag and a manifest."""
    digest, _ = pusher.loose.popitem()
    assert client.delete(f"/v2/{pusher.repository}/blobs/{digest}").status_code == 202
    assert client.head(f"/v2/{pusher.repository}/blobs/{digest}").status_code == 404
    tag, _ = pusher.images.popitem()
    assert client.delete(f"/v2/{pusher.repository}/manifests/{tag}").status_code == 202
    assert client.head(f"/v2/{pusher.repository}/manifests/{tag}").status_code == 404
    tag, image = pusher.images.popitem()
    assert client.delete(f"/v2/{pusher.repository}/manifests/{image.digest}").status_code == 202
    assert client.head(f"/v2/{pusher.repository}/manifests/{tag}").status_code == 404


def descriptors(server: Server) -> int:
    """How many files and sockets the server's processes have open."""
    return sum(len(os.listdir(f"/proc/{process}/fd")) for process in (server.pid, *children(server.pid)))


@contextmanager
def running(folder: Path, settings: dict[str, str]) -> Iterator[Server]:
    """A server whose data folder is a small disk of its own."""
    with small_disk(folder / "data", DISK), Server(folder, settings) as server:
        yield server


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[dict[str, str]], Server]]:
    """Starts servers on small disks of their own."""
    with ExitStack() as stack:
        yield lambda settings: stack.enter_context(running(tmp_path / f"small-{os.urandom(4).hex()}", settings))


Serve = Callable[[dict[str, str]], Server]


@pytest.mark.parametrize("reserve", [RESERVE, NONE], ids=["with-reserve", "without"])
def test_nothing_acknowledged_is_lost_and_pushes_go_on_when_there_is_room(
    serve: Serve, connect: Connect, reserve: dict[str, str]
) -> None:
    server = serve(reserve)
    client = connect(server)
    begun, content = start_upload(client, "full/session"), random_bytes(100_000)
    assert client.patch(begun, content=content[:60_000]).status_code == 202
    filler = server.data / "somebody-elses"
    filler.write_bytes(bytes(5_000_000))
    too_large = bytes(20_000_000)
    query = {"digest": digest_of(too_large)}
    with pytest.raises(Refused, match="No space left" if reserve is NONE else "reserve"):
        check(client.post("/v2/full/large/blobs/uploads/", params=query, content=too_large), 201)
    before = descriptors(server)
    pushers = fill_by_pushing(server)
    assert descriptors(server) <= before + PUSHERS + 10
    check_everything(client, pushers)
    uploads = server.data / "storage" / "uploads"
    uncancelled = [location for pusher in pushers for location in pusher.uncancelled]
    # Of a session whose end could not be written down the bytes may be gone; bytes without a session are never left.
    assert {file.name for file in uploads.iterdir()} <= {url.rpartition("/")[2] for url in (begun, *uncancelled)}
    assert (uploads / begun.rpartition("/")[2]).exists()
    assert reserve is NONE or not uncancelled
    server.kill()
    filler.unlink()
    server.start()
    check_everything(client, pushers)
    assert client.get(begun).headers["range"] == "0-59999"
    assert client.patch(begun, content=content[60_000:]).status_code == 202
    assert client.put(begun, params={"digest": digest_of(content)}).status_code == 201
    assert pull_blob(client, "full/session", digest_of(content)) == content
    push_image(client, "full/session", "afterwards")
    for location in uncancelled:
        assert client.delete(location).status_code in {204, 404}
        assert client.get(location).status_code == 404
    assert list(uploads.iterdir()) == []


def test_a_disk_that_others_filled_to_the_last_byte(serve: Serve, connect: Connect) -> None:
    server = serve(RESERVE)
    client = connect(server)
    begun, cancelled, content = start_upload(client, "full/a"), start_upload(client, "full/b"), random_bytes(50_000)
    assert client.patch(begun, content=content[:20_000]).status_code == 202
    filler = server.data / "somebody-elses"
    filler.write_bytes(bytes(5_000_000))
    pushers = fill_by_pushing(server)
    for _ in range(2):
        server.stop()
        fill(filler)
        server.start()
        fill(filler)
        check_everything(client, pushers)
        for pusher in pushers:
            delete_some(client, pusher)
        with pytest.raises(Refused):
            check(client.patch(begun, content=content[20_000:]), 202)
        with pytest.raises(Refused):
            check(client.post("/v2/full/new/blobs/uploads/"), 202)
        digest = digest_of(random_bytes())
        with pytest.raises(Refused):
            check(client.post("/v2/full/new/blobs/uploads/", params={"digest": digest}, content=b"x"), 201)
        image = next(iter(pushers[0].images.values()))
        with pytest.raises(Refused):
            check(put_manifest(client, pushers[0].repository, "new-tag", image.manifest), 201)
        mount = {"mount": digest_of(image.blobs[0]), "from": pushers[0].repository}
        with pytest.raises(Refused):
            check(client.post("/v2/full/new/blobs/uploads/", params=mount), 201)
        assert client.get("/readyz").status_code == 200
    assert client.delete(cancelled).status_code == 204
    server.kill()
    server.start()
    check_everything(client, pushers)
    filler.unlink()
    assert client.get(begun).headers["range"] == "0-19999"
    end = client.put(begun, params={"digest": digest_of(content)}, content=content[20_000:])
    assert end.status_code == 201
    for pusher in pushers:
        push_image(client, pusher.repository, "afterwards")
    check_everything(client, pushers)
    assert (server.data / "stowage.sqlite3.reserve").stat().st_size == 2 * 1024**2
    assert list((server.data / "storage" / "uploads").iterdir()) == []


def test_a_full_disk_takes_any_number_of_deletions(serve: Serve, connect: Connect) -> None:
    """What one takes of the log is used again for the next: the reserve alone would not do for all."""
    server = serve(RESERVE)
    client = connect(server)
    digests = [push_blob(client, "full/many", random_bytes(100)) for _ in range(DELETIONS)]
    server.stop()
    server.start()  # with an empty log
    fill(server.data / "somebody-elses")
    for digest in digests:
        assert client.delete(f"/v2/full/many/blobs/{digest}").status_code == 202
    assert (server.data / "stowage.sqlite3.reserve").stat().st_size > 0
