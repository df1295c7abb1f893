"""`stowage backup`: copy the database, show the copies, and keep for copies that other tools make."""

import json
import secrets
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from registry.cli.database import in_database, registry_settings
from registry.cli.leases import take_lease
from registry.cli.opened import in_registry
from registry.cli.options import ConfigOption, DataOption, JsonOption, examples, fail, parser_of
from registry.cli.progress import shown, size, size_of
from registry.cli.times import shown_time
from registry.db import backups, jobs
from registry.db.backups import Backup, Kind
from registry.db.connection import Database, Transaction
from registry.jobs.backup import LEASE_S, NAME
from registry.jobs.runner import LeaseLost
from registry.opened import Opened
from registry.services import audit
from registry.services.backups import Backups, Copy, Listed, backups_of, listed
from registry.services.restoring import begin_anew
from registry.setting_types import Duration
from registry.settings import Settings

_WITH_TOOLS = (
    "the database is on PostgreSQL, whose own tools copy it: "
    "`stowage backup mark`, then pg_dump, as docs/backup.md says"
)


_duration = parser_of(Duration, "a duration like 12h, 30d or 4w")


def build() -> typer.Typer:
    """Return the command and those below it."""
    app = typer.Typer(rich_markup_mode=None)
    app.callback(
        invoke_without_command=True,
        epilog=examples(
            "stowage backup",
            "stowage backup list --data /var/lib/stowage",
            "stowage backup --to /mnt/elsewhere/stowage.sqlite3 --for 30d",
        ),
    )(backup)
    app.command("list", epilog=examples("stowage backup list", "stowage backup list --json"))(show)
    app.command(epilog=examples("stowage backup mark --for 30d", "stowage backup mark nightly-dump --for 4w"))(mark)
    app.command(epilog=examples("stowage backup restored --yes"))(restored)
    app.command(epilog=examples("stowage backup forget stowage-20260131t030000z-1f2e.sqlite3"))(forget)
    return app


def backup(
    context: typer.Context,
    to: Annotated[
        Path | None,
        typer.Option(
            "--to", metavar="FILE", help="Make the copy there, and keep it out of the storage.", dir_okay=False
        ),
    ] = None,
    kept_for: Annotated[
        int | None,
        typer.Option(
            "--for",
            metavar="TIME",
            help="With --to: keep what the copy names for so long. Without, collection knows nothing of the copy.",
            parser=_duration,
            show_default=False,
        ),
    ] = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy the database into the storage now, beside the running server.

    Servers do this by themselves, every `backup.interval`. `backup.keep` copies are kept, and the blobs that they name
    with them. `stowage restore` brings one back.
    """
    if context.invoked_subcommand is not None:
        if (to, kept_for, config, data, as_json) != (None, None, None, None, False):
            raise typer.TyperException(f"say options after `backup {context.invoked_subcommand}`")
        return
    if kept_for is not None and to is None:
        raise typer.TyperException("--for is for a copy made with --to: those in the storage are kept by backup.keep")
    settings = registry_settings(config, data)
    if settings.database.is_postgresql:
        fail(_WITH_TOOLS)
    if to is None and settings.backup.keep == 0:
        fail("backup.keep is 0, so that no copy is kept in the storage: make one elsewhere, with --to FILE")
    with shown(lambda: _progress(settings.sqlite_path), sys.stderr):
        made = in_registry(settings, lambda opened: _make(opened, settings, to, kept_for or 0))
    if as_json:
        typer.echo(json.dumps(described(made)))
    else:
        typer.echo(f"the database was copied to {to or made.name}, {size(made.size)}")


async def _make(opened: Opened, settings: Settings, to: Path | None, kept_s: int) -> Copy:
    copies = _backups(opened, settings)
    if to is not None:
        return await copies.copy_to(to, kept_s=kept_s)
    lease = await take_lease(opened.database, NAME, lease_s=LEASE_S, command="stowage backup", waiting=lambda _: None)
    try:
        async with lease.kept():
            made = await copies.make(lease.confirm)
    except LeaseLost:
        fail("another process makes a copy now: this one was held up for too long, and stopped")
    finally:
        await lease.give_back(pause_s=settings.backup.interval)
    if made is None:
        fail("backup.keep is 0: no copy is kept")
    return made


def show(config: ConfigOption = None, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Show the copies in the storage, oldest first, and marks."""
    settings = registry_settings(config, data)
    copies, rows = in_registry(settings, _listed)
    marks = [one for one in rows if one.kind is Kind.MARK]
    failures = [one for one in rows if one.kind is Kind.FAILURE]
    if as_json:
        content = {
            "copies": [{**described(one.copy), "known": one.known} for one in copies],
            "marks": [
                {"name": one.name, "madeAt": shown_time(one.made_at), "until": shown_time(one.kept_until or 0)}
                for one in marks
            ],
            "failed": [{"at": shown_time(one.made_at), "why": one.error} for one in failures],
        }
        typer.echo(json.dumps(content))
        return
    for each in copies:
        copy = each.copy
        text = f"{copy.name}  {shown_time(copy.made_at)}  {size(copy.size)}  schema {copy.schema}"
        typer.echo(text if each.known else f"{text}  not of this database: nothing keeps what it names")
    for one in marks:
        typer.echo(f"{one.name}  {shown_time(one.made_at)}  a mark, until {shown_time(one.kept_until or 0)}")
    for one in failures:
        typer.echo(f"the attempt of {shown_time(one.made_at)} failed: {one.error}")
    if not copies and not marks:
        typer.echo("there are no copies")


async def _listed(opened: Opened) -> tuple[list[Listed], list[Backup]]:
    return await listed(opened.database, opened.driver.attic), await backups.every(opened.database)


def mark(
    kept_for: Annotated[
        int,
        typer.Option("--for", metavar="TIME", help="How long, like 30d.", parser=_duration, show_default=False),
    ],
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="What to call it; shown if not given.")] = None,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Keep all blobs of now for a time, for a copy of the database that another tool is about to make.

    Whatever the database names when this returns, or later, has its bytes until then, deleted or not. So it comes
    before pg_dump, or a snapshot of the disk. Prints the mark's name.
    """
    settings = registry_settings(config, data)
    chosen = name or f"mark-{secrets.token_hex(4)}"
    if not chosen.isprintable() or len(chosen) > 200:
        raise typer.TyperException("a mark's name is a line of at most 200 characters")

    async def work(database: Database) -> bool:
        if chosen in {one.name for one in await backups.every(database)}:
            return False

        async def add(transaction: Transaction) -> None:
            now = await jobs.clock(transaction)
            until = now + kept_for * 1_000_000
            await backups.add(transaction, chosen, Kind.MARK, made_at=now, kept_until=until)

        await database.write(add, reserve=True)
        return True

    if not in_database(settings, work):
        fail(f"there is a mark or a copy {chosen} already: choose another name, or `stowage backup forget` it")
    typer.echo(chosen)


def forget(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A copy or a mark, as `stowage backup list` shows it.")],
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Remove a copy, or a mark: what only it keeps is deleted by the next collection."""
    settings = registry_settings(config, data)

    async def work(opened: Opened) -> bool:
        if settings.database.is_postgresql:
            return await opened.database.write(lambda tx: backups.remove(tx, name), reserve=True)
        return await _backups(opened, settings).forget(name, _allowed)

    if not in_registry(settings, work):
        fail(f"there is no copy and no mark {name}: `stowage backup list` shows them")
    typer.echo(f"{name} is gone")


