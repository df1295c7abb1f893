"""`stowage import`: take over the storage of CNCF distribution."""

import asyncio
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from registry.cli.opened import in_database, in_registry, registry_settings
from registry.cli.options import ConfigOption, DataOption, JsonOption, examples, fail
from registry.cli.progress import bar, shown, size
from registry.db import stores
from registry.db.migrate import copy_database
from registry.db.sqlite import SqliteDatabase
from registry.errors import Unavailable
from registry.logs import escaped
from registry.main import Opened
from registry.services.takeover import Rules, Takeover, TakeoverFinished, finish
from registry.services.takeover_blobs import Copier
from registry.services.takeover_report import Findings, Report
from registry.settings import Settings
from storage.distribution import DistributionDriver
from storage.errors import StorageError
from storage.foreign_folder import ForeignFolder

EXAMPLES = examples(
    "stowage import --from /var/lib/registry --data /var/lib/stowage --dry-run",
    "stowage import --from /var/lib/registry --data /var/lib/stowage",
    "stowage import --from /var/lib/registry --data /var/lib/stowage --copy",
    "stowage import --from /var/lib/registry --data /var/lib/stowage --finish --yes",
)
LEFT_OUT = 3
"""Exit status of a run that came to its end and had to leave something out."""

_SHOWN = 20

FromOption = Annotated[
    str,
    typer.Option("--from", metavar="DIR", help="The other registry's root directory: it holds docker/registry/v2."),
]
CopyOption = Annotated[
    bool, typer.Option("--copy", help="Copy layers into this registry's storage, and hash them on the way.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")]
FinishOption = Annotated[
    bool, typer.Option("--finish", help="End the takeover: what lies there is this registry's to delete.")
]
YesOption = Annotated[bool, typer.Option("--yes", help="With --finish: don't ask.")]


