"""`stowage export` and `stowage load`: repositories as OCI image layouts."""

import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, BinaryIO, cast

import typer

from registry.cli.database import registry_settings
from registry.cli.opened import in_registry
from registry.cli.options import ConfigOption, DataOption, examples, fail
from registry.cli.progress import bar, shown, size
from registry.db import repositories
from registry.errors import NameInvalid, TagInvalid
from registry.logs import escaped
from registry.oci.names import RepositoryName, Tag, parse_repository, parse_tag
from registry.opened import Opened
from registry.services.exporting import Exported, Exporter, Selection
from registry.services.layout_readers import ArchiveReader, FolderReader, LayoutInvalid
from registry.services.layout_writers import ArchiveWriter, FolderWriter, LayoutWriter, TargetExists, TarWriter
from registry.services.loading import Loaded, Loader, Wishes
from storage.digest import parse_digest
from storage.driver import READ_CHUNK
from storage.errors import InvalidDigest

EXPORT_EXAMPLES = examples(
    "stowage export team/app --to /backup/app",
    "stowage export team/app:1.0 team/app:latest --to app.tar",
    "stowage export --all --data /var/lib/stowage --to /backup/everything.tar",
    "stowage export team/app:1.0 --no-referrers --to -",
)
LOAD_EXAMPLES = examples(
    "stowage load --from /backup/app",
    "stowage load --from app.tar --data /var/lib/stowage",
    "stowage load --from image.tar --repository team/app --tag 1.0 --tag latest",
    "stowage load --from - --repository team/app",
)
_PAGE = 1000
_STREAM = "-"


def _selection(text: str) -> Selection:
    """Read REPO, REPO:TAG or REPO@DIGEST."""
    name, at, digest = text.partition("@")
    name, colon, tag = name.partition(":")
    try:
        repository = parse_repository(name, reserved=True)
        if at and colon:
            raise typer.BadParameter(f"{text}: a tag or a digest, not both")
        if at:
            return Selection(repository, digest=parse_digest(digest))
        return Selection(repository, tag=parse_tag(tag) if colon else None)
    except (NameInvalid, TagInvalid, InvalidDigest) as error:
        raise typer.BadParameter(str(error)) from None


def _repository(text: str) -> RepositoryName:
    try:
        return parse_repository(text)
    except NameInvalid as error:
        raise typer.BadParameter(error.message) from None


def _tag(text: str) -> Tag:
    try:
        return parse_tag(text)
    except TagInvalid as error:
        raise typer.BadParameter(error.message) from None


