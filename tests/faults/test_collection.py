"""Collection without any grace, while clients push, mount, look, pull and delete, and processes are killed.

On two servers with SQLite and a folder, and on three replicas with PostgreSQL and S3.
"""

import os
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.faults.collecting import Collected
from tests.faults.gc_now import EXPIRE_S, HOLD_S, SOON, Collection, collect_all, delete_everything, left
from tests.support.fleet import BACKENDS, shared_backend
from tests.support.served import eventually
from tests.support.server import Server, new_client

LONG = os.environ.get("STOWAGE_LONG") == "1"
SECONDS = 600 if LONG else 6
KILLS = 3
"""At least, however long they take."""


@contextmanager
def several_servers(folder: Path, backend: str) -> Iterator[list[Server]]:
    """Servers that share their data: two on a folder, three on S3."""
    settings = {**shared_backend(backend), **SOON}
    first = Server(folder / "a", settings, ("--workers", "1"))
    shared = () if settings.keys() > SOON.keys() else ("--data", str(first.data))
    names = "bc" if backend == "fleet" else "b"
    others = [Server(folder / name, settings, ("--workers", "1", *shared)) for name in names]
    with ExitStack() as stack:
        yield [stack.enter_context(server) for server in (first, *others)]


@pytest.mark.timeout(SECONDS + 1200)
@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_that_was_acknowledged_is_collected_and_in_the_end_the_space_is_back(
    tmp_path: Path, backend: str
) -> None:
    seed = os.environ.get("STOWAGE_SEED") or os.urandom(4).hex()
    print(f"STOWAGE_SEED={seed}")
    moments = random.Random(seed)
    with several_servers(tmp_path, backend) as servers:
        names = [f"collected/{number}" for number in range(4)]
        clients = [
            Collected(servers, name, [one for one in names if one != name], seed, hold_s=HOLD_S, expire_s=EXPIRE_S)
            for name in names
        ]
        collection = Collection(servers[0])
        for thread in (*clients, collection):
            thread.start()
        try:
            kill_now_and_then(servers, collection, clients, moments)
        finally:
            for leaving in (*(one.leave for one in clients), collection.leave):
                leaving.set()
            collection.kill()
            for thread in (*clients, collection):
                thread.join(300)
        assert not any(thread.is_alive() for thread in (*clients, collection))
        with new_client(servers[0]) as client:
            for one in clients:
                one.pull_all(client)
            done = [one.done for one in clients]
            print(done, collection.ended, collection.deleted)
            assert [fault for one in clients for fault in one.faults] == collection.faults == []
            assert is_enough(collection, clients)
            delete_everything(client, names)
        collect_all(servers[0])
        for server in servers[1:]:
            server.stop()
        assert left(servers[0]) == []


def is_enough(collection: Collection, clients: list[Collected]) -> bool:
    """Whether so much was done and collected that something could have been lost."""
    return collection.deleted >= 20 and all(count > 0 for one in clients for count in one.done.values())


def kill_now_and_then(
    servers: list[Server], collection: Collection, clients: list[Collected], moments: random.Random
) -> None:
    """Kill a server or the collection, at random moments, until there was time enough, and wait for enough to be done.

    By then without kills: on a machine that has much to do, servers would do little but start.
    """
    end, kills, killed_at = time.monotonic() + SECONDS, 0, 0
    while time.monotonic() < end or kills < KILLS:
        time.sleep(moments.uniform(1, 3))
        kills += 1
        if collection.ended >= killed_at + 3:  # not more often, as the next one waits for its lease to end
            killed_at = collection.ended
            collection.kill()
        else:
            server = moments.choice(servers)
            server.kill()
            server.start()
    eventually(
        lambda: is_enough(collection, clients) or bool(collection.faults) or any(one.faults for one in clients), 300
    )
