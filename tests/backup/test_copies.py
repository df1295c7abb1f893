"""Copies of the database: made beside a running server, kept, shown, given up."""

import json
import os
import signal
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pysqlite3 as sqlite3
import pytest

from registry.db.sqlite_copy import Room
from registry.errors import NoSpace
from tests.backup.contents import Pusher, pulled
from tests.cli.commands import printed, refused, stowage
from tests.factories import push_image
from tests.support.scrape import Scrape
from tests.support.served import eventually
from tests.support.server import ROOT, Connect, Server, ServerFactory, new_client

PATIENCE = 180.0
BY_HAND = {"STOWAGE_BACKUP__ENABLED": "false"}
"""The server makes no copies at moments of its own."""


def attic(server: Server) -> list[str]:
    """The files that lie beside the content."""
    folder = server.data / "storage" / "attic"
    return sorted(os.listdir(folder)) if folder.exists() else []


def beside(server: Server) -> list[str]:
    """The files of the data folder that a server alone would not have."""
    usual = {"storage", *(f"stowage.sqlite3{end}" for end in ("", "-wal", "-shm", ".lock", ".writer", ".reserve"))}
    return sorted(set(os.listdir(server.data)) - usual)


def test_a_copy_is_whole_while_clients_push_and_delete(fresh_server: ServerFactory, tmp_path: Path) -> None:
    server = fresh_server(**BY_HAND)
    data = ("--data", str(server.data))
    pushers = [Pusher(server, f"load/{number}") for number in range(2)]
    for pusher in pushers:
        pusher.start()
    try:
        eventually(lambda: all(pusher.done > 3 for pusher in pushers), PATIENCE)
        made = [json.loads(printed("backup", "--json", *data, STOWAGE_BACKUP__KEEP="2")) for _ in range(3)]
    finally:
        for pusher in pushers:
            pusher.leave.set()
        for pusher in pushers:
            pusher.join(PATIENCE)
    assert [pusher.faults for pusher in pushers] == [[], []]
    kept = sorted(one["name"] for one in made[1:])
    assert attic(server) == sorted([*kept, *(f"{name}.json" for name in kept)])
    assert beside(server) == []
    for one in made[1:]:
        file = server.data / "storage" / "attic" / one["name"]
        content = file.read_bytes()
        assert (len(content), sha256(content).hexdigest()) == (one["size"], one["sha256"])
        assert file.stat().st_mode & 0o777 == 0o600
    server.stop()
    told = printed("restore", made[1]["name"], "--yes", *data)
    assert f"{made[1]['name']}, of {made[1]['madeAt']}, is the database now: " in told
    assert "missing" not in told
    server.start()
    with new_client(server) as client:
        assert len(pulled(client)) >= 3


def test_the_server_makes_copies_by_itself_and_tells_how_that_went(
    fresh_server: ServerFactory, connect: Connect, repository: str
) -> None:
    server = fresh_server(STOWAGE_BACKUP__KEEP="1")
    push_image(connect(server), repository, tag="t")
    server.stop()
    seen = []
    for _ in range(2):
        server.sql("UPDATE jobs SET due_at = 0, lease_until = 0 WHERE name = 'backup'")
        server.start()
        eventually(
            lambda: Scrape.of(server.url).value("job_last_success_timestamp_seconds", name="backup") > 0, PATIENCE
        )
        seen.append(attic(server))
        server.stop()
    assert [len(one) for one in seen] == [2, 2]
    assert seen[0] != seen[1]


def test_what_fails_is_told_and_harms_nothing(fresh_server: ServerFactory, connect: Connect, repository: str) -> None:
    """Here a file lies where the folder of copies would be; then it is taken away."""
    server = fresh_server(**BY_HAND)
    client = connect(server)
    data = ("--data", str(server.data))
    push_image(client, repository, tag="t")
    in_the_way = server.data / "storage" / "attic"
    in_the_way.touch()
    assert "Not a directory" in refused("backup", *data)
    assert "Not a directory" in stowage("check", *data, "--port", str(server.port)).stdout
    content = json.loads(stowage("check", *data, "--port", str(server.port), "--json").stdout)
    assert "BackupFailed" in {problem["reason"] for problem in content["problems"]}
    server.stop()
    server.sql("UPDATE jobs SET due_at = 0, lease_until = 0 WHERE name = 'backup'")
    again = fresh_server(*data)
    eventually(lambda: Scrape.of(again.url).value("job_failures_total", name="backup") >= 1, PATIENCE)
    eventually(lambda: "job backup is tried again later: " in again.log_tail())
    assert pulled(connect(again)).keys() == {f"{repository}:t"}
    again.stop()
    in_the_way.unlink()
    assert server.sql("SELECT count(*) FROM backups WHERE kind = 0") == [("0",)]
    server.start()
    printed("backup", *data)
    assert "BackupFailed" not in stowage("check", *data, "--port", str(server.port)).stdout
    assert beside(server) == []


