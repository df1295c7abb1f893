"""Migrations on PostgreSQL: what they make, several at once, older and newer schemas, and what is refused."""

import asyncio
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.schema import CreateIndex, CreateTable

from registry.db import postgresql_migrate, upgrade
from registry.db.migrate import REVISION
from registry.db.postgresql import PostgresDatabase
from registry.db.tables import metadata
from registry.errors import Unavailable
from tests.cli.commands import printed, refused
from tests.support.postgresql import Cluster, name_of, target_of
from tests.support.schemas import way_back
from tests.support.server import ROOT

SHAPE = """
SELECT table_name, column_name, data_type, collation_name, is_nullable, column_default FROM information_schema.columns
    WHERE table_schema = 'public' AND table_name <> 'alembic_version' ORDER BY 1, 2;
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> 'alembic_version' ORDER BY 1, 2;
SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version' ORDER BY 1;
"""


def test_migrations_make_what_the_tables_say(cluster: Cluster, url: str, empty_url: str) -> None:
    dialect = asyncpg.dialect()  # type: ignore[no-untyped-call]  # untyped there
    for table in metadata.sorted_tables:
        cluster.run(str(CreateTable(table).compile(dialect=dialect)), name_of(empty_url))
        for index in table.indexes:
            cluster.run(str(CreateIndex(index).compile(dialect=dialect)), name_of(empty_url))
    assert cluster.run(SHAPE, name_of(url)) == cluster.run(SHAPE, name_of(empty_url))


def test_of_several_that_start_at_once_one_migrates(cluster: Cluster, empty_url: str) -> None:
    def migrate() -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "registry", "migrate"]
        environment = {**os.environ, "STOWAGE_DATABASE__URL": empty_url}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(migrate) for _ in range(4)]
    assert [run.result().stderr for run in runs] == [""] * 4
    said = sorted(run.result().stdout.strip() for run in runs)
    assert said == [f"{empty_url} has schema {REVISION} {how}" for how in ["already"] * 3 + ["now, nothing before"]]
    assert cluster.run("SELECT count(*) FROM alembic_version", name_of(empty_url)) == "1"


def test_a_database_of_the_first_schema_is_brought_to_the_newest(cluster: Cluster, url: str) -> None:
    cluster.run(way_back("0001"), name_of(url))
    with pytest.raises(Unavailable, match=r"schema 0001.*stowage migrate"):
        asyncio.run(checked(url))
    assert "stowage migrate" in refused("maintenance", "on", STOWAGE_DATABASE__URL=url)
    assert printed("migrate", STOWAGE_DATABASE__URL=url) == f"{url} has schema {REVISION} now, 0001 before"
    assert printed("migrate", STOWAGE_DATABASE__URL=url) == f"{url} has schema {REVISION} already"
    asyncio.run(checked(url))


async def checked(url: str) -> None:
    """Open a database and check it."""
    database = PostgresDatabase(target_of(url))
    await database.start()
    try:
        await database.check()
    finally:
        await database.stop()


EXPANDED = """
    ALTER TABLE manifests ADD COLUMN later text; ALTER TABLE blobs ADD COLUMN later bigint NOT NULL DEFAULT 0;
    ALTER TABLE links ADD COLUMN later bigint GENERATED ALWAYS AS IDENTITY; CREATE TABLE later (id bigint NOT NULL)"""
CONTRACTED = {
    "ALTER TABLE blobs DROP COLUMN verified_at": "blobs.verified_at is gone",
    "ALTER TABLE blobs RENAME COLUMN size TO length": "blobs.size is gone",
    "DROP TABLE outbox": "outbox.action is gone",
    "ALTER TABLE tags ADD COLUMN owner bigint NOT NULL": "tags.owner must be given now",
}


def test_a_schema_that_a_newer_version_only_added_to_is_left_as_it_is(cluster: Cluster, url: str) -> None:
    cluster.run(f"{EXPANDED}; UPDATE alembic_version SET version_num = '9999'", name_of(url))
    assert "9999, which a newer version made: this one works with it" in printed("migrate", STOWAGE_DATABASE__URL=url)
    assert cluster.run("SELECT version_num FROM alembic_version", name_of(url)) == "9999"
    assert "newer version" in refused("maintenance", "on", STOWAGE_DATABASE__URL=url)


@pytest.mark.parametrize("change", CONTRACTED)
def test_a_newer_schema_that_lacks_what_this_version_needs_is_refused(cluster: Cluster, url: str, change: str) -> None:
    cluster.run(f"{change}; UPDATE alembic_version SET version_num = '9999'", name_of(url))
    said = refused("migrate", STOWAGE_DATABASE__URL=url)
    assert CONTRACTED[change] in said and "run a newer version" in said


def test_a_migration_that_fails_changes_nothing(cluster: Cluster, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.run("UPDATE alembic_version SET version_num = '0002'", name_of(url))
    monkeypatch.setattr(upgrade, "as_text", lambda _: "DROP TABLE outbox; SELECT in the middle")
    with pytest.raises(Unavailable, match="syntax error"):
        postgresql_migrate.migrate(target_of(url))
    assert cluster.run("SELECT count(*) FROM outbox", name_of(url)) == "0"


def test_what_its_user_may_not_is_said(cluster: Cluster, empty_url: str) -> None:
    cluster.run("DROP ROLE IF EXISTS stranger; CREATE ROLE stranger LOGIN")
    said = refused("migrate", STOWAGE_DATABASE__URL=empty_url.replace("postgres@", "stranger@"))
    assert "has not the right" in said
