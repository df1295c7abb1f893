"""`stowage history`: what tags were, and what was deleted."""

import json
from typing import Annotated, Any

import typer

from registry.cli.client import Client
from registry.cli.options import JsonOption, examples
from registry.cli.progress import size
from registry.cli.rights import columns
from registry.cli.where import on_registry

EXAMPLES = examples(
    "stowage history team/app:latest",
    "stowage history team/app --limit 20",
    "stowage history team/app --removed",
    "stowage history team/app --deleted --json",
    "stowage history team/app:latest --server https://registry.example.org",
)


@on_registry
def history(
    client: Client,
    what: Annotated[str, typer.Argument(metavar="REPO[:TAG]", help="A repository, or one tag of it.")],
    removed: Annotated[
        bool, typer.Option("--removed", help="What tags were that are not there any more, the last gone first.")
    ] = False,
    deleted: Annotated[
        bool, typer.Option("--deleted", help="Manifests that were deleted, and until when they can be had back.")
    ] = False,
    limit: Annotated[
        int, typer.Option("--limit", metavar="NUMBER", min=0, help="Most lines; 0 for all that there are.")
    ] = 100,
    as_json: JsonOption = False,
) -> None:
    """Say what tags were, when, and who made them so, the newest first.

    With --json, one JSON object a line.
    """
    repository, colon, tag = what.partition(":")
    if (removed or deleted) and (colon or (removed and deleted)):
        raise typer.TyperException("--removed and --deleted are about a whole repository, each alone")
    path = "history/deleted" if deleted else "history"
    query = {"repository": repository, "tag": tag if colon else None, "removed": "true" if removed else None}
    found = client.every(path, query, most=limit or None)
    if as_json:
        for entry in found:
            typer.echo(json.dumps(entry))
        return
    typer.echo(_deleted(list(found)) if deleted else _assigned(list(found)))


def _assigned(entries: list[dict[str, Any]]) -> str:
    head = (
        "TAG",
        "SINCE",
        "BY",
        "BY WAY OF",
        "FROM",
        "UNTIL",
        "EXPIRES",
        "ENDED BY",
        "BY WAY OF",
        "MANIFEST",
        "DIGEST",
    )
    rows = [
        (
            one["tag"],
            one["startedAt"],
            one["startedBy"] or "-",
            one["cause"] or "-",
            one["startedFrom"] or "-",
            one["endedAt"] or "-",
            one["expiresAt"] or "-",
            one["endedBy"] or "-",
            one["endedCause"] or "-",
            one["content"],
            one["digest"],
        )
        for one in entries
    ]
    return columns(head, rows)


def _deleted(entries: list[dict[str, Any]]) -> str:
    head = ("DELETED", "BY", "UNTIL", "SIZE", "TAGS", "DIGEST")
    rows = [
        (
            one["deletedAt"],
            one["deletedBy"] or "-",
            one["until"],
            size(one["size"]),
            " ".join(one["tags"]) or "-",
            one["digest"],
        )
        for one in entries
    ]
    return columns(head, rows)
