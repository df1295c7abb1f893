"""Two processes on one database and one storage: nothing that matters belongs to either."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from storage.digest import digest_bytes
from tests.support.fleet import BACKENDS, shared_backend
from tests.support.server import Server, new_client

WRITERS = 6
ROUNDS = 10


@pytest.fixture(params=BACKENDS)
def clients(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """A client of each of two servers that share their data."""
    shared = ("--data", str(tmp_path / "a" / "data"))
    settings = shared_backend(request.param)
    with (
        Server(tmp_path / "a", settings) as first,
        Server(tmp_path / "b", settings, shared) as second,
        new_client(first) as a,
        new_client(second) as b,
    ):
        yield a, b


def test_an_upload_begun_at_one_goes_on_at_the_other(
    clients: tuple[httpx.Client, httpx.Client], repository: str
) -> None:
    a, b = clients
    content = os.urandom(3_000_000)
    location = a.post(f"/v2/{repository}/blobs/uploads/").headers["location"]
    first = b.patch(location, content=content[:1_000_000], headers={"Content-Range": "0-999999"})
    assert (first.status_code, first.headers["range"]) == (202, "0-999999")
    second = a.patch(location, content=content[1_000_000:2_000_000])
    assert (second.status_code, second.headers["range"]) == (202, "0-1999999")
    digest = digest_bytes(content)
    assert b.put(location, params={"digest": digest}, content=content[2_000_000:]).status_code == 201
    assert a.get(f"/v2/{repository}/blobs/{digest}").content == content
    assert a.get(location).status_code == b.get(location).status_code == 404


def test_what_one_acknowledges_the_other_shows_at_once(
    clients: tuple[httpx.Client, httpx.Client], repository: str
) -> None:
    faults: list[str] = []

    def write(number: int) -> None:
        for turn in range(ROUNDS):
            here, there = clients[turn % 2], clients[(turn + 1) % 2]
            content = os.urandom(2000)
            digest = digest_bytes(content)
            uploads = f"/v2/{repository}/{number}/blobs/uploads/"
            pushed = here.post(uploads, params={"digest": digest}, content=content)
            pulled = there.get(f"/v2/{repository}/{number}/blobs/{digest}")
            if pushed.status_code != 201 or pulled.content != content:
                faults.append(f"{pushed.status_code} {pushed.text} {pulled.status_code}")

    writers = [threading.Thread(target=write, args=(number,)) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert faults == []
