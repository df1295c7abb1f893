"""A rolling upgrade: the schema first, then one replica after the other, while clients push.

There is one version of the program here. So the newer one is known by what it does to the schema: it adds to it.
"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from registry.db.migrate import REVISION
from tests.cli.commands import refused
from tests.factories import pull_manifest, push_image
from tests.replicas.pushers import Pusher
from tests.replicas.test_killed import PROJECT, logged_in, prepare, pull_from_each, used_by
from tests.support import postgresql
from tests.support.fleet import Fleet, shared_backend
from tests.support.people import ALICE, settings_for
from tests.support.postgresql import name_of
from tests.support.schemas import way_back
from tests.support.served import eventually
from tests.support.server import ROOT, Server, new_client

NEWER = "9999"
EXPAND = f"""BEGIN;
    ALTER TABLE manifests ADD COLUMN later text; ALTER TABLE blobs ADD COLUMN later bigint NOT NULL DEFAULT 0;
    ALTER TABLE links ADD COLUMN later bigint; ALTER TABLE upload_sessions ADD COLUMN later text DEFAULT 'x';
    ALTER TABLE users ADD COLUMN later text; ALTER TABLE credentials ADD COLUMN later bigint NOT NULL DEFAULT 0;
    ALTER TABLE projects ADD COLUMN later text; ALTER TABLE grants ADD COLUMN later bigint DEFAULT 1;
    ALTER TABLE quota_items ADD COLUMN later text; ALTER TABLE audit_entries ADD COLUMN later text DEFAULT 'x';
    CREATE TABLE later (id bigint PRIMARY KEY, blob_id bigint REFERENCES blobs (id) ON DELETE CASCADE);
    CREATE INDEX ix_later ON tags (name, manifest_id);
    UPDATE alembic_version SET version_num = '{NEWER}'; COMMIT"""
PATIENCE = 180.0


def test_replicas_go_on_with_the_schema_of_the_version_after_and_can_be_started_again(tmp_path: Path) -> None:
    """Expand, then contract: the version before serves while the one after migrates, and while it is rolled out.

    Those who push log in, again and again, and their project has a quota.
    """
    with Fleet(tmp_path, settings_for({})) as fleet:
        prepare(fleet.replicas[0])
        database = name_of(fleet.settings["STOWAGE_DATABASE__URL"])
        names = [f"{PROJECT}/{number}" for number in range(2)]
        pushers = [Pusher(partial(logged_in, fleet, ALICE, name), name, "rolling") for name in names]
        for pusher in pushers:
            pusher.start()
        try:
            push_on(pushers)
            postgresql.shared_cluster().run(EXPAND, database)
            push_on(pushers)
            for replica in fleet.replicas:
                replica.stop() if replica is fleet.replicas[0] else replica.kill()
                replica.start()
                assert f"a newer version made the schema, {NEWER}" in replica.log_tail()
                push_on(pushers)
        finally:
            for pusher in pushers:
                pusher.leave.set()
            for pusher in pushers:
                pusher.join(PATIENCE)
        assert [pusher.fault for pusher in pushers if pusher.fault or pusher.is_alive()] == []
        for client in fleet.clients():
            with client:
                assert client.get("/readyz").status_code == 200
        pull_from_each(fleet, pushers, ALICE)
        told = fleet.replicas[0].sql(f"SELECT used_bytes, used_tags FROM projects WHERE name = '{PROJECT}'")
        postgresql.shared_cluster().run(f"UPDATE alembic_version SET version_num = '{REVISION}'", database)
        used = used_by(fleet.replicas[0])
        assert told == [(str(used["bytes"]["is"]), str(used["tags"]["is"]))]


def push_on(pushers: list[Pusher]) -> None:
    """Wait until each of them has pushed an image from its beginning to its end."""
    enough = [len(pusher.images) + 2 for pusher in pushers]
    eventually(
        lambda: (
            any(pusher.fault for pusher in pushers)
            or all(len(pusher.images) >= count for pusher, count in zip(pushers, enough, strict=True))
        ),
        PATIENCE,
    )


def test_a_replica_does_not_start_where_a_later_version_took_away_what_it_needs(tmp_path: Path) -> None:
    settings = shared_backend("fleet")
    contract = f"ALTER TABLE links DROP COLUMN held_until; UPDATE alembic_version SET version_num = '{NEWER}'"
    postgresql.shared_cluster().run(contract, name_of(settings["STOWAGE_DATABASE__URL"]))
    said = refused("serve", "--data", str(tmp_path), "--port", "0", status=1, **settings)
    assert f"schema {NEWER}" in said and "links.held_until is gone" in said and "run a newer version" in said


def test_of_three_that_migrate_at_once_one_does_and_what_was_pushed_before_is_there(tmp_path: Path) -> None:
    before, settings = "0001", shared_backend("fleet")
    with Server(tmp_path / "before", settings, ("--workers", "1")) as server, new_client(server) as client:
        image = push_image(client, "upgraded/image", "1")
    database = name_of(settings["STOWAGE_DATABASE__URL"])
    postgresql.shared_cluster().run(way_back(before), database)

    def migrate(number: int) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "registry", "migrate", "--data", str(tmp_path / str(number))]
        return subprocess.run(
            command, cwd=ROOT, env={**os.environ, **settings}, capture_output=True, text=True, check=False
        )

    with ThreadPoolExecutor(3) as pool:
        runs = list(pool.map(migrate, range(3)))
    assert [run.stderr for run in runs] == [""] * 3
    said = sorted(run.stdout.partition(" has schema ")[2].strip() for run in runs)
    assert said == [f"{REVISION} already"] * 2 + [f"{REVISION} now, {before} before"]
    with Server(tmp_path / "after", settings, ("--workers", "1")) as server, new_client(server) as client:
        assert pull_manifest(client, "upgraded/image", "1") == image.manifest
        push_image(client, "upgraded/image", "2")
