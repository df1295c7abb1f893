"""`stowage restore`: bring a copy of the database back."""

import asyncio
import json
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from registry.cli.options import ConfigOption, DataOption, JsonOption, examples, fail, settings_of
from registry.cli.progress import shown, size
from registry.cli.times import shown_time
from registry.db.sqlite import SqliteDatabase
from registry.db.sqlite_copy import digest_of, look_at
from registry.db.sqlite_replace import Replacement, replacing
from registry.drivers import build_driver, build_imported
from registry.errors import RegistryError
from registry.services.backups import Copy, description_beside, every_copy
from registry.services.restoring import Reconciled, Reconciler
from registry.services.stores import Stores
from registry.settings import Settings
from storage.driver import BlobDriver
from storage.errors import StorageError

EXAMPLES = examples(
    "stowage restore stowage-20260131t030000z-1f2e.sqlite3",
    "stowage restore /mnt/elsewhere/stowage.sqlite3 --yes --data /var/lib/stowage",
)
_SHOWN = 20


@dataclass(slots=True)
class _Work:
    """What is being done, for the line on the terminal."""

    text: str = ""

    def tell(self, found: Reconciled) -> None:
        """Say how far the comparison is."""
        self.text = f"comparing with the storage: {found.blobs} blobs, {found.unknown} objects without a row"


def restore(
    name: Annotated[
        str, typer.Argument(metavar="COPY", help="A name that `stowage backup list` shows, or a file with a path.")
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a copy of the database in the place of the database.

    The server must be stopped. The present database stays beside the restored one, under another name. What was pushed,
    tagged or deleted after the copy was made is lost from the registry's view; blobs that nothing names any more
    stay for a week, so that the present database can be brought back in the same way. All tokens end: the copy does
    not know which were revoked since.
    """
    settings = settings_of(config, {"data": data})
    if settings.database.is_postgresql:
        fail("the database is on PostgreSQL: restore it with PostgreSQL's own tools, as docs/backup.md says")
    if not yes and not sys.stdin.isatty():
        fail("say --yes: what came after the copy is lost, and nobody can be asked here")
    work = _Work()
    try:
        with replacing(settings.sqlite_path) as replacement:
            with shown(lambda: work.text, sys.stderr):
                copies, made = asyncio.run(_fetch(settings, name, replacement, work))
                replacement.migrate()
            if not yes:
                _ask(made)
            with shown(lambda: work.text, sys.stderr):
                found = asyncio.run(_reconcile(settings, replacement, copies, work))
                aside = replacement.take_place()
    except (RegistryError, StorageError) as error:
        fail(str(error))
    _tell(name, made, found, aside, as_json=as_json)


def _ask(made: Copy | None) -> None:
    when = "it was made" if made is None else shown_time(made.made_at)
    typer.confirm(f"What was pushed, tagged or deleted since {when} will be lost. Go on?", abort=True, err=True)


async def _fetch(
    settings: Settings, name: str, replacement: Replacement, work: _Work
) -> tuple[list[Copy], Copy | None]:
    """Bring the copy beside the database, and look whether it is whole. Return all copies there are, and this one's."""
    driver = build_driver(settings)
    try:
        await driver.start()
        copies = await every_copy(driver.attic)
        work.text = "copying"
        if _is_file(name):
            made = await asyncio.to_thread(_fetch_file, Path(name), settings, replacement)
        else:
            made = await _fetch_kept(name, copies, driver, replacement)
    finally:
        await driver.close()
    work.text = "looking whether the copy is whole"
    if made is not None and await asyncio.to_thread(digest_of, replacement.path) != (made.size, made.sha256):
        fail(f"{name} is damaged: it is not what it was when it was made. Choose another copy")
    replacement.settle()
    await look_at(replacement.path, thoroughly=True)
    return copies, made


def _is_file(name: str) -> bool:
    return "/" in name or Path(name).is_file()


def _fetch_file(file: Path, settings: Settings, replacement: Replacement) -> Copy | None:
    if not file.is_file():
        fail(f"there is no file {file}")
    if settings.sqlite_path.exists() and file.samefile(settings.sqlite_path):
        fail(f"{file} is the database itself")
    replacement.fill_from(file)
    return description_beside(file)


async def _fetch_kept(name: str, copies: list[Copy], driver: BlobDriver, replacement: Replacement) -> Copy:
    for copy in copies:
        if copy.name == name:
            await driver.attic.get(name, replacement.path)
            return copy
    fail(f"there is no copy {name} in the storage: `stowage backup list` shows them; a file is named with its path")


async def _reconcile(settings: Settings, replacement: Replacement, copies: list[Copy], work: _Work) -> Reconciled:
    database, driver = SqliteDatabase(replacement.path), build_driver(settings)
    stores = Stores(database, driver, partial(build_imported, settings))
    try:
        await database.start()
        await driver.start()
        return await Reconciler(database, driver, stores, work.tell).run(
            copies, replacement.marks, replacement.aside_name
        )
    finally:
        await database.stop()
        await stores.close()
        await driver.close()


def _tell(name: str, made: Copy | None, found: Reconciled, aside: Path | None, *, as_json: bool) -> None:
    if as_json:
        content = {
            "restored": name,
            "madeAt": None if made is None else shown_time(made.made_at),
            "aside": None if aside is None else str(aside),
            "blobs": found.blobs,
            "missing": [
                {"digest": one.digest, "size": one.size, "repositories": one.repositories} for one in found.missing
            ],
            "unknown": {"objects": found.unknown, "bytes": found.unknown_bytes},
            "endedTokens": found.ended,
        }
        typer.echo(json.dumps(content))
        return
    when = "" if made is None else f", of {shown_time(made.made_at)}"
    typer.echo(f"{name}{when}, is the database now: {found.blobs} blobs")
    if aside is not None:
        typer.echo(f"the database as it was is in {aside}")
    if found.unknown:
        typer.echo(
            f"{found.unknown} objects in the storage, {size(found.unknown_bytes)}, are of what came later: they stay "
            "for a week at least"
        )
    if found.ended:
        typer.echo(
            f"{found.ended} tokens have ended, since the copy does not know which were revoked: make new ones "
            "(`stowage serviceaccount token`); look at `stowage user list`, too: it shows who was disabled then"
        )
    for one in found.missing[:_SHOWN]:
        typer.echo(
            f"missing in the storage: {one.digest}, {size(one.size)}, of {', '.join(one.repositories) or 'nobody'}"
        )
    if found.missing:
        typer.echo(f"{len(found.missing)} blobs are missing in the storage: pushing them again brings them back")
