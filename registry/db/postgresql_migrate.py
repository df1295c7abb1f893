"""Migrations on PostgreSQL, and a look at a database there. Each opens a connection of its own, for a moment."""

import asyncio
import importlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

from registry.db import maintenance, stores
from registry.db.inspection import Inspected
from registry.db.maintenance import MaintenanceRow
from registry.db.migrate import REVISION, Migrated
from registry.db.postgresql import IDENTITY, STANDBY, mark_from
from registry.db.postgresql_connection import FAILURES, PostgresTransaction, Raw, Target, connect, refusal
from registry.db.tables import metadata
from registry.errors import Unavailable

T = TypeVar("T")

_LOCK = 0x53746F77616765  # "Stowage": any number would do that others don't use
# Not to_regclass(), which may not see what others have made since this transaction began.
_IS_THERE = "SELECT count(*) > 0 FROM pg_class WHERE relname = $1 AND relkind = 'r' AND pg_table_is_visible(oid)"
_COLUMNS = """
    SELECT table_name, column_name, is_nullable = 'NO' AND column_default IS NULL AND is_identity = 'NO'
        AND is_generated = 'NEVER'
    FROM information_schema.columns WHERE table_schema = current_schema()"""
_FOR_EVER_S = 7 * 86400.0


def migrate(target: Target) -> Migrated:
    """Make the tables or bring them to this version's schema, in one transaction.

    Replicas that start together wait for each other, and the first one does it. Nothing is put aside. A newer schema
    is left as it is, if it still has all that this version needs: replicas of the version before may be started again
    until the last of them was replaced.

    Raises:
        Unavailable: the database can't be reached or changed, or a newer version changed its schema too much.
    """
    return asyncio.run(_on(target, _migrate))


def inspect(target: Target) -> Inspected:
    """Look at the database, and change nothing. Raises Unavailable: it can't be reached or read."""
    return asyncio.run(_on(target, _inspect))


def mark_of(target: Target) -> str:
    """Return what tells this database from others, or ""."""
    try:
        return asyncio.run(_on(target, _mark))
    except Unavailable:
        return ""


async def _on(target: Target, work: Callable[[Raw], Awaitable[T]]) -> T:
    """Run `work` in a transaction on a connection of its own. Errors name the database."""
    try:
        raw = await connect(target)
        try:
            async with raw.transaction():
                return await work(raw)
        finally:
            await raw.close(timeout=5)
    except FAILURES as error:
        raise Unavailable(f"{target.name}: {refusal(error)}") from error
    except Unavailable as error:
        raise Unavailable(f"{target.name}: {error}") from error


async def _migrate(raw: Raw) -> Migrated:
    if await _revision(raw) == REVISION:  # without a lock, or every start would wait for somebody else's migration
        return Migrated(REVISION, REVISION, None)
    await raw.execute("SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0")
    await raw.execute(f"SELECT pg_advisory_xact_lock({_LOCK})", timeout=_FOR_EVER_S)
    before = await _revision(raw)
    if before == REVISION:
        return Migrated(before, before, None)
    if before is not None and before > REVISION:
        await _check_newer(raw, before)
        return Migrated(before, before, None)
    # Alembic takes a fifth of a second to import, which a server that starts with its own schema has better uses for.
    upgrade = importlib.import_module("registry.db.upgrade")
    upgrade.check_known(before)
    await raw.execute(upgrade.as_text(before), timeout=_FOR_EVER_S)
    return Migrated(before, REVISION, None)


async def _check_newer(raw: Raw, revision: str) -> None:
    """Raise Unavailable unless this version can work with what a newer one made of the schema: it was expanded only."""
    found: dict[str, dict[str, bool]] = {}
    for table, column, must_be_given in await raw.fetch(_COLUMNS):
        found.setdefault(table, {})[column] = must_be_given
    for table in metadata.sorted_tables:
        known, there = set(table.columns.keys()), found.get(table.name, {})
        missing = sorted(known - there.keys())
        unknown = sorted(column for column in there.keys() - known if there[column])
        if missing or unknown:
            why = f"{table.name}.{(missing or unknown)[0]} {'is gone' if missing else 'must be given now'}"
            raise Unavailable(
                f"it has schema {revision}, which this version can't work with ({why}): run a newer version of stowage"
            )


async def _inspect(raw: Raw) -> Inspected:
    found: MaintenanceRow | None = None
    if await raw.fetchval(_IS_THERE, "maintenance"):
        found = await maintenance.find(PostgresTransaction(raw))
    imported = await stores.in_use(PostgresTransaction(raw)) if await raw.fetchval(_IS_THERE, "stores") else []
    return Inspected(
        await _revision(raw),
        found,
        is_read_only=await raw.fetchval(STANDBY),
        connections=await raw.fetchval(
            "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
        ),
        imported=tuple(imported),
    )


async def _mark(raw: Raw) -> str:
    return mark_from(await raw.fetchval(IDENTITY))


async def _revision(raw: Raw) -> str | None:
    """Return the revision of the schema, where Alembic writes it down; None if there is nothing yet."""
    if not await raw.fetchval(_IS_THERE, "alembic_version"):
        return None
    found: str | None = await raw.fetchval("SELECT version_num FROM alembic_version")
    return found