@pytest.mark.anyio
async def test_there_must_be_room(new_data: Path, tmp_path: Path) -> None:
    """What must stay free is more than any disk has. `Room` asks how much is free, and allocates nothing for it."""
    database = tmp_path / "db"
    database.write_bytes((new_data / "stowage.sqlite3").read_bytes())
    with Room(database, 2**62) as room, pytest.raises(NoSpace, match="no room for a copy"):
        await room.copy()
    assert os.listdir(tmp_path) == ["db"]


def test_a_damaged_database_makes_no_copy(fresh_server: ServerFactory, connect: Connect, repository: str) -> None:
    server = fresh_server(**BY_HAND)
    for number in range(3):
        push_image(connect(server), repository, tag=f"t{number}")
    data = ("--data", str(server.data))
    kept = json.loads(printed("backup", "--json", *data))["name"]
    server.stop()
    file = server.data / "stowage.sqlite3"
    connection = sqlite3.connect(file)
    [(page,)] = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'manifests'").fetchall()
    connection.close()
    with file.open("r+b") as damaged:
        damaged.seek((page - 1) * 4096)
        damaged.write(b"\xff" * 4096)
    assert "malformed" in refused("backup", *data)
    assert attic(server) == [kept, f"{kept}.json"]
    # The damaged database is put aside as it is, and the copy takes its place.
    printed("restore", kept, "--yes", *data)
    server.start()
    assert len(pulled(connect(server))) == 3


def test_one_that_is_killed_leaves_nothing_that_stays(
    fresh_server: ServerFactory, connect: Connect, repository: str
) -> None:
    server = fresh_server(**BY_HAND)
    push_image(connect(server), repository, tag="t")
    server.sql(  # so that there is a middle in which it is killed
        "CREATE TABLE large AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 25000) "
        "SELECT i, randomblob(1000) AS content FROM n"
    )
    data = ("--data", str(server.data))
    command = [sys.executable, "-m", "tests.backup.killed", "backup", *data]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr
    assert beside(server) != []
    assert server.sql("SELECT count(*) FROM backups WHERE size IS NULL") == [("1",)]
    made = json.loads(printed("backup", "--json", *data))
    assert beside(server) == []
    assert attic(server) == [made["name"], f"{made['name']}.json"]
    assert server.sql("SELECT name FROM backups") == [(made["name"],)]


def test_copies_elsewhere_marks_and_the_list(
    fresh_server: ServerFactory, connect: Connect, repository: str, tmp_path: Path
) -> None:
    server = fresh_server(**BY_HAND)
    push_image(connect(server), repository, tag="t")
    data = ("--data", str(server.data))
    assert printed("backup", "list", *data) == "there are no copies"
    target = tmp_path / "elsewhere.sqlite3"
    assert printed("backup", "--to", str(target), "--for", "1d", *data).startswith(
        f"the database was copied to {target}"
    )
    assert json.loads((tmp_path / "elsewhere.sqlite3.json").read_text())["size"] == target.stat().st_size
    assert "File exists" in refused("backup", "--to", str(target), *data)
    assert "No such file" in refused("backup", "--to", str(tmp_path / "no" / "folder"), *data)
    assert printed("backup", "mark", "nightly", "--for", "2w", *data) == "nightly"
    assert "already" in refused("backup", "mark", "nightly", "--for", "2w", *data)
    made = json.loads(printed("backup", "--json", *data))
    content = json.loads(printed("backup", "list", "--json", *data))
    assert [(one["name"], one["known"]) for one in content["copies"]] == [(made["name"], True)]
    assert [one["name"][:17] for one in content["marks"]] == ["elsewhere.sqlite3", "nightly"]
    assert content["failed"] == []
    lines = printed("backup", "list", *data).splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(f"{made['name']}  {made['madeAt']}  ")
    for name in ("nightly", made["name"]):
        assert printed("backup", "forget", name, *data) == f"{name} is gone"
        assert "there is no copy and no mark" in refused("backup", "forget", name, *data)
    assert attic(server) == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("backup", "--for", "1d"), "--to"),
        (("backup", "mark"), "--for"),
        (("backup", "mark", "--for", "soon"), "30d"),
        (("backup", "--json", "list"), "options after `backup list`"),
    ],
)
def test_what_it_expects_is_said(arguments: tuple[str, ...], expected: str) -> None:
    assert expected in refused(*arguments, status=2)


def test_without_a_number_to_keep_there_are_no_copies(
    fresh_server: ServerFactory, connect: Connect, repository: str
) -> None:
    server = fresh_server(**BY_HAND)
    push_image(connect(server), repository, tag="t")
    data = ("--data", str(server.data))
    printed("backup", *data)
    assert "backup.keep is 0" in refused("backup", *data, STOWAGE_BACKUP__KEEP="0")
    server.stop()
    server.sql("UPDATE jobs SET due_at = 0, lease_until = 0 WHERE name = 'backup'")
    fresh_server(*data, STOWAGE_BACKUP__KEEP="0")
    eventually(lambda: attic(server) == [], PATIENCE)
    eventually(lambda: server.sql("SELECT count(*) FROM backups") == [("0",)], PATIENCE)
