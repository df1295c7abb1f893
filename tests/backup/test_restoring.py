"""`stowage restore`: what a copy names is there again, whatever was pushed, deleted and collected since."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from registry.db.migrate import REVISION
from tests.backup.contents import pulled
from tests.cli.commands import printed, refused, stowage
from tests.factories import digest_of, push_blob, push_image
from tests.support.databases import sql_on_file
from tests.support.s3 import S3Server, server_settings
from tests.support.schemas import take_back
from tests.support.scrape import Scrape
from tests.support.server import ROOT, Connect, Server, ServerFactory, new_client

BY_HAND = {"STOWAGE_BACKUP__ENABLED": "false"}
"""The server makes no copies at moments of its own."""
AT_ONCE = {
    "STOWAGE_COLLECTION__GRACE": "0s",
    "STOWAGE_COLLECTION__HOLD": "1s",
    "STOWAGE_HISTORY__WINDOW": "0s",
    "STOWAGE_COLLECTION__UNTAGGED": "collect",
}


def objects(server: Server) -> set[str]:
    """The names of the files that blobs are in."""
    return {file.name for file in (server.data / "storage" / "blobs").rglob("*") if file.is_file()}


def delete_all(client: httpx.Client, sql: Callable[[str], object]) -> None:
    """Delete every tag, manifest and blob, and let every hold end."""
    for name in client.get("/v2/_catalog").json()["repositories"]:
        for tag in client.get(f"/v2/{name}/tags/list").json()["tags"] or []:
            answer = client.head(f"/v2/{name}/manifests/{tag}")
            client.delete(f"/v2/{name}/manifests/{answer.headers['docker-content-digest']}")
    sql("UPDATE links SET held_until = 0")


def collect(server: Server, **settings: str) -> dict[str, int]:
    """Collect until nothing waits: what a manifest that goes referred to is held for another second."""
    sums: dict[str, int] = {}
    deadline = time.monotonic() + 180
    while True:
        found = json.loads(printed("gc", "--now", "--json", "--data", str(server.data), **settings, **AT_ONCE))
        held = {name: found[name] for name in ("keptForBackups", "keptForBackupsBytes", "waiting")}
        sums = {**{name: sums.get(name, 0) + count for name, count in found.items()}, **held}
        if sums["waiting"] == 0:
            return sums
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


def backup(server: Server) -> str:
    """Make a copy, and return its name."""
    name: str = json.loads(printed("backup", "--json", "--data", str(server.data)))["name"]
    return name


def restore(server: Server, name: str) -> dict[str, Any]:
    """Bring a copy back, and return what is told."""
    found: dict[str, Any] = json.loads(printed("restore", name, "--yes", "--json", "--data", str(server.data)))
    return found


def test_everything_of_a_copy_is_there_again_after_all_was_deleted_and_collected(
    fresh_server: ServerFactory, connect: Connect
) -> None:
    server = fresh_server(**BY_HAND)
    client = connect(server)
    for number in range(3):
        push_image(client, f"team/app{number}", tag="t", layers=2)
    before, files = pulled(client), objects(server)
    name = backup(server)
    later = push_image(client, "team/later", tag="t")
    delete_all(client, server.sql)
    done = collect(server)
    # All the rows are gone. What came after the copy goes; what the copy names stays, and that is told.
    assert (done["manifests"], done["repositories"]) == (4, 4)
    assert (done["keptForBackups"], objects(server)) == (len(files) + len(later.blobs), files | objects(server))
    assert client.get("/v2/_catalog").json()["repositories"] == []
    assert "stay for copies of the database" in printed("du", "--data", str(server.data))
    assert "stay for copies of the database" in printed("gc", "--dry-run", "--data", str(server.data))
    assert Scrape.of(server.url).value("backup_held_bytes") == done["keptForBackupsBytes"] > 0
    server.stop()

    told = restore(server, name)
    assert (told["restored"], told["blobs"], told["missing"]) == (name, len(files), [])
    server.start()
    assert pulled(client) == before
    # And once that is given up, too, the space is back.
    delete_all(client, server.sql)
    assert collect(server)["keptForBackups"] == len(files) + len(later.blobs)
    for one in json.loads(printed("backup", "list", "--json", "--data", str(server.data)))["marks"]:
        printed("backup", "forget", one["name"], "--data", str(server.data))
    printed("backup", "forget", name, "--data", str(server.data))
    assert collect(server)["keptForBackups"] == 0
    assert objects(server) == set()


def test_what_was_deleted_before_a_copy_was_made_goes_at_once(fresh_server: ServerFactory, connect: Connect) -> None:
    server = fresh_server(**BY_HAND)
    client = connect(server)
    push_image(client, "team/app", tag="t")
    delete_all(client, server.sql)
    assert collect(server)["blobs"] == 2
    kept = push_image(client, "team/app", tag="t")
    name = backup(server)
    delete_all(client, server.sql)
    assert (collect(server)["blobs"], len(objects(server))) == (0, len(kept.blobs))
    backup(server)  # made after all of that, so it names nothing
    assert collect(server)["blobs"] == 0
    printed("backup", "forget", name, "--data", str(server.data))
    assert collect(server)["blobs"] == len(kept.blobs)


def test_what_came_after_the_copy_is_lost_from_view_and_can_be_had_back(
    fresh_server: ServerFactory, connect: Connect
) -> None:
    """The database that was put aside is a copy like another: its blobs stay, whatever jobs and collection do."""
    server = fresh_server(**BY_HAND)
    client = connect(server)
    push_image(client, "team/early", tag="t")
    name = backup(server)
    push_image(client, "team/late", tag="t")
    push_image(client, "team/early", tag="t")
    late = pulled(client)
    started = client.post("/v2/team/early/blobs/uploads/")
    server.stop()
    told = restore(server, name)
    assert told["unknown"]["objects"] == 4
    long_ago = time.time() - 30 * 86400
    for file in (server.data / "storage" / "blobs").rglob("*"):
        os.utime(file, (long_ago, long_ago))
    server.start()
    assert len(pulled(client)) == 1
    assert client.get(started.headers["location"]).status_code == 404
    for job in ("orphans", "collection"):
        eventually_ran(server, job)
    collect(server)
    server.stop()
    aside = str(told["aside"])
    assert Path(aside).exists()
    again = restore(server, aside)
    assert again["missing"] == []
    server.start()
    assert pulled(client) == late


def eventually_ran(server: Server, job: str) -> None:
    """Wait until a job has run to its end on this database."""
    deadline = time.monotonic() + 180
    while server.sql(f"SELECT count(*) FROM jobs WHERE name = '{job}' AND due_at > 0") != [("1",)]:
        assert time.monotonic() < deadline, f"{job} did not run"
        time.sleep(0.05)


def test_a_new_database_on_the_storage_of_another_removes_nothing(
    fresh_server: ServerFactory, connect: Connect
) -> None:
    """As when the disk of the database was lost, and the server started before anybody restored a copy."""
    server = fresh_server(**BY_HAND)
    client = connect(server)
    push_image(client, "team/app", tag="t")
    before, files = pulled(client), objects(server)
    name = backup(server)
    server.stop()
    for file in server.data.glob("stowage.sqlite3*"):
        file.unlink()
    long_ago = time.time() - 30 * 86400
    for found in (server.data / "storage" / "blobs").rglob("*"):
        os.utime(found, (long_ago, long_ago))
    server.start()
    eventually_ran(server, "orphans")
    assert objects(server) == files
    assert (
        "objects without a row stay: the storage has 1 copies of a database that this one is not" in server.log_tail()
    )
    assert "not of this database" in printed("backup", "list", "--data", str(server.data))
    server.stop()
    restore(server, name)
    server.start()
    assert pulled(client) == before


def test_what_the_storage_lost_is_told_and_not_served(fresh_server: ServerFactory, connect: Connect) -> None:
    server = fresh_server(**BY_HAND)
    client = connect(server)
    image = push_image(client, "team/app", tag="t")
    push_image(client, "team/whole", tag="t")
    name = backup(server)
    server.stop()
    gone = digest_of(image.layers[0])
    [file] = (server.data / "storage" / "blobs").rglob(f"{gone.removeprefix('sha256:')}-*")
    file.unlink()
    [told] = restore(server, name)["missing"]
    assert told == {"digest": gone, "size": len(image.layers[0]), "repositories": ["team/app"]}
    server.start()
    assert client.get(f"/v2/team/app/blobs/{gone}").status_code == 404
    push_blob(client, "team/app", image.layers[0])
    assert len(pulled(client)) == 2


def test_a_copy_that_is_not_what_it_was_is_refused(fresh_server: ServerFactory, connect: Connect) -> None:
    server = fresh_server(**BY_HAND)
    client = connect(server)
    push_image(client, "team/app", tag="t")
    name = backup(server)
    file = server.data / "storage" / "attic" / name
    content = file.read_bytes()
    before = pulled(client)
    server.stop()
    data = ("--yes", "--data", str(server.data))
    with file.open("r+b") as damaged:
        damaged.seek(len(content) // 2)
        damaged.write(b"\xff")
    assert "is damaged: it is not what it was" in refused("restore", name, *data)
    file.write_bytes(content[:-4096])
    assert "is damaged" in refused("restore", name, *data)
    elsewhere = server.data / "elsewhere"
    for bad, expected in ((b"not a database" * 1000, "damaged"), (content[:8192], "damaged"), (b"", "damaged")):
        elsewhere.write_bytes(bad)
        assert expected in refused("restore", str(elsewhere), *data)
    assert "no copy nothing in the storage" in refused("restore", "nothing", *data)
    assert "no file /nothing" in refused("restore", "/nothing", *data)
    assert "the database itself" in refused("restore", str(server.data / "stowage.sqlite3"), *data)
    shutil.copyfile(server.data / "storage" / "attic" / name, elsewhere)
    elsewhere.write_bytes(content)
    server.sql("UPDATE alembic_version SET version_num = '9999'")
    shutil.copyfile(server.data / "stowage.sqlite3", elsewhere)
    server.sql(f"UPDATE alembic_version SET version_num = '{REVISION}'")
    assert "newer version" in refused("restore", str(elsewhere), *data)
    assert [path.name for path in server.data.glob("*restor*")] == []
    server.start()
    assert pulled(client) == before


def test_a_server_that_runs_is_not_pulled_its_database_from_under(
    fresh_server: ServerFactory, connect: Connect
) -> None:
    server = fresh_server(**BY_HAND)
    client = connect(server)
    push_image(client, "team/app", tag="t")
    name = backup(server)
    data = ("--data", str(server.data))
    assert "is in use: stop the server" in refused("restore", name, "--yes", *data)
    push_image(client, "team/app", tag="u")
    assert len(pulled(client)) == 2
    server.stop()
    assert "say --yes" in refused("restore", name, *data)


def test_an_older_copy_is_migrated(fresh_server: ServerFactory, connect: Connect, tmp_path: Path) -> None:
    server = fresh_server(**BY_HAND)
    client = connect(server)
    push_image(client, "team/app", tag="t")
    before = pulled(client)
    server.stop()
    older = tmp_path / "older"
    shutil.copyfile(server.data / "stowage.sqlite3", older)
    take_back(older, "0003")
    told = restore(server, str(older))
    assert told["missing"] == []
    server.start()
    assert pulled(client) == before
    printed("backup", "--data", str(server.data))


@pytest.mark.parametrize("moment", ["restoring", "before-restore"])
def test_one_that_is_killed_can_be_run_again(fresh_server: ServerFactory, connect: Connect, moment: str) -> None:
    """Killed while the copy is being made ready, and after the database was put aside."""
    server = fresh_server(**BY_HAND)
    client = connect(server)
    push_image(client, "team/app", tag="t")
    before = pulled(client)
    server.sql(
        "CREATE TABLE large AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 25000) "
        "SELECT i, randomblob(1000) AS content FROM n"
    )
    name = backup(server)
    push_image(client, "team/app", tag="later")
    later = pulled(client)
    server.stop()
    command = [sys.executable, "-m", "registry", "restore", name, "--yes", "--data", str(server.data)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as first:
        deadline = time.monotonic() + 180
        while not list(server.data.glob(f"*{moment}*")) and first.poll() is None:
            assert time.monotonic() < deadline
        first.send_signal(signal.SIGKILL)
    server.start()  # with the one or the other database, whole
    assert pulled(client) in (before, later)
    server.stop()
    told = restore(server, name)
    assert told["missing"] == []
    assert [path.name for path in server.data.glob("*.restoring*")] == []
    server.start()
    assert pulled(client) == before


def test_with_blobs_in_s3(fresh_server: ServerFactory, connect: Connect, tmp_path: Path) -> None:
    with S3Server(tmp_path / "s3") as s3:
        settings = dict(server_settings(s3.url, "a/prefix"))
        server = fresh_server(**settings, **BY_HAND)
        client = connect(server)
        push_image(client, "team/app", tag="t", layers=2)
        before = pulled(client)
        data = ("--data", str(server.data))
        server.sql(  # a copy in several parts
            "CREATE TABLE large AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) "
            "SELECT i, randomblob(1000) AS content FROM n"
        )
        name = json.loads(printed("backup", "--json", *data, **settings))["name"]
        push_image(client, "team/app", tag="t")
        delete_all(client, server.sql)
        done = collect(server, **settings)
        assert (done["blobs"], done["keptForBackups"]) == (0, 5)
        kept = [one["Key"] for one in s3.client().list_objects_v2(Bucket="registry")["Contents"]]
        assert {key for key in kept if "/attic/" in key} == {f"a/prefix/attic/{name}", f"a/prefix/attic/{name}.json"}
        server.stop()
        told = json.loads(printed("restore", name, "--yes", "--json", *data, **settings))
        assert told["missing"] == []
        server.start()
        with new_client(server) as again:
            assert pulled(again) == before
        server.stop()
        assert stowage("backup", "forget", name, *data, **settings).returncode == 0


def test_all_tokens_end_since_the_copy_does_not_know_which_were_revoked(new_data: Path, tmp_path: Path) -> None:
    data = ("--data", str(shutil.copytree(new_data, tmp_path / "data")))
    printed("project", "add", "team", *data)
    for _ in range(2):
        printed("serviceaccount", "token", "team", "builder", *data)
    name = json.loads(printed("backup", "--json", *data))["name"]
    printed("token", "revoke", "1", *data)
    told = json.loads(printed("restore", name, "--yes", "--json", *data))
    assert told["endedTokens"] == 2
    listed = json.loads(printed("token", "list", "serviceaccount:team/builder", "--json", *data))
    assert [(one["id"], one["counts"]) for one in listed] == [(1, False), (2, False)]
    assert "0 blobs" in printed("restore", name, "--yes", *data)


def test_a_database_that_other_tools_brought_back_is_told_so(new_data: Path, tmp_path: Path) -> None:
    """All that it can't know by itself: cursors, tokens and what was under way are of another future."""
    folder = Path(shutil.copytree(new_data, tmp_path / "data"))
    data = ("--data", str(folder))
    printed("project", "add", "team", *data)
    printed("serviceaccount", "token", "team", "builder", *data)
    epoch = "SELECT epoch FROM event_stream"
    [before] = sql_on_file(folder / "stowage.sqlite3", epoch)
    assert "--yes" in refused("backup", "restored", *data)
    assert sql_on_file(folder / "stowage.sqlite3", epoch) == [before]
    assert json.loads(printed("backup", "restored", "--yes", "--json", *data)) == {"endedTokens": 1}
    assert sql_on_file(folder / "stowage.sqlite3", epoch) != [before]
    entry = json.loads(printed("audit", "list", "--action", "database.restored", "--json", *data))
    assert (entry["principal"], entry["detail"]) == ("system:operator", {"ended": 1})
    assert "ended" not in printed("backup", "restored", "--yes", *data)
