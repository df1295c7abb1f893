"""Clocks that jump by a day while the server runs: nothing fails, nothing is lost, nothing is held for ever."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pysqlite3 as sqlite3
import pytest

from tests.factories import (
    PushedImage,
    digest_of,
    pull_blob,
    pull_manifest,
    push_blob,
    push_image,
    random_bytes,
    start_upload,
)
from tests.support.server import Connect, Server

DAY = 86_400


class Clock:
    """The wall clock of a server, `ahead` seconds ahead of the real one. Files' times and timeouts stay real."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self.set(0)

    @property
    def settings(self) -> dict[str, str]:
        """Environment variables for the server. libfaketime reads its file at every look at the clock."""
        found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
        assert found, "libfaketime (Debian's faketime) is not installed: tests that set a server's clock can't run"
        return {
            "LD_PRELOAD": str(found[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
            "STOWAGE_UPLOADS__EXPIRE": "2h",
        }

    def set(self, ahead: int) -> None:
        """Make the clock jump."""
        changed = self._file.with_name("clock.new")
        changed.write_text(f"{ahead:+d}\n")
        os.replace(changed, self._file)


Serve = Callable[[], Server]


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    """The clock of `server`."""
    return Clock(tmp_path)


@pytest.fixture
def server(tmp_path: Path, clock: Clock) -> Iterator[Server]:
    """A server that goes by `clock`."""
    with Server(tmp_path / "server", clock.settings) as running:
        yield running


def server_time(client: httpx.Client, server: Server, repository: str) -> float:
    """The server's time in seconds since the epoch, as it wrote it into its database just now."""
    location = start_upload(client, repository)
    found = query(server, "SELECT created_at FROM upload_sessions WHERE id = :id", id=location.rpartition("/")[2])
    assert client.delete(location).status_code == 204
    return found[0][0] / 1_000_000


def query(server: Server, statement: str, **parameters: object) -> list[tuple[int, ...]]:
    """What the server's database answers."""
    database = sqlite3.connect(server.data / "stowage.sqlite3", timeout=120)
    try:
        with database:
            rows: list[tuple[int, ...]] = database.execute(statement, parameters).fetchall()
        return rows
    finally:
        database.close()


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait until something holds; three minutes are more than it takes."""
    deadline = time.monotonic() + 180
    while not holds():
        assert time.monotonic() < deadline, "it did not come to this"
        time.sleep(0.1)


def test_everything_goes_on_when_the_clock_jumps(
    server: Server, connect: Connect, repository: str, clock: Clock
) -> None:
    jumps = (DAY, -DAY, 0)
    client = connect(server)
    images: dict[str, PushedImage] = {"before": push_image(client, repository, "before")}
    loose, content = random_bytes(), random_bytes(90_000)
    push_blob(client, repository, loose)
    location = start_upload(client, repository)
    for number, ahead in enumerate(jumps):
        assert client.patch(location, content=content[number * 100 : (number + 1) * 100]).status_code == 202
        clock.set(ahead)
        assert abs(server_time(client, server, repository) - time.time() - ahead) < 3600
        assert client.get(location).headers["range"] == f"0-{(number + 1) * 100 - 1}"
        assert client.head(f"/v2/{repository}/blobs/{digest_of(loose)}").status_code == 200
        mount = {"mount": digest_of(loose), "from": repository}
        assert client.post(f"/v2/{repository}/{number}/blobs/uploads/", params=mount).status_code == 201
        images[f"tag-{number}"] = images["moving"] = push_image(client, repository, f"tag-{number}")
        moved = {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}
        assert client.put(
            f"/v2/{repository}/manifests/moving", content=images["moving"].manifest, headers=moved
        ).is_success
        assert client.delete(f"/v2/{repository}/manifests/before").status_code == (202 if number == 0 else 404)
        images.pop("before", None)
        assert client.get(f"/v2/{repository}/tags/list").json()["tags"] == sorted(images)
        assert client.get("/readyz").status_code == 200
    rest = content[len(jumps) * 100 :]
    end = client.put(location, params={"digest": digest_of(content)}, content=rest)
    assert end.status_code == 201
    server.kill()
    server.start()
    assert pull_blob(client, repository, digest_of(content)) == content
    assert pull_blob(client, repository, digest_of(loose)) == loose
    for tag, image in images.items():
        assert pull_manifest(client, repository, tag) == image.manifest
        for blob in image.blobs:
            assert pull_blob(client, repository, digest_of(blob)) == blob


def test_what_a_clock_that_was_ahead_wrote_holds_nothing_up(
    server: Server, connect: Connect, repository: str, clock: Clock
) -> None:
    client = connect(server)
    server.kill()
    clock.set(DAY)
    query(server, "UPDATE jobs SET due_at = 0, lease_until = 0")
    server.start()
    due = (
        "SELECT count(*) FROM jobs WHERE due_at > :time AND lease_until = 0 AND name IN ('old-events', 'stale-uploads')"
    )
    tomorrow = int((time.time() + DAY) * 1_000_000)
    wait_until(lambda: query(server, due, time=tomorrow) == [(2,)])
    location = start_upload(client, repository)
    assert client.patch(location, content=b"some").status_code == 202
    server.kill()
    lease = "UPDATE jobs SET due_at = 0, lease_until = :end WHERE name = 'stale-uploads'"
    query(server, lease, end=tomorrow + 120_000_000)  # killed while it was at work
    clock.set(0)
    server.start()
    wait_until(lambda: query(server, due, time=tomorrow) == [(0,)] and query(server, due, time=1) == [(2,)])
    ahead = "SELECT count(*) FROM upload_sessions WHERE updated_at > :time"
    assert query(server, ahead, time=int((time.time() + 60) * 1_000_000)) == [(0,)]
    assert client.get(location).headers["range"] == "0-3"
    assert client.put(location, params={"digest": digest_of(b"some")}).status_code == 201


def test_a_start_with_a_clock_that_is_ahead_leaves_what_another_is_writing(server: Server, clock: Clock) -> None:
    server.kill()
    probe = server.data / "storage" / "uploads" / ".probe-of-another-process"
    probe.write_bytes(b"probe")
    clock.set(DAY)
    server.start()
    assert probe.exists()
