"""A disk that fails: an error to the client, nothing acknowledged that is not there, never a wrong byte."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.factories import (
    PushedImage,
    assert_error,
    digest_of,
    errors_of,
    new_image,
    pull_blob,
    pull_manifest,
    push_blob,
    push_image,
    put_manifest,
    random_bytes,
    start_upload,
)
from tests.faults.test_damaged_content import LARGE, SMALL, assert_never_served, assert_refused, outcome
from tests.support.served import eventually
from tests.support.server import Connect, Server
from tests.support.strace import failing
from tests.support.workers import children


@pytest.fixture(scope="module")
def failing_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose system calls fail now and then. Each test leaves it well."""
    with Server(tmp_path_factory.mktemp("failing")) as server:
        yield server


def folder(file: Path) -> None:
    """Put a folder in its place."""
    file.unlink()
    file.mkdir()


def symlink(file: Path) -> None:
    """Put a link to the same bytes, outside of the store, in its place."""
    outside = file.parents[5] / "outside"
    shutil.move(file, outside)
    file.symlink_to(outside)


def pipe(file: Path) -> None:
    """Put a pipe in its place, which nobody writes to."""
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("damage", [folder, symlink, pipe])
def test_what_is_not_a_file_is_never_served_as_the_blob(
    server: Server, client: httpx.Client, repository: str, damage: Callable[[Path], None], size: int
) -> None:
    content = random_bytes(size)
    digest = push_blob(client, repository, content)
    file = server.object_of(digest)
    damage(file)
    assert_never_served(client, repository, digest)
    file.rmdir() if damage is folder else file.unlink()  # not ours: what it is, a person must say
    push_blob(client, repository, content)
    assert pull_blob(client, repository, digest) == content


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_a_blob_that_can_not_be_read_is_an_error_or_a_cut_connection(
    failing_server: Server, connect: Connect, repository: str, size: int
) -> None:
    server = failing_server
    client = connect(server)
    for calls in ("pread64,preadv,preadv2,sendfile,splice,read", "openat,open", "newfstatat,stat,fstat,statx"):
        content = random_bytes(size)  # anew: a small blob that was read once stays in memory
        digest = push_blob(client, repository, content)
        url = f"/v2/{repository}/blobs/{digest}"
        with failing(server, calls, paths=[server.object_of(digest)]) as seen:
            assert_refused(outcome(client, url))
            assert_refused(outcome(client, url, range="bytes=10-2000"))
            assert client.get("/v2/").status_code == 200
            assert seen.failed >= 2, calls
        assert pull_blob(client, repository, digest) == content


def test_a_large_blob_that_fails_half_way_is_cut(failing_server: Server, connect: Connect, repository: str) -> None:
    server = failing_server
    client, content = connect(server), random_bytes(8_000_000)
    digest = push_blob(client, repository, content)
    with failing(server, "sendfile", when="3+", paths=[server.object_of(digest)]) as seen:
        assert outcome(client, f"/v2/{repository}/blobs/{digest}") is None
        assert seen.failed >= 1
    assert pull_blob(client, repository, digest) == content


