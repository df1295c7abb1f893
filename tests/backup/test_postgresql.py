"""PostgreSQL: its own tools copy the database, and collection leaves what such a copy names."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.backup.contents import pulled
from tests.backup.test_restoring import collect, delete_all, objects
from tests.cli.commands import printed, refused
from tests.factories import push_image
from tests.support.postgresql import Cluster, name_of, program
from tests.support.served import eventually
from tests.support.server import Connect, ServerFactory


@pytest.fixture
def archiving(tmp_path: Path) -> Iterator[tuple[Cluster, Path]]:
    """A cluster that archives its log, as docs/backup.md says, and where."""
    archive = shared_folder(tmp_path / "wal")
    command = f"test ! -f {archive}/%f && cp %p {archive}/%f"
    cluster = Cluster(wal_level="replica", archive_mode="on", archive_command=command)
    cluster.start()
    yield cluster, archive
    cluster.remove()


def shared_folder(folder: Path) -> Path:
    """Make a folder that the user of PostgreSQL's processes may write to."""
    folder.mkdir()
    folder.chmod(0o777)
    for above in folder.parents:
        if above.is_relative_to(tempfile.gettempdir()) and above != Path(tempfile.gettempdir()):
            above.chmod(above.stat().st_mode | 0o055)
    return folder


def placed(client: httpx.Client, number: int) -> str:
    """Wait until so many events have their place, and return the cursor of the last."""
    cursor = ""

    def are() -> bool:
        nonlocal cursor
        cursor = str(client.get("/api/v1/events", params={"after": "newest"}).json()["cursor"])
        return cursor.endswith(f"-{number}")

    eventually(are, 120)
    return cursor


def run(name: str, *arguments: str, cluster: Cluster) -> None:
    """Run a program of PostgreSQL's against a cluster."""
    where = [f"--host={cluster.folder}", f"--port={cluster.port}", "--username=postgres"]
    subprocess.run([program(name), *where, *arguments], check=True, capture_output=True, timeout=300)


def test_a_dump_after_a_mark_can_be_restored_whole(
    archiving: tuple[Cluster, Path], fresh_server: ServerFactory, connect: Connect, tmp_path: Path
) -> None:
    cluster, _ = archiving
    url = cluster.create()
    settings = {"STOWAGE_DATABASE__URL": url}
    server = fresh_server(**settings)
    client = connect(server)
    data = ("--data", str(server.data))
    push_image(client, "team/app", tag="t", layers=2)
    before, files = pulled(client), objects(server)
    assert "stowage backup mark" in refused("backup", *data, STOWAGE_DATABASE__URL=url)
    assert "PostgreSQL's own tools" in refused("restore", "x", "--yes", *data, STOWAGE_DATABASE__URL=url)
    assert printed("backup", "mark", "nightly", "--for", "30d", *data, **settings) == "nightly"
    dump = tmp_path / "stowage.dump"
    run("pg_dump", "--format=custom", f"--file={dump}", name_of(url), cluster=cluster)

    delete_all(client, lambda text: cluster.run(text, name_of(url)))
    assert collect(server, **settings)["keptForBackups"] == len(files)
    assert (pulled(client), objects(server)) == ({}, files)
    [mark] = json.loads(printed("backup", "list", "--json", *data, **settings))["marks"]
    assert mark["name"] == "nightly"
    server.stop()

    restored = cluster.create(empty=True)
    run("pg_restore", "--exit-on-error", f"--dbname={name_of(restored)}", str(dump), cluster=cluster)
    assert "begun anew" in printed("backup", "restored", "--yes", *data, STOWAGE_DATABASE__URL=restored)
    again = fresh_server("--data", str(server.data), STOWAGE_DATABASE__URL=restored)
    assert pulled(connect(again)) == before
    again.stop()

    # The first database goes on; without the mark nothing stays.
    printed("backup", "forget", "nightly", *data, **settings)
    assert collect(server, **settings)["blobs"] == len(files)
    assert objects(server) == set()


def test_a_recovery_to_a_point_in_time_within_the_window(
    archiving: tuple[Cluster, Path], fresh_server: ServerFactory, connect: Connect, tmp_path: Path
) -> None:
    cluster, archive = archiving
    url = cluster.create()
    settings = {"STOWAGE_DATABASE__URL": url, "STOWAGE_BACKUP__WINDOW": "7d"}
    server = fresh_server(**settings)
    client = connect(server)
    base = shared_folder(tmp_path / "base")
    run("pg_basebackup", f"--pgdata={base}", "--checkpoint=fast", "--wal-method=none", cluster=cluster)
    push_image(client, "team/app", tag="t", layers=2)
    before, files = pulled(client), objects(server)
    kept = placed(client, 6)
    then = cluster.run("SELECT clock_timestamp()")
    delete_all(client, lambda text: cluster.run(text, name_of(url)))
    assert collect(server, **settings)["keptForBackups"] == len(files)
    assert (pulled(client), objects(server)) == ({}, files)
    followed = placed(client, 8)
    server.stop()
    cluster.run("SELECT pg_switch_wal()")
    cluster.stop()

    recovered = cluster.folder / "data"
    shutil.rmtree(recovered)
    shutil.copytree(base, recovered)
    with (recovered / "postgresql.conf").open("a") as file:
        file.write(f"restore_command = 'cp {archive}/%f %p'\nrecovery_target_time = '{then}'\n")
        file.write("recovery_target_action = 'promote'\n")
    (recovered / "recovery.signal").touch()
    subprocess.run(["chown", "-R", "--reference", str(cluster.folder), str(recovered)], check=True)
    os.chmod(recovered, 0o700)
    cluster.start()
    eventually(lambda: cluster.run("SELECT pg_is_in_recovery()") == "f", 180)
    data = ("--data", str(server.data))
    assert "begun anew" in printed("backup", "restored", "--yes", *data, **settings)
    server.start()
    assert pulled(client) == before
    # What comes now has places that were given before: whoever followed is told, and goes on from what is there.
    for cursor in (kept, followed):
        assert client.get("/api/v1/events", params={"after": cursor}).status_code == 410
        assert client.get("/api/v1/watch", headers={"Last-Event-ID": cursor}).status_code == 410
    later = push_image(client, "team/app", tag="later")
    now = placed(client, 10)
    assert kept.partition("-")[0] == followed.partition("-")[0] != now.partition("-")[0]
    server.stop()

    # Within the window nothing goes; a registry that is never recovered needs none.
    assert collect(server, **settings)["blobs"] == 0
    server.start()
    delete_all(client, lambda text: cluster.run(text, name_of(url)))
    assert collect(server, **settings)["blobs"] == 0
    assert collect(server, STOWAGE_DATABASE__URL=url)["blobs"] == len(files) + len(later.blobs)
