"""Power loss takes what was not synced: what was acknowledged must be there all the same, and nothing by halves.

A server is recorded while clients write, once killed and started again in between. From the record follows what the
disk would hold if the power went at any moment; a server on that must have what was acknowledged until then.
"""

import math
import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.factories import assert_error, digest_of, pull_blob, pull_manifest, push_image, random_bytes, start_upload
from tests.faults.check import Check
from tests.faults.ledger import Ledger
from tests.faults.leftovers import leftovers
from tests.faults.writers import Sizes, Writer
from tests.support.boots import another_boot
from tests.support.forgetful_disk import ForgetfulDisk, Forgetting
from tests.support.served import eventually
from tests.support.server import Connect, Server, ServerError, ServerFactory, new_client
from tests.support.trace import Call, Event, events, recorder_of, recording
from tests.support.workers import alive

LONG = os.environ.get("STOWAGE_LONG") == "1"
CUTS = 120 if LONG else 3
WRITERS = 4
ACKNOWLEDGED = 300 if LONG else 80
"""So many requests before the server is killed, and again after that."""
SIZES = Sizes(blobs=(10, 5000, 60_000), uploads=(100_000, 2_500_000), chunks=(2, 70_000, 1_300_000))


@dataclass(frozen=True)
class Record:
    """What a server did to the files in `data`, and what it acknowledged meanwhile."""

    data: Path
    ledger: Ledger
    events: list[Event]


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """A server with two workers that was killed twice under its writers."""
    folder, ledger, logs = tmp_path_factory.mktemp("recorded"), Ledger(), []
    for run in ("first", "second"):
        logs.append(folder / f"{run}.strace")
        # A copy of the database is made outside of the folder that the disk is a model of.
        settings = {"STOWAGE_BACKUP__ENABLED": "false"}
        with Server(folder, settings, arguments=("--workers", "2"), wrapper=recording(logs[-1])) as server:
            recorder = recorder_of(server.pid)
            write(server, ledger, run)
        eventually(partial(_has_ended, recorder), 180)
    return Record(folder / "data", ledger, [event for log in logs for event in events(log)])


def _has_ended(process: int) -> bool:
    return not alive(process)


def write(server: Server, ledger: Ledger, run: str) -> None:
    """Have clients write until enough is acknowledged, and end the server while they do."""
    enough = ledger.acknowledged + ACKNOWLEDGED
    writers = [
        Writer(lambda: new_client(server), ledger, f"power/{run}-{number}", f"{run}{number}", sizes=SIZES)
        for number in range(WRITERS)
    ]
    for writer in writers:
        writer.start()
    eventually(lambda: ledger.acknowledged >= enough or any(not writer.is_alive() for writer in writers), 400)
    server.kill()
    for writer in writers:
        writer.join(180)
        if writer.failure is not None:
            raise writer.failure


@dataclass(frozen=True)
class Cut:
    """What a disk holds after power loss at a moment, in seconds since the epoch."""

    at: float
    kept: float
    data: Path


def cuts(record: Record, folder: Path, moments: list[float], choice: random.Random) -> Iterator[Cut]:
    """Cut the power at the first call after each moment. At some cuts the disk has kept some of what was not synced."""
    disk, waiting = ForgetfulDisk(record.data), sorted(moments)
    for event in [*record.events, None]:
        while waiting and (event is None or (not event.ended and event.call.time > waiting[0])):
            waiting.pop(0)
            at = math.inf if event is None else event.call.time
            kept = 0.0 if event is None else choice.choice((0.0, 0.0, 0.5, 0.9))
            data = folder / f"{len(waiting)}" / "data"
            data.parent.mkdir()
            disk.materialise(data, Forgetting(kept, choice))
            yield Cut(at, kept, data)
        if event is not None:
            disk.take(event)


def losses_of(server: Server, ledger: Ledger, at: float) -> list[str]:
    """What a server has lost that was acknowledged before a moment."""
    with new_client(server) as client:
        check = Check(client, ledger, at=at)
        for repository in ledger.repositories:
            check.repository(repository)
        for session in ledger.sessions:
            if session.opened < at:
                check.session(session, durable=False)
    return check.losses