def test_a_chunk_that_can_not_be_written_does_not_count(
    failing_server: Server, connect: Connect, repository: str
) -> None:
    server = failing_server
    client, content = connect(server), random_bytes(LARGE)
    location = start_upload(client, repository)
    assert client.patch(location, content=content[:SMALL]).status_code == 202
    file = server.data / "storage" / "uploads" / location.rpartition("/")[2]
    for error, status in (("EIO", 503), ("ENOSPC", 507), ("EDQUOT", 507)):
        for end in (SMALL + 10, LARGE):
            with failing(server, "pwrite64,pwritev,pwritev2,write", error=error, paths=[file]) as seen:
                assert_error(client.patch(location, content=content[SMALL:end]), status, "TOOMANYREQUESTS")
                assert seen.failed >= 1
            assert client.get(location).headers["range"] == f"0-{SMALL - 1}"
    with failing(server, "ftruncate,fallocate", paths=[file]):  # a writer may do without either, or refuse
        assert client.patch(location, content=content[SMALL:]).status_code in {202, 503}
    received = int(client.get(location).headers["range"].partition("-")[2]) + 1
    closing = client.put(location, params={"digest": digest_of(content)}, content=content[received:])
    assert closing.status_code == 201
    assert pull_blob(client, repository, digest_of(content)) == content


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_a_sync_that_failed_is_not_tried_again(
    failing_server: Server, connect: Connect, repository: str, error: str
) -> None:
    server = failing_server
    client, content = connect(server), random_bytes(LARGE)
    digest, status = digest_of(content), 507 if error == "ENOSPC" else 503
    location = start_upload(client, repository)
    assert client.patch(location, content=content).status_code == 202
    file = server.data / "storage" / "uploads" / location.rpartition("/")[2]
    with failing(server, "fsync,fdatasync", error=error, when="1", paths=[file]) as seen:
        assert_error(client.put(location, params={"digest": digest}), status, "TOOMANYREQUESTS")
        assert client.put(location, params={"digest": digest}).status_code == 404
        assert len(seen.calls) == seen.failed == 1
    assert not file.exists()
    assert client.head(f"/v2/{repository}/blobs/{digest}").status_code == 404
    push_blob(client, repository, content)
    assert pull_blob(client, repository, digest) == content


@pytest.mark.parametrize("calls", ["rename,renameat,renameat2,link,linkat", "fsync,fdatasync"])
def test_a_name_that_is_not_durable_is_not_acknowledged(
    failing_server: Server, connect: Connect, repository: str, calls: str
) -> None:
    server = failing_server
    client, content = connect(server), random_bytes(SMALL)
    digest = digest_of(content)
    blobs = server.data / "storage" / "blobs" / "sha256"
    push_blob(client, repository, b"makes the folders")
    (folder := blobs / digest[7:9]).mkdir(exist_ok=True)
    before = set(folder.iterdir())  # another test's, now and then
    paths = [] if calls.startswith("rename") else [folder]
    with failing(server, calls, paths=paths) as seen:
        push = client.post(f"/v2/{repository}/blobs/uploads/", params={"digest": digest}, content=content)
        assert_error(push, 503, "TOOMANYREQUESTS")
        assert seen.failed >= 1
    assert client.head(f"/v2/{repository}/blobs/{digest}").status_code == 404
    assert set(folder.iterdir()) == before
    assert list((server.data / "storage" / "uploads").iterdir()) == []
    push_blob(client, repository, content)
    assert pull_blob(client, repository, digest) == content


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
@pytest.mark.parametrize("calls", ["pwrite64,write", "fsync,fdatasync"])
def test_a_database_that_can_not_be_written_takes_nothing_and_goes_on(
    failing_server: Server, connect: Connect, repository: str, calls: str, error: str
) -> None:
    server = failing_server
    client = connect(server)
    first, second = (push_image(client, repository) for _ in range(2))
    assert put_manifest(client, repository, "tag", first.manifest).status_code == 201
    log = server.data / "stowage.sqlite3-wal"
    with failing(server, calls, error=error, paths=[log]) as seen:
        for _ in range(3):
            refused = put_manifest(client, repository, "tag", second.manifest)
            assert refused.status_code in {503, 507}, refused.text
            errors_of(refused)
            assert client.delete(f"/v2/{repository}/manifests/tag").status_code in {503, 507}
            assert pull_manifest(client, repository, "tag") == first.manifest
        assert seen.failed >= 6
    assert put_manifest(client, repository, "tag", second.manifest).status_code == 201
    assert pull_manifest(client, repository, "tag") == second.manifest
    server.kill()
    server.start()
    assert pull_manifest(client, repository, "tag") == second.manifest