def export(
    what: Annotated[
        list[str] | None, typer.Argument(metavar="REPO[:TAG|@DIGEST]...", help="What to export.", show_default=False)
    ] = None,
    to: Annotated[
        str, typer.Option("--to", metavar="DIR|FILE.tar|-", help="A folder, a tar archive, or standard output.")
    ] = "",
    everything: Annotated[bool, typer.Option("--all", help="Every repository.")] = False,
    referrers: Annotated[
        bool, typer.Option("--referrers/--no-referrers", help="With signatures and whatever else refers to an image.")
    ] = True,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Export repositories, tags or digests as one OCI image layout.

    Indexes go with all their children. A repository without tag or digest goes with all it holds. Every byte is
    verified as it is read; what fails or is interrupted leaves nothing under the name given. To standard output goes a
    tar archive.
    """
    if bool(what) == everything:
        raise typer.BadParameter("say what to export, or --all", param_hint="REPO")
    if not to:
        raise typer.BadParameter("say where to write: a folder, a name that ends in .tar, or -", param_hint="--to")
    selections = [_selection(text) for text in what or []]
    writer = _writer(to)
    settings = registry_settings(config, data)
    done = Exported()

    async def run(opened: Opened) -> Exported:
        nonlocal done
        chosen = selections or [Selection(name) for name in await _names(opened)]
        if not chosen:
            fail("there is nothing to export: there are no repositories")
        several = len({one.repository for one in chosen}) > 1
        exporter = Exporter(opened.database, opened.stores, writer, referrers=referrers, several=several)
        done = exporter.figures
        try:
            writer.begin()
            for selection in chosen:
                await exporter.add(selection)
            return await exporter.finish()
        finally:
            writer.discard()

    try:
        with shown(lambda: f"{done.manifests:,} manifests, {done.blobs:,} blobs, {size(done.bytes)}", sys.stderr):
            in_registry(settings, run)
    except TargetExists as error:
        fail(str(error))
    except OSError as error:
        if to == _STREAM:  # nobody reads any more: Python would complain once again at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        fail(f"{'standard output' if to == _STREAM else to} can't be written: {error.strerror}")
    if to != _STREAM:
        missing = f"; {done.missing:,} things they name are not stored here" if done.missing else ""
        typer.echo(
            f"exported {done.tags:,} tags, {done.manifests:,} manifests and {done.blobs:,} blobs, "
            f"{size(done.bytes)}, to {to}{missing}"
        )


def load(
    source: Annotated[
        str, typer.Option("--from", metavar="DIR|FILE.tar|-", help="A folder, a tar archive, or standard input.")
    ],
    repository: Annotated[
        RepositoryName | None,
        typer.Option("--repository", metavar="NAME", help="Where everything goes.", parser=_repository),
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option("--tag", metavar="TAG", help="What the one image in it is to be called.")
    ] = None,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Load an OCI image layout: a folder or a tar archive, as `stowage export`, skopeo, podman, docker, buildx make it.

    Without --repository it goes where the layout says. All of it is checked before anything is stored: what is damaged
    or makes no sense is refused, and leaves nothing behind. An archive that comes through a pipe waits for that in the
    system's temporary folder (TMPDIR chooses another).
    """
    wishes = Wishes(repository, tuple(map(_tag, tag or [])))
    settings = registry_settings(config, data)
    try:
        with closing(_reader(source)) as reader:
            loader = Loader(reader, limit=settings.manifests.max_size, sparse=settings.manifests.sparse)
            with shown(lambda: _progress(loader.figures), sys.stderr):
                loader.check(wishes)
                done = in_registry(settings, lambda opened: loader.store(opened.blobs, opened.manifests, opened.driver))
    except LayoutInvalid as error:
        fail(escaped(f"{_named(source)}: {error}"))
    except OSError as error:
        fail(f"{_named(source)} can't be read: {error.strerror}")
    typer.echo(
        f"loaded {done.tags:,} tags and {done.manifests:,} manifests into {done.repositories:,} repositories; "
        f"{done.blobs:,} blobs were new, {size(done.bytes)}"
    )


def _writer(to: str) -> LayoutWriter:
    if to == _STREAM:
        if sys.stdout.isatty():
            fail("an archive is not written to a terminal: redirect standard output")
        return TarWriter(sys.stdout.buffer)
    return ArchiveWriter(Path(to)) if to.endswith(".tar") else FolderWriter(Path(to))


def _reader(source: str) -> FolderReader | ArchiveReader:
    if source != _STREAM:
        path = Path(source)
        return FolderReader(path) if path.is_dir() else ArchiveReader(path.open("rb", buffering=0))
    if sys.stdin.isatty():
        fail("an archive is not read from a terminal: redirect standard input")
    # It is read twice, so a pipe has to go to a file first; what was redirected from a file is one.
    given = sys.stdin.buffer
    if given.seekable() and given.tell() == 0:
        return ArchiveReader(os.fdopen(os.dup(given.fileno()), "rb", buffering=0))
    kept = tempfile.TemporaryFile(prefix="stowage-load-", buffering=0)  # noqa: SIM115 - the reader closes it
    try:
        shutil.copyfileobj(given, kept, READ_CHUNK)
        kept.seek(0)
        return ArchiveReader(cast(BinaryIO, kept))
    except BaseException:
        kept.close()
        raise


def _named(source: str) -> str:
    return "standard input" if source == _STREAM else source


async def _names(opened: Opened) -> Sequence[RepositoryName]:
    names: list[RepositoryName] = []
    while page := await repositories.page(opened.database, after=names[-1] if names else "", limit=_PAGE):
        names += map(RepositoryName, page)
    return names


def _progress(figures: Loaded) -> str:
    if figures.checked < figures.total:
        return f"{bar(figures.checked, figures.total)}checked {size(figures.checked)} of {size(figures.total)}"
    return f"{figures.manifests:,} manifests, {figures.blobs:,} blobs, {size(figures.bytes)}"
