"""`stowage import`: take over the storage of CNCF distribution."""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from registry.cli.database import in_database, registry_settings
from registry.cli.opened import in_registry
from registry.cli.options import ConfigOption, DataOption, JsonOption, examples, fail
from registry.cli.progress import bar, shown, size
from registry.db import stores
from registry.db.connection import Database
from registry.db.migrate import copy_database
from registry.db.sqlite import SqliteDatabase
from registry.drivers import build_foreign, build_imported
from registry.errors import Unavailable
from registry.logs import escaped
from registry.opened import Opened
from registry.services.takeover import Rules, Takeover, TakeoverFinished, finish
from registry.services.takeover_blobs import Copier
from registry.services.takeover_report import Findings, Report
from registry.settings import Settings
from storage.bucket_place import BucketPlace, is_bucket
from storage.errors import StorageError
from storage.foreign import ForeignStorage

EXAMPLES = examples(
    "stowage import --from /var/lib/registry --data /var/lib/stowage --dry-run",
    "stowage import --from /var/lib/registry --data /var/lib/stowage",
    "stowage import --from /var/lib/registry --data /var/lib/stowage --copy",
    "stowage import --from /var/lib/registry --data /var/lib/stowage --finish --yes",
    "stowage import --from s3://registry/prefix --endpoint https://minio.example.org:9000 --data /var/lib/stowage",
)
LEFT_OUT = 3
"""Exit status of a run that came to its end and had to leave something out."""

_SHOWN = 20

FromOption = Annotated[
    str,
    typer.Option(
        "--from",
        metavar="DIR|s3://BUCKET/PREFIX",
        help="The other registry's root directory: it holds docker/registry/v2.",
    ),
]
EndpointOption = Annotated[
    str | None,
    typer.Option("--endpoint", metavar="URL", help="Where the bucket's store is. [default: storage.s3.endpoint]"),
]
RegionOption = Annotated[
    str | None, typer.Option("--region", metavar="R", help="The bucket's region. [default: storage.s3.region]")
]
ProfileOption = Annotated[
    str | None,
    typer.Option("--profile", metavar="NAME", help="Profile with credentials in the files of the AWS command line."),
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
    endpoint: EndpointOption = None,
    region: RegionOption = None,
    profile: ProfileOption = None,
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

    Of a bucket the endpoint, the region and the profile's name are remembered; servers and later runs use them. The
    credentials are those of `storage.s3` where the endpoint is its own; for another, and where there are none, boto3
    finds them as it does everywhere: in the environment, --profile, web identity, the machine's metadata.

    Exit status: 0 if everything was taken over, 3 if something was left out (it says what and why), 1 if it failed.
    """
    if (end and (copy or dry_run)) or (yes and not end):
        raise typer.BadParameter("--finish goes with --yes and nothing else", param_hint="--finish")
    reached = {"endpoint": endpoint, "region": region, "profile": profile}
    given = _given(source, {name: value for name, value in reached.items() if value is not None})
    settings = registry_settings(config, data)
    place = given if isinstance(given, str) else _filled(given, settings).text
    if end:
        _finish(settings, place, yes=yes)
        return
    report = Report()
    try:
        with shown(lambda: _progress(report), sys.stderr):
            if dry_run:
                _try_run(settings, place, report)
            else:
                in_registry(settings, lambda opened: _run(opened, settings, place, report, copy=copy))
    except TakeoverFinished as error:
        fail(str(error))
    if as_json:
        typer.echo(json.dumps(_described(report, place, copy=copy, dry_run=dry_run), indent=2))
    else:
        typer.echo("\n".join(map(escaped, _told(report, place, copy=copy, dry_run=dry_run))))
    if report.left_out:
        raise typer.Exit(LEFT_OUT)


def _given(source: str, reached: Mapping[str, Any]) -> BucketPlace | str:
    """Read what is said of the place: that of a folder as it is written down, that of a bucket as far as it goes."""
    if not is_bucket(source):
        if reached:
            raise typer.BadParameter(f"--{min(reached)} is for buckets", param_hint="--from")
        return os.path.realpath(source)
    try:
        return BucketPlace.parse(replace(BucketPlace.parse(source), **reached).text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--from") from None


def _filled(given: BucketPlace, settings: Settings) -> BucketPlace:
    """Add what an earlier run was told, and what the settings say where the endpoint is theirs."""
    s3 = settings.storage.s3
    place = replace(given, endpoint=given.endpoint or s3.endpoint)
    own = BucketPlace(place.bucket)
    if place.endpoint == s3.endpoint:
        own = replace(own, region=s3.region, path_style=s3.path_style)
    store = in_database(settings, lambda database: stores.find_at(database, place.text))
    known = own if store is None else BucketPlace.parse(store.place)
    return replace(
        place,
        region=place.region or known.region or own.region,
        path_style=next((one.path_style for one in (place, known, own) if one.path_style is not None), None),
        profile=place.profile or known.profile,
    )


async def _run(opened: Opened, settings: Settings, place: str, report: Report, *, copy: bool) -> None:
    storage = build_foreign(settings, place)
    try:
        if not copy:
            await _take(opened.database, settings, storage, report)
            return

        async def never() -> bool:
            return False

        foreign = build_imported(settings, "the other registry's", place, never)
        try:
            await _take(opened.database, settings, storage, report, Copier(foreign, opened.driver, report))
        finally:
            await foreign.close()
    finally:
        await storage.close()


def _try_run(settings: Settings, place: str, report: Report) -> None:
    """Run on a copy of the database that is thrown away."""
    if settings.database.is_postgresql:
        fail("--dry-run works on a copy of the database, and copies SQLite only: run it with a new --data folder")

    async def run(path: Path) -> None:
        storage = build_foreign(settings, place)
        database = SqliteDatabase(path)
        await database.start()
        try:
            await _take(database, settings, storage, report)
        finally:
            await database.stop()
            await storage.close()

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


async def _take(
    database: Database, settings: Settings, storage: ForeignStorage, report: Report, copier: Copier | None = None
) -> None:
    rules = Rules(settings.manifests.max_size, settings.manifests.sparse)
    # Counting costs a request for each repository of a bucket: as much as a run that finds nothing new.
    count_first = sys.stderr.isatty() and storage.at_once == 1
    await Takeover(database, storage, rules, report, copier).run(count_first=count_first)


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