def restored(
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say that other tools brought the database back: pg_restore, a recovery to a point in time, a replica of a disk.

    What `stowage restore` does by itself. Whoever follows events is told that what they know is of another future, and
    lists what is there anew. All tokens end: the database does not know which were revoked since. Unfinished uploads
    end, too, and collection looks at nothing for a day. Say it once, before servers start.
    """
    settings = registry_settings(config, data)
    if not yes and not sys.stdin.isatty():
        fail("say --yes: all tokens and unfinished uploads end, and nobody can be asked here")
    if not yes:
        typer.confirm("All tokens and unfinished uploads will end. Go on?", abort=True, err=True)

    async def begin(transaction: Transaction) -> int:
        ended = await begin_anew(transaction)
        about = {"ended": ended}
        await audit.record(transaction, "database.restored", audit.DONE, audit.OPERATOR, detail=about)
        return ended

    ended = in_database(settings, lambda database: database.write(begin, reserve=True))
    if as_json:
        typer.echo(json.dumps({"endedTokens": ended}))
        return
    typer.echo("the stream of events has begun anew: cursors of before lead nowhere")
    if ended:
        typer.echo(f"{ended} tokens have ended: make new ones (`stowage serviceaccount token`)")


def described(copy: Copy) -> dict[str, Any]:
    """Return what `--json` shows of a copy."""
    return {
        "name": copy.name,
        "madeAt": shown_time(copy.made_at),
        "size": copy.size,
        "sha256": copy.sha256,
        "schema": copy.schema,
        "version": copy.version,
    }


async def _allowed(_: Transaction) -> None:
    """Say that a command may do without a lease: a name is removed once."""


def _backups(opened: Opened, settings: Settings) -> Backups:
    made = backups_of(settings, opened.database, opened.driver)
    if made is None:
        fail(_WITH_TOOLS)
    return made


def _progress(database: Path) -> str:
    made = size_of(*database.parent.glob(f"{database.name}.backup-*.partial"))
    return f"copying the database: {size(made)} of {size(max(made, size_of(database)))}" if made else ""