@pytest.mark.timeout(7200 if LONG else 900)
def test_what_was_acknowledged_survives_power_loss(record: Record, tmp_path: Path) -> None:
    seed = os.environ.get("STOWAGE_SEED") or os.urandom(4).hex()
    print(f"STOWAGE_SEED={seed}")
    choice, acknowledged = random.Random(seed), record.ledger.moments()
    moments = [choice.choice(acknowledged) for _ in range(CUTS // 2)]
    moments += [choice.uniform(record.events[0].call.time, record.events[-1].call.time) for _ in range((CUTS - 1) // 2)]
    checked = 0
    for cut in cuts(record, tmp_path, [*moments, math.inf], choice):
        with Server(cut.data.parent, wrapper=another_boot(cut.data.parent)) as server:
            assert losses_of(server, record.ledger, cut.at) == [], f"cut at {cut.at:f}, {cut.kept} kept"
            with new_client(server) as client:
                image = push_image(client, "power/after", "tag")
                assert pull_manifest(client, "power/after", "tag") == image.manifest
            if math.isinf(cut.at) or LONG:
                assert leftovers(server) == []
        shutil.rmtree(cut.data.parent)
        checked += 1
    assert checked == len(moments) + 1


def syncs_no_objects(call: Call) -> bool:
    """A store that renames without syncing the content first."""
    return "/storage/uploads/" in str(call.file(0))


def syncs_no_folders(call: Call) -> bool:
    """A store that does not sync the folders that it renames into."""
    return "/storage/blobs" in str(call.file(0))


def syncs_no_log(call: Call) -> bool:
    """A database that commits without syncing its log."""
    return str(call.file(0)).endswith("-wal")


@pytest.mark.parametrize("lies", [syncs_no_objects, syncs_no_folders, syncs_no_log])
def test_what_is_not_synced_is_found_to_be_lost(record: Record, tmp_path: Path, lies: Callable[[Call], bool]) -> None:
    disk = ForgetfulDisk(record.data, lies=lies)
    for event in record.events:
        disk.take(event)
    disk.materialise(tmp_path / "data", Forgetting())
    try:
        with Server(tmp_path, wrapper=another_boot(tmp_path)) as server:
            losses = losses_of(server, record.ledger, math.inf)
    except ServerError as error:
        losses = [str(error)]  # a database without its log need not even open
    assert losses


CONTENT = random_bytes(300_000)


def test_what_was_lost_of_an_upload_is_never_acknowledged(
    fresh_server: ServerFactory, connect: Connect, repository: str
) -> None:
    server = fresh_server()
    whole, damaged, damaged_too = (start_upload(connect(server), repository) for _ in range(3))
    for location in (whole, damaged, damaged_too):
        assert connect(server).patch(location, content=CONTENT).status_code == 202
    server.kill()
    for location in (damaged, damaged_too):
        with (server.data / "storage" / "uploads" / location.rpartition("/")[2]).open("r+b") as file:
            file.seek(-4096, os.SEEK_END)
            file.write(bytes(4096))
    folder = server.data.parent
    with Server(folder, wrapper=another_boot(folder)) as restarted:
        client, digest = connect(restarted), digest_of(CONTENT)
        assert_lost(client, repository, damaged, b"")
        assert_lost(client, repository, damaged_too, b"and more")
        assert client.put(whole, params={"digest": digest}).status_code == 201
        assert pull_blob(client, repository, digest) == CONTENT
        assert list((restarted.data / "storage" / "uploads").iterdir()) == []


def assert_lost(client: httpx.Client, repository: str, location: str, rest: bytes) -> None:
    """An upload of which bytes were lost can't be finished: it has ended."""
    digest = digest_of(CONTENT + rest)
    assert_error(client.put(location, params={"digest": digest}, content=rest), 404, "BLOB_UPLOAD_UNKNOWN")
    assert client.head(f"/v2/{repository}/blobs/{digest}").status_code == 404
    assert client.get(location).status_code == 404
