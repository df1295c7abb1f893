"""`stowage rollback`, `stowage undelete` and `stowage purge`: what was, is again, or is gone for good."""

import json
import shlex
import sys
from typing import Annotated, Any

import typer

from registry.cli.client import Client
from registry.cli.options import JsonOption, examples, fail
from registry.cli.progress import shown, size
from registry.cli.rights import columns, printable
from registry.cli.where import on_registry

_SERVER = "--server https://registry.example.org"
_DIGEST = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
ROLLBACK_EXAMPLES = examples(
    "stowage rollback team/app:latest --to previous",
    f"stowage rollback team/app:latest --to {_DIGEST}",
    "stowage rollback team/app --to 2026-11-01T12:00:00Z --dry-run",
    "stowage rollback team/app --to 2h --tags 'v1.*'",
    f"stowage rollback --project team --to 2h {_SERVER}",
)
UNDELETE_EXAMPLES = examples(
    f"stowage undelete team/app@{_DIGEST}", f"stowage undelete team/app@{_DIGEST} --no-tags {_SERVER}"
)
PURGE_EXAMPLES = examples(
    f"stowage purge team/app@{_DIGEST}",
    f"stowage purge team/app@{_DIGEST} --json {_SERVER}",
)

WhatArgument = Annotated[str, typer.Argument(metavar="REPO@DIGEST", help="Which, as `stowage history` shows it.")]


@on_registry
def rollback(
    client: Client,
    what: Annotated[
        str | None, typer.Argument(metavar="[REPO[:TAG]]", help="A repository, or one tag of it.", show_default=False)
    ] = None,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="WHEN",
            help="A time like 2026-11-01T12:00:00Z, or how long ago, like 2h; for a tag also a digest, or `previous`.",
            show_default=False,
        ),
    ] = "",
    project: Annotated[
        str | None, typer.Option("--project", metavar="NAME", help="All repositories of a project.", show_default=False)
    ] = None,
    tags: Annotated[
        str | None,
        typer.Option(
            "--tags", metavar="PATTERN", help="Only tags like this: * and ? stand for any.", show_default=False
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing: say what would be changed.")] = False,
    partial: Annotated[
        bool,
        typer.Option("--partial", help="Do what can be done, where some of it can't: then nothing is, by default."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Have tags name what they named at a moment; make those that were there, and remove those that were not.

    All tags of a repository change at once. What was deleted since is there again, within the history window. A
    rollback is a change like a push: it takes the same permissions, obeys the same rules, and can be undone as well.
    """
    if (what is None) == (project is None):
        raise typer.TyperException("say REPO, REPO:TAG, or --project NAME")
    if not to:
        raise typer.TyperException("say what to go back to: --to WHEN")
    name, colon, tag = (what or "").partition(":")
    content = {"repository": name or None, "tag": tag if colon else None, "project": project, "tags": tags, "to": to}
    with shown(lambda: "rolling back", sys.stderr):
        done = client.post("rollbacks", {**content, "dryRun": dry_run, "partial": partial}, is_long=True)
    found = done["repositories"]
    typer.echo(json.dumps(done) if as_json else _told(found, tag=tag, tags=tags, dry_run=dry_run))
    failed = [one for one in found if one["error"]]
    left = [one for one in found if one["left"]]
    if failed:
        fail(printable(f"{len(failed)} repositories are as they were: {failed[0]['repository']}: {failed[0]['error']}"))
    if left and dry_run and not partial:
        fail("some of it can't be done, so nothing would be: --partial does the rest")


@on_registry
def undelete(
    client: Client,
    what: WhatArgument,
    tags: Annotated[bool, typer.Option("--tags/--no-tags", help="With the tags that went with it.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Have a manifest that was deleted be there again, with its blobs and children, and with the tags that it had."""
    repository, digest = _one(what)
    done = client.post("undeletions", {"repository": repository, "digest": digest, "tags": tags})
    if as_json:
        typer.echo(json.dumps(done))
        return
    named = f", and named by {' '.join(done['tags'])}" if done["tags"] else ""
    lines = [f"{what} is there again{named}" if done["undeleted"] else f"{what} was not deleted"]
    lines += [f"the tag {one['tag']} stays as it is: {one['reason']}" for one in done["left"]]
    typer.echo(printable_lines(lines))


@on_registry
def purge(client: Client, what: WhatArgument, as_json: JsonOption = False) -> None:
    """Remove a manifest or a blob for good, before its time: for a secret that leaked.

    Refused while a tag, an index or a manifest names it. It can't be had back from then on. Its bytes go with the next
    collection, without grace, but for what other images have, too. A push under way that relies on them fails, and has
    to be begun again.
    """
    repository, digest = _one(what)
    done = client.post("purges", {"repository": repository, "digest": digest})
    typer.echo(json.dumps(done) if as_json else printable_lines(_purged(done)))


def printable_lines(lines: list[str]) -> str:
    """Return lines without what a terminal would obey."""
    return "\n".join(printable(line) for line in lines)


def _one(what: str) -> tuple[str, str]:
    repository, at, digest = what.partition("@")
    if not at:
        raise typer.TyperException("say REPO@DIGEST")
    return repository, digest


def _told(found: list[dict[str, Any]], *, tag: str, tags: str | None, dry_run: bool) -> str:
    """Say what was changed: a line for each tag, and how to undo it, and nothing else that happens meanwhile."""
    rows = [
        (one["repository"], change["tag"], change["before"] or "-", change["after"] or "-", _note(change))
        for one in found
        for change in one["changes"]
    ]
    lines = [columns(("REPOSITORY", "TAG", "WAS", "WOULD BE" if dry_run else "IS", "NOTE"), rows)] if rows else []
    for one in found:
        lines += [
            printable(f"{one['repository']}:{left['tag']} stays as it is: {left['reason']}") for left in one["left"]
        ]
    if not rows:
        lines.append("nothing is to be changed")
    one_tag, some = (f":{tag}" if tag else ""), (f" --tags {shlex.quote(tags)}" if tags else "")
    for one in found:
        if one["before"] is not None:
            undo = f"stowage rollback {one['repository']}{one_tag} --to {one['before']}{some}"
            lines.append(printable(f"to undo it: {undo}"))
    return "\n".join(lines)


def _note(change: dict[str, Any]) -> str:
    return "it was deleted" if change["undeleted"] else ""


def _purged(done: dict[str, Any]) -> list[str]:
    lines = [f"{digest} is gone" for digest in done["manifests"]]
    for blob in done["blobs"]:
        line = f"blob {blob['digest']} ({size(blob['size'])}) is gone from {done['repository']}"
        others = " ".join(blob["repositories"])
        more = " and others" if others and blob["more"] else ""
        lines.append(f"{line}, and is still in {others}{more}" if others else line)
    lines += [f"{one['digest']} stays: {one['reason']}" for one in done["left"]]
    lines.append("the bytes go with the next collection: `stowage gc --now`")
    for copy in done["copies"]:
        until = "" if copy["keptUntil"] is None else f", kept until {copy['keptUntil']}"
        lines.append(f"the database's copy {copy['name']} of {copy['madeAt']} may still have the manifest{until}")
    return lines
