"""`stowage du`: what repositories hold, alone and shared."""

import json
from collections.abc import AsyncIterator
from typing import Annotated

import typer

from registry.cli.database import in_database, registry_settings
from registry.cli.options import ConfigOption, DataOption, JsonOption, examples, fail
from registry.cli.progress import size
from registry.db import repositories, usage
from registry.db.connection import Database
from registry.db.usage import Stored, Usage
from registry.oci.names import RepositoryName

EXAMPLES = examples("stowage du", "stowage du team/app team/base", "stowage du --json --data /var/lib/stowage")
_PAGE = 1000


def du(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[REPO]...", help="Repositories; all when none is named.")
    ] = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what repositories hold: bytes of blobs, those that no other repository has, blobs, manifests and tags.

    What was deleted counts until it is collected. All together is less than the sum: a blob is stored once.
    """
    settings = registry_settings(config, data)
    window_s = settings.backup.window
    in_database(settings, lambda database: _print(database, names or [], window_s, as_json=as_json))


async def _print(database: Database, chosen: list[str], window_s: int, *, as_json: bool) -> None:
    """Print line by line: there may be many."""
    for name in chosen:
        if await repositories.find(database, RepositoryName(name)) is None:
            fail(f"there is no repository {name}")
    typer.echo('{"repositories": [' if as_json else _row(*_HEAD))
    first, whole = True, _Whole()
    async for name in _all_names(database, chosen):
        found = await usage.of_repository(database, name)
        whole.add(found)
        if as_json:
            typer.echo(f"{'' if first else ','}{json.dumps(_described(found))}")
            first = False
        else:
            typer.echo(_told(found))
    stored = None if chosen else await usage.stored(database, window_s=window_s)
    if as_json:
        typer.echo(f'], "whole": {json.dumps(None if stored is None else whole.described(stored))}}}')
    elif stored is not None:
        typer.echo(whole.sentence(stored))


async def _all_names(database: Database, chosen: list[str]) -> AsyncIterator[str]:
    for name in chosen:
        yield name
    after = ""
    while not chosen and (page := await repositories.page(database, after=after, limit=_PAGE)):
        for name in page:
            yield name
        after = page[-1]


def _described(found: Usage) -> dict[str, object]:
    return {
        "name": found.name,
        "bytes": found.total,
        "alone": found.alone,
        "shared": found.shared,
        "blobs": found.blobs,
        "manifests": found.manifests,
        "manifestBytes": found.manifest_bytes,
        "tags": found.tags,
    }


_HEAD = ("BYTES", "ALONE", "SHARED", "BLOBS", "MANIFESTS", "TAGS", "REPOSITORY")


def _told(found: Usage) -> str:
    counts = (str(found.blobs), str(found.manifests), str(found.tags))
    return _row(size(found.total), size(found.alone), size(found.shared), *counts, found.name)


def _row(*cells: str) -> str:
    *numbers, name = cells
    return "  ".join([*(cell.rjust(10) for cell in numbers), name])


class _Whole:
    """Adds up what is not shared between repositories."""

    def __init__(self) -> None:
        self.repositories = self.manifests = self.manifest_bytes = self.tags = 0

    def add(self, found: Usage) -> None:
        """Count one repository."""
        self.repositories += 1
        self.manifests += found.manifests
        self.manifest_bytes += found.manifest_bytes
        self.tags += found.tags

    def described(self, stored: Stored) -> dict[str, object]:
        """Return what `--json` shows."""
        return {
            "repositories": self.repositories,
            "bytes": stored.total,
            "blobs": stored.blobs,
            "manifests": self.manifests,
            "manifestBytes": self.manifest_bytes,
            "tags": self.tags,
            "beingDeleted": stored.doomed - stored.held,
            "keptForBackups": stored.held,
        }

    def sentence(self, stored: Stored) -> str:
        """Return the same as a sentence."""
        text = (
            f"{self.repositories} repositories hold {size(stored.total)} in {stored.blobs} blobs, "
            f"{self.manifests} manifests ({size(self.manifest_bytes)}, in the database) and {self.tags} tags"
        )
        if stored.doomed > stored.held:
            text += f"; {size(stored.doomed - stored.held)} are being deleted"
        return f"{text}; {size(stored.held)} stay for copies of the database" if stored.held else text
