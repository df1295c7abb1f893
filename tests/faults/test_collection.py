"""Collection without any grace, while clients push, mount, look, pull and delete, and processes are killed."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.faults.collecting import Collected
from tests.faults.leftovers import leftovers
from tests.support.server import ROOT, Server, new_client

LONG = os.environ.get("STOWAGE_LONG") == "1"
SECONDS = 600 if LONG else 12
HOLD_S = 2
"""Short, or nothing would be collected meanwhile. A client that is slower to push an image may have to begin anew."""
SETTINGS = {
    "STOWAGE_COLLECTION__GRACE": "0s",
    "STOWAGE_COLLECTION__HOLD": f"{HOLD_S}s",
    "STOWAGE_COLLECTION__INTERVAL": "1s",
    "STOWAGE_HISTORY__WINDOW": "0s",
    "STOWAGE_UPLOADS__EXPIRE": "1s",
    "STOWAGE_BACKUP__ENABLED": "false",  # a copy of the database keeps what it names
}


class Collection(threading.Thread):
    """Runs `stowage gc --now` again and again.

    Attributes:
        ended: how many ran to their end.
        deleted: how many blobs those deleted.
        faults: what those that failed said.
    """

    def __init__(self, server: Server) -> None:
        super().__init__(daemon=True)
        self.ended = 0
        self.deleted = 0
        self.faults: list[str] = []
        self.leave = threading.Event()
        self._server = server
        self._process: subprocess.Popen[str] | None = None

    def kill(self) -> None:
        """Kill the one that runs (SIGKILL)."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)

    def run(self) -> None:
        while not self.leave.is_set():
            self._process = collecting(self._server)
            told, said = self._process.communicate(timeout=120)
            if self._process.returncode == 0:
                self.ended += 1
                self.deleted += json.loads(told)["blobs"]
            elif self._process.returncode != -signal.SIGKILL:
                self.faults.append(said)


def collecting(server: Server) -> "subprocess.Popen[str]":
    """Start `stowage gc --now` on a server's data."""
    return subprocess.Popen(
        [sys.executable, "-m", "registry", "gc", "--now", "--json", "--data", str(server.data)],
        cwd=ROOT,
        env={**os.environ, **SETTINGS},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def two_servers(folder: Path) -> Iterator[tuple[Server, Server]]:
    """Two servers that share their data."""
    first = Server(folder / "a", SETTINGS, ("--workers", "1"))
    second = Server(folder / "b", SETTINGS, ("--workers", "1", "--data", str(first.data)))
    with first, second:
        yield first, second


@pytest.mark.timeout(SECONDS + 300)
def test_nothing_that_was_acknowledged_is_collected_and_in_the_end_the_space_is_back(tmp_path: Path) -> None:
    seed = os.environ.get("STOWAGE_SEED") or os.urandom(4).hex()
    print(f"STOWAGE_SEED={seed}")
    moments = random.Random(seed)
    with two_servers(tmp_path) as servers:
        names = [f"collected/{number}" for number in range(4)]
        clients = [Collected(servers, name, [one for one in names if one != name], HOLD_S, seed) for name in names]
        collection = Collection(servers[0])
        for thread in (*clients, collection):
            thread.start()
        try:
            kill_now_and_then(servers, collection, moments)
        finally:
            for leaving in (*(one.leave for one in clients), collection.leave):
                leaving.set()
            collection.kill()
            for thread in (*clients, collection):
                thread.join(150)
        assert not any(thread.is_alive() for thread in (*clients, collection))
        with new_client(servers[0]) as client:
            for one in clients:
                one.pull_all(client)
            done = [one.done for one in clients]
            print(done, collection.ended, collection.deleted)
            assert [fault for one in clients for fault in one.faults] == collection.faults == []
            assert all(count > 0 for one in done for count in one.values())
            assert collection.deleted >= 20
            delete_everything(client, names)
        collect_all(servers[0])
        servers[1].stop()
        assert left(servers[0]) == []


def kill_now_and_then(servers: tuple[Server, Server], collection: Collection, moments: random.Random) -> None:
    """Kill a server or the collection, at random moments, until there was time and collection enough."""
    end, killed_at = time.monotonic() + SECONDS, 0
    while time.monotonic() < end or (collection.deleted < 20 and time.monotonic() < end + 120):
        time.sleep(moments.uniform(1, 3))
        if collection.ended >= killed_at + 3:  # not more often, as the next one waits for its lease to end
            killed_at = collection.ended
            collection.kill()
        else:
            server = moments.choice(servers)
            server.kill()
            server.start()


def delete_everything(client: httpx.Client, names: list[str]) -> None:
    """Delete every manifest that has a tag, the acknowledged and those whose push was cut short."""
    for name in names:
        listed = client.get(f"/v2/{name}/tags/list")
        for tag in listed.json()["tags"] if listed.status_code == 200 else []:
            digest = client.head(f"/v2/{name}/manifests/{tag}").headers["docker-content-digest"]
            assert client.delete(f"/v2/{name}/manifests/{digest}").status_code == 202


def collect_all(server: Server) -> None:
    """Collect until holds have ended, with what the killed left in uploads out of the way."""
    server.sql("DELETE FROM upload_sessions")
    end = time.monotonic() + 120
    while time.monotonic() < end:
        process = collecting(server)
        said = process.communicate(timeout=120)
        assert process.returncode == 0, said
        if server.sql("SELECT count(*) FROM candidates") == [("0",)]:
            return
        time.sleep(1)


def left(server: Server) -> list[str]:
    """A line for each row and each object that is left, once what crashes left without a row is swept up, too."""
    found = leftovers(server)
    for table in ("repositories", "blobs", "links", "manifests", "tags", "tag_history", "candidates", "doomed"):
        found += [f"{table}: {row}" for row in server.sql(f"SELECT * FROM {table}")]
    return found + [str(file) for file in (server.data / "storage").rglob("*") if file.is_file()]
