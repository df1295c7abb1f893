"""SIGKILL of one worker: the others go on, it is replaced, and nothing that was acknowledged or waits is lost."""

import os
import random
import signal

import pytest

from tests.factories import digest_of, random_bytes
from tests.faults.ledger import Ledger
from tests.faults.test_kill import look_at
from tests.faults.writers import Writer
from tests.support.served import Connection, eventually
from tests.support.server import Server, ServerFactory, new_client
from tests.support.workers import alive, children, connections, stopped, worker_of

LONG = os.environ.get("STOWAGE_LONG") == "1"
WRITERS = 8
KILLS = 40 if LONG else 2
PATIENCE = 120.0


@pytest.mark.timeout(3600 if LONG else 900)
def test_when_one_worker_is_killed_the_others_go_on_and_nothing_is_lost(fresh_server: ServerFactory) -> None:
    server, ledger = fresh_server("--workers", "2"), Ledger()
    seed = os.environ.get("STOWAGE_SEED") or os.urandom(4).hex()
    print(f"STOWAGE_SEED={seed}")
    choice = random.Random(seed)
    writers = [
        Writer(lambda: new_client(server), ledger, f"faults/worker-kill-{number}", f"{seed}-{number}")
        for number in range(WRITERS)
    ]
    for writer in writers:
        writer.start()
    for _ in range(KILLS):
        writers = survive_a_kill(server, ledger, writers, choice)
    assert server.stop() == 0  # while they write: the end acknowledges what it takes
    for writer in writers:
        assert_ended(writer)
    server.start()
    assert look_at(server, ledger, ledger.repositories, None) == []


def survive_a_kill(server: Server, ledger: Ledger, writers: list[Writer], choice: random.Random) -> list[Writer]:
    """Kill the worker that has the most to do, and see that the other's clients notice nothing.

    Returns the writers that go on: those that lost their connection begin again.
    """
    before = [writer.acknowledged for writer in writers]
    eventually(lambda: all(w.acknowledged > n + 2 for w, n in zip(writers, before, strict=True)), PATIENCE)
    busiest = max(children(server.pid), key=connections)
    (other,) = set(children(server.pid)) - {busiest}
    spared = connections(other)
    os.kill(busiest, signal.SIGKILL)
    eventually(lambda: not alive(busiest) and len(children(server.pid)) == 2, PATIENCE)
    assert other in children(server.pid)
    before = [writer.acknowledged for writer in writers]
    pairs = list(zip(writers, before, strict=True))
    eventually(lambda: all(not writer.is_alive() or writer.acknowledged > n for writer, n in pairs), PATIENCE)
    going_on = [writer for writer in writers if writer.is_alive()]
    # More than those, if one had just got its answer: it found its connection closed before it asked again.
    assert len(going_on) >= spared, "a client of the other worker was cut off"
    return [writer if writer in going_on else begin_again(server, ledger, writer, choice) for writer in writers]


def begin_again(server: Server, ledger: Ledger, ended: Writer, choice: random.Random) -> Writer:
    """Compare what the server has with what the writer was told, and go on with what is there."""
    assert_ended(ended)
    assert look_at(server, ledger, [ended.repository], choice) == []
    writer = ended.again()
    writer.start()
    return writer


def assert_ended(writer: Writer) -> None:
    """The writer met the end of its connection, and nothing else."""
    writer.join(PATIENCE)
    assert not writer.is_alive(), f"{writer.name} hangs"
    if writer.failure is not None:
        raise writer.failure


def test_who_waits_in_the_queue_of_a_killed_worker_is_answered_by_the_next(
    fresh_server: ServerFactory, repository: str
) -> None:
    server = fresh_server("--workers", "1")
    (worker,) = children(server.pid)
    content = random_bytes(100_000)
    target = f"/v2/{repository}/blobs/uploads/?digest={digest_of(content)}"
    os.kill(worker, signal.SIGSTOP)  # so that it accepts nothing
    eventually(lambda: stopped(worker))
    waiting = [Connection(server.port) for _ in range(5)]
    for connection in waiting:
        connection.ask(target, "POST", f"Content-Length: {len(content)}\r\n", content)
        assert worker_of(connection.socket, [worker]) is None
    os.kill(worker, signal.SIGKILL)
    for connection in waiting:
        with connection:
            assert connection.answer().status == 201
    assert children(server.pid) != [worker]
    assert "SIGKILL" in server.log_tail()