def test_a_database_that_can_not_be_read_is_an_error_not_a_404(
    failing_server: Server, connect: Connect, repository: str
) -> None:
    server = failing_server
    image = push_image(connect(server), repository, "tag")
    server.restart()  # what it has read is not in its memory
    client = connect(server)
    files = [server.data / f"stowage.sqlite3{end}" for end in ("", "-wal")]
    with failing(server, "pread64,read", paths=files) as seen:
        assert_error(client.get(f"/v2/{repository}/manifests/tag"), 503, "TOOMANYREQUESTS")
        assert_error(client.get(f"/v2/{repository}/blobs/{digest_of(image.config)}"), 503, "TOOMANYREQUESTS")
        assert seen.failed >= 1
    assert pull_manifest(client, repository, "tag") == image.manifest
    assert client.get("/readyz").status_code == 200


@pytest.mark.parametrize(
    ("calls", "when"),
    [
        ("pwrite64", "2+3"),
        ("fsync,fdatasync", "2+3"),
        ("pread64,preadv2,sendfile,newfstatat", "2+11"),
        ("rename,unlink,ftruncate,fallocate", "1+2"),
    ],
)
def test_a_disk_that_fails_now_and_then_loses_nothing_acknowledged(
    failing_server: Server, connect: Connect, repository: str, calls: str, when: str
) -> None:
    server = failing_server
    client, known = connect(server), Known()
    uploads = server.data / "storage" / "uploads"
    known.push_images(client, repository, 1)
    before = descriptors(server)
    with failing(server, calls, when=when) as seen:
        known.push_images(client, repository, 15)
        assert seen.failed >= 3
    eventually(lambda: descriptors(server) <= before)
    assert {client.delete(location).status_code for location in known.uncancelled} <= {204, 404}
    known.check(client, repository)
    known.push_images(client, repository, 2)
    server.kill()
    server.start()
    known.check(client, repository)
    if "unlink" not in calls:
        assert list(uploads.iterdir()) == []


class Known:
    """What a server acknowledged: what its tags name, and what those are made of."""

    def __init__(self) -> None:
        self.images: dict[str, PushedImage] = {}
        self.uncancelled: list[str] = []

    def push_images(self, client: httpx.Client, repository: str, count: int) -> None:
        """Push so many images under three tags; a push that is refused on the way is given up."""
        for number in range(count):
            image, tag = new_image(), f"tag-{number % 3}"
            if all(self._push(client, repository, blob) for blob in image.blobs) and self._accepted(
                put_manifest(client, repository, tag, image.manifest)
            ):
                self.images[tag] = image

    def check(self, client: httpx.Client, repository: str) -> None:
        """Every tag names what it was acknowledged to name, and all of it is there."""
        for tag, image in self.images.items():
            assert pull_manifest(client, repository, tag) == image.manifest
            for blob in image.blobs:
                assert pull_blob(client, repository, digest_of(blob)) == blob
        assert client.get(f"/v2/{repository}/tags/list").json()["tags"] == sorted(self.images)

    def _push(self, client: httpx.Client, repository: str, blob: bytes) -> bool:
        begun = client.post(f"/v2/{repository}/blobs/uploads/")
        if not self._accepted(begun):
            return False
        location, query = begun.headers["location"], {"digest": digest_of(blob)}
        sent = client.patch(location, content=blob)
        done = self._accepted(sent) and self._accepted(client.put(location, params=query))
        if not done:
            cancelled = client.delete(location)
            if cancelled.status_code != 404 and not self._accepted(cancelled):
                self.uncancelled.append(location)
        return done

    def _accepted(self, response: httpx.Response) -> bool:
        if response.is_success:
            return True
        assert response.status_code in {503, 507}, f"{response.request.method} {response.url}: {response.text}"
        errors_of(response)
        return False


def descriptors(server: Server) -> int:
    """How many files and sockets the server's processes have open."""
    return sum(len(os.listdir(f"/proc/{process}/fd")) for process in (server.pid, *children(server.pid)))