def take_over(
    source: FromOption,
    copy: CopyOption = False,
    dry_run: DryRunOption = False,
    end: FinishOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Take over the storage of CNCF distribution (`registry:2`, `registry:3`, docker-registry).

    Repositories, tags with their approximate history, manifests and referrers are recorded; layers are served from
    where they lie, unless --copy copies them. It may be run while both registries serve, and again after it was
    interrupted. A later run catches up: it brings what is new there and moves tags that are as the last run left them;
    what was changed or deleted here stays so.

    The other registry's garbage collection (`registry garbage-collect`) must be off from the first run on, as it would
    delete layers that are served here. Until --finish nothing that was taken over in place is ever deleted by this
    registry. Blobs that were not copied count as unverified until they are scrubbed.

    Exit status: 0 if everything was taken over, 3 if something was left out (it says what and why), 1 if it failed.
    """
    if source.startswith("s3://"):
        fail(f"--from {source}: this version takes over folders, not buckets")
    if (end and (copy or dry_run)) or (yes and not end):
        raise typer.BadParameter("--finish goes with --yes and nothing else", param_hint="--finish")
    settings = registry_settings(config, data)
    folder = ForeignFolder(Path(source))
    if end:
        _finish(settings, folder.place, yes=yes)
        return
    report = Report()
    try:
        with shown(lambda: _progress(report), sys.stderr):
            if dry_run:
                _try_run(settings, folder, report)
            else:
                in_registry(settings, lambda opened: _run(opened, settings, folder, report, copy=copy))
    except TakeoverFinished as error:
        fail(str(error))
    if as_json:
        typer.echo(json.dumps(_described(report, folder.place, copy=copy, dry_run=dry_run), indent=2))
    else:
        typer.echo("\n".join(map(escaped, _told(report, folder.place, copy=copy, dry_run=dry_run))))
    if report.left_out:
        raise typer.Exit(LEFT_OUT)


async def _run(opened: Opened, settings: Settings, folder: ForeignFolder, report: Report, *, copy: bool) -> None:
    if not copy:
        await _taking(opened.database, settings, folder, report).run(count_first=sys.stderr.isatty())
        return

    async def never() -> bool:
        return False

    foreign = DistributionDriver("the other registry's", Path(folder.place), never)
    try:
        copier = Copier(foreign, opened.driver, report)
        await _taking(opened.database, settings, folder, report, copier).run(count_first=sys.stderr.isatty())
    finally:
        await foreign.close()


def _try_run(settings: Settings, folder: ForeignFolder, report: Report) -> None:
    """Run on a copy of the database that is thrown away."""
    if settings.database.is_postgresql:
        fail("--dry-run works on a copy of the database, and copies SQLite only: run it with a new --data folder")

    async def run(path: Path) -> None:
        database = SqliteDatabase(path)
        await database.start()
        try:
            await _taking(database, settings, folder, report).run(count_first=sys.stderr.isatty())
        finally:
            await database.stop()

    try:
        with _scratch(settings.sqlite_path) as path:
            asyncio.run(run(path))
    except (Unavailable, StorageError, OSError) as error:
        fail(str(error))


@contextmanager
def _scratch(database: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="stowage-dry-run-") as folder:
        copy = Path(folder) / "stowage.sqlite3"
        copy_database(database, copy)
        yield copy


def _taking(
    database: Any, settings: Settings, folder: ForeignFolder, report: Report, copier: Copier | None = None
) -> Takeover:
    rules = Rules(settings.manifests.max_size, settings.manifests.sparse)
    return Takeover(database, folder, rules, report, copier)


def _finish(settings: Settings, place: str, *, yes: bool) -> None:
    store = in_database(settings, lambda database: stores.find_at(database, place))
    if store is None or store.imported_at is None:
        fail(f"there is nothing to finish: no import from {place} has come to its end")
    if store.finished_at is None and not yes:
        typer.echo(
            f"From now on this registry may delete layers in {place} that nothing here refers to any more.\n"
            "The registry that they belonged to must have been stopped for good, and no later import can catch up.",
            err=True,
        )
        if not sys.stdin.isatty():
            fail("nobody is there to be asked: say --yes if that is what you want")
        typer.confirm("Finish?", abort=True, err=True)
    if in_database(settings, lambda database: finish(database, store)):
        typer.echo(f"the takeover of {place} is finished")
    else:
        typer.echo(f"the takeover of {place} was finished already")


def _progress(report: Report) -> str:
    taken = report.bytes + report.bytes_copied
    figures = f"{report.tags:,} tags, {report.manifests:,} manifests, {report.blobs:,} blobs, {size(taken)}"
    if not report.repositories and report.total:
        return f"looking for repositories: {report.total:,}"
    return f"{bar(report.repositories, report.total)}{report.repositories:,} repositories, {figures}"


def _described(report: Report, place: str, *, copy: bool, dry_run: bool) -> dict[str, Any]:
    """Return what `--json` prints."""
    return {
        "from": place,
        "copy": copy,
        "dryRun": dry_run,
        "repositories": report.repositories,
        "tags": report.tags,
        "tagsMoved": report.tags_moved,
        "history": report.history,
        "manifests": report.manifests,
        "blobs": report.blobs,
        "bytes": report.bytes,
        "blobsCopied": report.copied,
        "bytesCopied": report.bytes_copied,
        "layersGone": report.gone,
        "leftOut": _findings(report.left_out),
        "kept": _findings(report.kept),
    }


def _findings(found: Findings) -> dict[str, Any]:
    listed = [
        {"reason": one.reason, "repository": one.repository, "item": one.item, "message": one.message}
        for one in found.listed
    ]
    return {"count": len(found), "reasons": {str(reason): n for reason, n in found.counts.items()}, "listed": listed}


def _told(report: Report, place: str, *, copy: bool, dry_run: bool) -> list[str]:
    """Return what is printed for people."""
    how = "copied" if copy else "served from where they lie"
    lines = [
        f"{'would take' if dry_run else 'took'} over from {place}:",
        f"  repositories  {report.repositories:,} looked at",
        f"  tags          {report.tags:,} new, {report.tags_moved:,} moved, {report.history:,} of their history",
        f"  manifests     {report.manifests:,} new",
        f"  blobs         {report.blobs:,} new, {size(report.bytes)}, {how}",
    ]
    if report.copied and not dry_run:
        lines.append(f"  copied        {report.copied:,} blobs, {size(report.bytes_copied)}")
    if report.gone:
        lines.append(f"  gone there    {report.gone:,} layers that are linked and no longer stored")
    lines += _listed("left out", report.left_out)
    lines += _listed("kept as it is here", report.kept)
    if not dry_run:
        lines += [
            "",
            "Keep that registry's garbage collection off. To catch up with it, run this again; when it has been",
            "stopped for good, end the takeover with --finish.",
        ]
    return lines


def _listed(title: str, found: Findings) -> list[str]:
    if not found:
        return []
    lines = ["", f"{title}: {len(found):,}"]
    for one in found.listed[:_SHOWN]:
        where = f"{one.repository} {one.item}".strip()
        lines.append(f"  {one.reason}  {where}: {one.message}")
    if len(found) > _SHOWN:
        lines.append(f"  and {len(found) - _SHOWN:,} more: --json lists them")
    return lines
