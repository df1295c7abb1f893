"""Ten thousand uploads that nobody finishes: they leak neither descriptors nor memory, and end in their time."""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.factories import push_image, random_bytes
from tests.support.served import Connection, eventually
from tests.support.server import Connect, Server, ServerFactory
from tests.support.workers import children

REPOSITORIES = 20
SESSIONS = 500  # of each repository, in requests sent ahead of their answers
AHEAD = 50
KIB = 1024
MIB = 1024 * KIB
MEMORY_GROWTH = 64 * MIB
"""Much more than what is kept of sessions on purpose (the hashes of the last few thousand), much less than a leak of
10 KiB each."""

PATIENCE = 600  # for a store that is asked for each session whether something of it is left

CONTENT = random_bytes(100 * KIB)


def descriptors(server: Server) -> int:
    """How many files all processes of the server have open."""
    return sum(len(os.listdir(f"/proc/{process}/fd")) for process in (server.pid, *children(server.pid)))


def memory(server: Server) -> int:
    """How many bytes of memory all processes of the server hold (proc_pid_status(5))."""
    found = (Path(f"/proc/{process}/status").read_text() for process in (server.pid, *children(server.pid)))
    return sum(int(text.partition("VmRSS:")[2].split()[0]) * KIB for text in found)


def abandon(server: Server, repository: str, number: int) -> list[str]:
    """Begin uploads, and return their paths."""
    locations: list[str] = []
    request = f"POST /v2/{repository}/blobs/uploads/ HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".encode()
    with Connection(server.port) as connection:
        for _ in range(0, number, AHEAD):
            connection.send(request * AHEAD)
            for _ in range(AHEAD):
                answer = connection.answer()
                assert answer.status == 202, answer
                locations.append(answer.headers["location"])
    return locations


def cut_off(server: Server, location: str, reset: bool) -> None:
    """Send the beginning of a chunk, and go."""
    with Connection(server.port) as connection:
        connection.ask(location, "PATCH", f"Content-Length: {len(CONTENT)}\r\n", CONTENT[: 30 * KIB])
        if reset:
            connection.reset()


@pytest.mark.timeout(1500)
def test_abandoned_sessions_cost_nothing_but_their_rows(fresh_server: ServerFactory, connect: Connect) -> None:
    server = fresh_server(STOWAGE_UPLOADS__MAX_SESSIONS=str(SESSIONS), STOWAGE_HTTP__WORKERS="1")
    client = connect(server)
    for number in range(3):  # what is made once is made before
        push_image(client, "warm", f"{number}")
        cut_off(server, abandon(server, "warm", AHEAD)[0], reset=False)
    files, held = descriptors(server), memory(server)
    with ThreadPoolExecutor(4) as pool:
        names = [f"abandoned/{number}" for number in range(REPOSITORIES)]
        begun = [
            location for some in pool.map(lambda name: abandon(server, name, SESSIONS), names) for location in some
        ]
        assert len(set(begun)) == REPOSITORIES * SESSIONS
        list(pool.map(lambda at: cut_off(server, begun[at], reset=at % 2 == 0), range(0, len(begun), 25)))
    assert client.post("/v2/abandoned/0/blobs/uploads/").status_code == 429
    assert client.get("/v2/").status_code == 200
    # A database and a store that are servers have connections that are kept; each of 400 chunks was cut off.
    kept = 80 if server.backend() else 4
    eventually(lambda: descriptors(server) <= files + kept, seconds=60)
    assert memory(server) - held < MEMORY_GROWTH
    assert_sessions_go_on(client, begun)
    expire_all(server, client, begun)


def assert_sessions_go_on(client: httpx.Client, begun: list[str]) -> None:
    """Every one is there, with what was received or nothing."""
    for location in begun[::100]:
        found = client.get(location)
        assert found.status_code == 204
        assert re.fullmatch(r"0-(0|\d{1,5})", found.headers["range"])


def expire_all(server: Server, client: httpx.Client, begun: list[str]) -> None:
    """After their time nothing is left of them, neither rows nor bytes."""
    server.stop()
    server.sql("UPDATE upload_sessions SET updated_at = updated_at - 8 * 86400000000")
    server.sql("UPDATE jobs SET due_at = 0, lease_until = 0")
    server.start()
    eventually(lambda: client.get(begun[-1]).status_code == 404, seconds=PATIENCE)
    eventually(lambda: count_rows(server) == 0, seconds=PATIENCE)
    eventually(lambda: server.stored.uploads() == [], seconds=PATIENCE)


def count_rows(server: Server) -> int:
    """How many sessions the database has."""
    ((count,),) = server.sql("SELECT count(*) FROM upload_sessions")
    return int(count)
