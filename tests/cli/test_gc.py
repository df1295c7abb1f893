"""`stowage gc` and `stowage du`, beside a running server."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pysqlite3 as sqlite3

from tests.cli.commands import printed, refused, stowage
from tests.factories import digest_of, push_blob, push_image
from tests.support.scrape import Scrape
from tests.support.served import eventually
from tests.support.server import ROOT, Connect, Server, ServerFactory

PATIENCE = 60.0
SOON = {
    "STOWAGE_COLLECTION__HOLD": "1s",
    "STOWAGE_HISTORY__WINDOW": "0s",
    "STOWAGE_COLLECTION__GRACE": "0s",
    "STOWAGE_BACKUP__ENABLED": "false",  # a copy of the database keeps what it names
}


def change(server: Server, statement: str) -> None:
    """Change the database of a server."""
    connection = sqlite3.connect(server.data / "stowage.sqlite3", timeout=30)
    with connection:
        connection.execute(statement)
    connection.close()


def stored(server: Server) -> list[Path]:
    """The files that blobs are in."""
    return [file for file in (server.data / "storage" / "blobs").rglob("*") if file.is_file()]


def test_what_was_deleted_is_explained_and_then_collected(
    fresh_server: ServerFactory, connect: Connect, repository: str
) -> None:
    server = fresh_server(STOWAGE_BACKUP__ENABLED="false")
    client = connect(server)
    data = ("--data", str(server.data))
    image = push_image(client, repository, tag="t")
    kept = push_image(client, f"{repository}/kept", tag="t")
    client.delete(f"/v2/{repository}/manifests/{digest_of(image.manifest)}")

    told = printed("gc", "--dry-run", *data)
    assert f"manifest {repository}@{digest_of(image.manifest)}: deleted, since 2" in told
    assert "; kept: history.window, until 2" in told
    assert "0 could go now, which frees 0 B at least; 1 later" in told
    content = json.loads(printed("gc", "--dry-run", "--grace", "0s", "--window", "0s", "--json", *data))
    [candidate] = content["candidates"]
    assert (candidate["kind"], candidate["repository"]) == ("manifest", repository)
    assert (candidate["keptBy"], candidate["until"]) == (None, None)
    assert candidate["frees"] == sum(map(len, (image.manifest, image.config, *image.layers)))
    assert content["summary"]["now"] == {"candidates": 1, "bytes": candidate["frees"]}

    nothing = printed("gc", "--now", *data)
    assert nothing.startswith("0 blobs deleted, 0 B freed; 0 manifests, ")
    assert "1 more wait for their time: `stowage gc --dry-run` says which" in nothing
    assert len(stored(server)) == 4

    change(server, "UPDATE links SET held_until = 0")  # an hour and more has passed
    done = json.loads(printed("gc", "--now", "--grace", "0s", "--window", "0s", "--json", *data))
    assert (done["blobs"], done["manifests"], done["links"], done["repositories"]) == (2, 1, 2, 1)
    assert done["bytes"] == sum(map(len, (image.config, *image.layers)))
    assert len(stored(server)) == 2
    assert client.get("/v2/_catalog").json()["repositories"] == [f"{repository}/kept"]
    assert client.get(f"/v2/{repository}/kept/blobs/{digest_of(kept.config)}").content == kept.config
    assert client.get(f"/v2/{repository}/tags/list").status_code == 404


def test_the_server_collects_by_itself_and_counts(
    fresh_server: ServerFactory, connect: Connect, repository: str
) -> None:
    settings = {**SOON, "STOWAGE_COLLECTION__HOLD": "1h", "STOWAGE_COLLECTION__INTERVAL": "1s"}
    server = fresh_server(**settings)
    client = connect(server)
    push_blob(client, repository, b"needless")
    assert Scrape.of(server.url).value("collection_candidates") == 1
    server.stop()
    change(server, "UPDATE links SET held_until = 0")
    change(server, "UPDATE candidates SET due_at = 0")
    change(server, "UPDATE jobs SET due_at = 0, lease_until = 0")
    server.start()
    eventually(lambda: stored(server) == [], PATIENCE)
    eventually(lambda: Scrape.of(server.url).value("collection_objects_total") == 1, PATIENCE)
    found = Scrape.of(server.url)
    assert found.value("collection_bytes_total") == len(b"needless")
    assert found.value("collection_candidates") == 0
    assert found.value("job_last_success_timestamp_seconds", name="collection") > 1_700_000_000
    eventually(lambda: "job collection: 1 blobs deleted, 8 bytes freed" in server.log_tail(), PATIENCE)


def test_a_server_that_was_told_not_to_leaves_everything(
    fresh_server: ServerFactory, connect: Connect, repository: str
) -> None:
    server = fresh_server(**SOON, STOWAGE_COLLECTION__ENABLED="false")
    push_blob(connect(server), repository, b"needless")
    server.stop()
    change(server, "UPDATE links SET held_until = 0")
    change(server, "UPDATE jobs SET due_at = 0, lease_until = 0")
    server.start()
    eventually(lambda: Scrape.of(server.url).value("job_duration_seconds_count", name="orphans") == 1, PATIENCE)
    assert Scrape.of(server.url).value("job_duration_seconds_count", name="collection") == 0
    assert len(stored(server)) == 1
    assert json.loads(printed("gc", "--now", "--json", "--data", str(server.data), **SOON))["blobs"] == 1


def test_it_waits_for_whoever_collects_already(tmp_path: Path) -> None:
    printed("migrate", "--data", str(tmp_path))
    database = sqlite3.connect(tmp_path / "stowage.sqlite3")
    soon = int((time.time() + 4) * 1_000_000)
    database.execute("INSERT INTO jobs VALUES ('collection', 'another', 1, ?, 0)", (soon,))
    database.commit()
    printed("gc", "--now", "--data", str(tmp_path))
    assert database.execute("SELECT owner, generation, lease_until FROM jobs").fetchone()[1:] == (2, 0)
    database.close()


def test_maintenance_keeps_it_from_collecting(tmp_path: Path) -> None:
    printed("migrate", "--data", str(tmp_path))
    printed("maintenance", "on", "--data", str(tmp_path))
    assert "stowage maintenance off" in refused("gc", "--now", "--data", str(tmp_path))
    assert printed("gc", "--dry-run", "--data", str(tmp_path)).startswith("0 could go now")


def test_what_it_expects_is_said(tmp_path: Path) -> None:
    for arguments in ((), ("--now", "--dry-run")):
        said = refused("gc", *arguments, "--data", str(tmp_path), status=2)
        assert "--now" in said
        assert "--dry-run" in said
    assert "0s, 30m" in refused("gc", "--now", "--grace", "never", status=2)
    assert "--data" in refused("gc", "--now", "--data", str(tmp_path / "none"))


def test_one_that_is_killed_is_followed_by_another(fresh_server: ServerFactory, connect: Connect) -> None:
    """Wherever it was: here, with keys that were doomed and objects that were not deleted."""
    server = fresh_server(STOWAGE_COLLECTION__ENABLED="false", STOWAGE_BACKUP__ENABLED="false")
    client = connect(server)
    for number in range(300):
        push_blob(client, "test/killed", b"%d" % number)
    change(server, "UPDATE links SET held_until = 0")
    command = [sys.executable, "-m", "registry", "gc", "--now", "--grace", "0s", "--data", str(server.data)]
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, **SOON}) as first:
        eventually(lambda: len(stored(server)) < 300, PATIENCE)
        first.send_signal(signal.SIGKILL)
    printed("gc", "--now", "--data", str(server.data), **SOON)
    assert stored(server) == []
    assert printed("du", "--data", str(server.data)).endswith(
        "0 repositories hold 0 B in 0 blobs, 0 manifests (0 B, in the database) and 0 tags"
    )


def test_du_tells_what_repositories_hold_alone_and_shared(
    fresh_server: ServerFactory, connect: Connect, repository: str
) -> None:
    server = fresh_server()
    client = connect(server)
    data = ("--data", str(server.data))
    image = push_image(client, f"{repository}/a", tag="t")
    push_blob(client, f"{repository}/b", image.config)
    push_blob(client, f"{repository}/b", b"alone")
    content = json.loads(printed("du", "--json", *data))
    first, second = content["repositories"]
    layers = sum(map(len, image.layers))
    assert first == {
        "name": f"{repository}/a",
        "bytes": layers + len(image.config),
        "alone": layers,
        "shared": len(image.config),
        "blobs": 1 + len(image.layers),
        "manifests": 1,
        "manifestBytes": len(image.manifest),
        "tags": 1,
    }
    assert (second["bytes"], second["alone"], second["shared"]) == (len(image.config) + 5, 5, len(image.config))
    assert content["whole"]["bytes"] == layers + len(image.config) + 5
    assert (content["whole"]["repositories"], content["whole"]["blobs"]) == (2, 2 + len(image.layers))
    table = printed("du", f"{repository}/b", *data).splitlines()
    assert len(table) == 2
    assert table[0].split() == ["BYTES", "ALONE", "SHARED", "BLOBS", "MANIFESTS", "TAGS", "REPOSITORY"]
    assert table[1].endswith(f"{repository}/b")
    assert "there is no repository nobody/knows" in stowage("du", "nobody/knows", *data).stderr
