"""SIGKILL while eight clients write: what was acknowledged is there, and nothing is there by halves."""

import os
import random
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import pytest

from tests.faults.check import Check
from tests.faults.ledger import BLOB, MANIFEST, REFERRER, TAG, Ledger
from tests.faults.leftovers import leftovers
from tests.faults.writers import SHARED, Writer
from tests.support.people import asking
from tests.support.served import eventually
from tests.support.server import Server, ServerError, ServerFactory, new_client

LONG = os.environ.get("STOWAGE_LONG") == "1"
ROUNDS = 200 if LONG else 3
WRITERS = 8
KEPT = 5
"""After so many rounds writers turn to new repositories, so that looking at them all stays quick."""


@pytest.mark.timeout(7200 if LONG else 900)
@pytest.mark.parametrize("workers", [1, 2] if LONG else [2])
def test_what_was_acknowledged_survives_sigkill(fresh_server: ServerFactory, workers: int) -> None:
    server = fresh_server("--workers", str(workers))
    seed = os.environ.get("STOWAGE_SEED") or os.urandom(4).hex()
    print(f"STOWAGE_SEED={seed}")
    moments, ledger = random.Random(seed), Ledger()
    for turn in range(ROUNDS):
        writers = writers_of(server, ledger, turn, seed)
        write_until(writers, partial(wait_for_a_moment, ledger, writers, moments), server.kill)
        if moments.random() < 0.3:  # and again while it recovers
            with suppress(ServerError):
                server.start(ready_within=moments.uniform(0.05, 1.0))
            server.kill()
        server.start()
        written = [*(writer.repository for writer in writers), SHARED]
        losses = look_at(server, ledger, written if turn < ROUNDS - 1 else ledger.repositories, moments)
        assert losses == [], f"round {turn}"
    print(f"{ROUNDS} rounds, {ledger.acknowledged} requests acknowledged")
    assert leftovers(server) == []
    ledger.sessions.clear()
    assert look_at(server, ledger, ledger.repositories, None) == []


def writers_of(server: Server, ledger: Ledger, turn: int, seed: str, *, lenient: bool = False) -> list[Writer]:
    """The writers of a round."""
    return [
        Writer(
            lambda: new_client(server),
            ledger,
            f"faults/{turn // KEPT}/writer-{number}",
            f"{seed}-{turn}-{number}",
            lenient=lenient,
        )
        for number in range(WRITERS)
    ]


def wait_for_a_moment(ledger: Ledger, writers: list[Writer], choice: random.Random) -> None:
    """Wait until some more is acknowledged, however fast this machine is, and a moment longer."""
    enough = ledger.acknowledged + choice.randrange(1, 150)
    eventually(lambda: ledger.acknowledged >= enough or not all(writer.is_alive() for writer in writers), 300)
    time.sleep(choice.uniform(0, 0.1))


def write_until(writers: list[Writer], moment: Callable[[], None], kill: Callable[[], None]) -> None:
    """Let writers write until the moment when the server is killed."""
    for writer in writers:
        writer.start()
    moment()
    kill()
    for writer in writers:
        writer.join(180)
        assert not writer.is_alive(), f"{writer.name} hangs"
        if writer.failure is not None:
            raise writer.failure


def look_at(
    server: Server,
    ledger: Ledger,
    repositories: list[str],
    choice: random.Random | None,
    *,
    durable: bool = True,
    who: tuple[str, str] | None = None,
) -> list[str]:
    """Compare what the server has with the ledger, which then begins anew with that.

    Args:
        server: the server, recovered.
        ledger: what it acknowledged.
        repositories: which to look at.
        choice: which of the open uploads are finished, and which are left to writers; all are finished without.
        durable: whether upload sessions must be as they were acknowledged.
        who: the name and password of somebody who may do everything, where people log in.
    """
    with asking(server, who) as client:
        check = Check(client, ledger)
        for repository in repositories:
            check.repository(repository)
        check.settle()
        for session in [one for one in ledger.sessions if one.repository in repositories]:
            if session.ended > time.time():
                check.session(session, leave=choice is not None and choice.random() < 0.5, durable=durable)
            if session.ended <= time.time():
                ledger.sessions.remove(session)
    return check.losses


def enough_to_lose(ledger: Ledger, repository: str) -> bool:
    """Whether there is something of each kind."""
    there = [len(ledger.known(repository, kind)) for kind in (BLOB, TAG, MANIFEST, REFERRER)]
    gone = any(ledger.possible(key) == {None} for key in ledger.keys(repository) if key.kind == BLOB)
    return gone and all(count >= least for count, least in zip(there, (5, 3, 4, 1), strict=True))


def test_the_check_finds_losses(fresh_server: ServerFactory) -> None:
    server, ledger = fresh_server(), Ledger()
    writer = Writer(lambda: new_client(server), ledger, "faults/losses", "losses")
    with new_client(server) as client:  # one thing after the other: in a thread it would go on, and delete again
        while not enough_to_lose(ledger, writer.repository):
            assert writer.goes_on(client), writer.failure
    server.kill()
    server.start()
    assert look_at(server, ledger, ledger.repositories, random.Random(0)) == []
    lost_tags = ledger.known(writer.repository, TAG)
    lost = {kind: list(ledger.known(writer.repository, kind)) for kind in (BLOB, MANIFEST, TAG, REFERRER)}
    back = next(key for key in ledger.keys(writer.repository) if key.kind == BLOB and ledger.possible(key) == {None})
    server.stop()
    (missing, changed, unlinked), (untagged, moved) = lost[BLOB][:3], lost[TAG][:2]
    server.object_of(missing.name).unlink()
    file = server.object_of(changed.name)
    file.write_bytes(bytes(file.stat().st_size))
    find = "SELECT id FROM blobs WHERE digest"
    server.sql(f"UPDATE links SET deleted_at = 1 WHERE blob_id = ({find} = '{unlinked.name}')")
    server.sql(f"UPDATE links SET deleted_at = NULL WHERE blob_id = ({find} = '{back.name}')")
    server.sql(f"DELETE FROM tags WHERE name = '{untagged.name}'")
    other = f"SELECT id FROM manifests WHERE digest <> '{lost_tags[moved]}' LIMIT 1"
    server.sql(f"UPDATE tags SET manifest_id = ({other}) WHERE name = '{moved.name}'")
    server.sql(f"UPDATE manifests SET subject = NULL WHERE digest = '{lost[REFERRER][0].name}'")
    server.sql(f"UPDATE manifests SET deleted_at = 1 WHERE digest = '{lost[MANIFEST][0].name}'")
    server.start()
    losses = look_at(server, ledger, [writer.repository], None)
    for key in (missing, changed, unlinked, back, untagged, moved, lost[REFERRER][0], lost[MANIFEST][0]):
        assert any(loss.startswith(f"{key}:") for loss in losses), f"{key} is not among {losses}"
