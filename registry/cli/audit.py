"""`stowage audit`: who did what, and whether the audit log is still as it was written."""

import json
import re
import sys
from typing import Annotated, Any

import typer

from registry.cli.client import Client
from registry.cli.options import JsonOption, examples, fail
from registry.cli.progress import shown
from registry.cli.rights import printable
from registry.cli.where import WHERE, on_registry
from registry.moments import parse_moment

_SEAL = re.compile(r"[0-9]{1,18}:[0-9a-f]{64}")


def _moment(text: str) -> str:
    try:
        parse_moment(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    return text


def _known(text: str) -> str:
    if _SEAL.fullmatch(text) is None:
        raise typer.BadParameter("expected ENTRY:HASH, as `stowage audit verify` prints it")
    return text


def _exactly(metavar: str, text: str) -> Any:
    return typer.Option(metavar=metavar, help=text, show_default=False)


_MOMENT = {"metavar": "TIME", "parser": _moment, "show_default": False}


def build() -> typer.Typer:
    """Return the commands below `audit`."""
    one, server = "stowage audit", "--server https://registry.example.org"
    app = typer.Typer(
        rich_markup_mode=None,
        help=f"Say who did what, and whether the audit log is as it was written.\n\n{WHERE}",
        epilog=examples(f"{one} list --project team --since 24h", f"{one} verify", f"{one} list {server}"),
    )
    data = "--data /var/lib/stowage"
    app.command(
        "list",
        epilog=examples(
            f"{one} list",
            f"{one} list --principal user:alice --action delete --since 7d",
            f"{one} list --outcome denied --limit 20 --json {data}",
            f"{one} list --project team {server}",
        ),
    )(on_registry(list_entries))
    app.command(epilog=examples(f"{one} verify", f"{one} verify --json {data}", f"{one} verify {server}"))(
        on_registry(verify)
    )
    return app


def list_entries(
    client: Client,
    principal: Annotated[str, _exactly("NAME", "Who did it, like user:alice or system:anonymous.")] = "",
    project: Annotated[str, _exactly("NAME", "In this project.")] = "",
    repository: Annotated[str, _exactly("NAME", "In this repository.")] = "",
    action: Annotated[str, _exactly("WORD", "What was done, like push, delete or login.")] = "",
    outcome: Annotated[str, _exactly("WORD", "done, denied or failed.")] = "",
    since: Annotated[
        str | None, typer.Option("--since", help="From then on, like 24h or 2024-05-01.", **_MOMENT)
    ] = None,
    until: Annotated[str | None, typer.Option("--until", help="Until then.", **_MOMENT)] = None,
    limit: Annotated[
        int, typer.Option("--limit", metavar="NUMBER", min=0, help="Most entries; 0 for all that there are.")
    ] = 100,
    before: Annotated[
        int | None,
        typer.Option("--before", metavar="ID", min=1, help="Older than this entry: the next page.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List what was done, or refused, the newest first. With --json, one JSON object a line."""
    given = {"principal": principal, "project": project, "repository": repository, "action": action}
    query = {name: value or None for name, value in {**given, "outcome": outcome}.items()}
    where = {**query, "since": since, "until": until}
    for entry in client.every("audit", where, after=None if before is None else str(before), most=limit or None):
        typer.echo(json.dumps(entry) if as_json else told(entry))


def verify(
    client: Client,
    seal: Annotated[
        list[str] | None,
        typer.Option(
            "--seal",
            metavar="ENTRY:HASH",
            parser=_known,
            help="A seal that was kept elsewhere, such as in the server's log. May be given several times.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the audit log with its seals, and find what was changed, removed or put there since.

    The last line it prints is the newest seal: whoever keeps that elsewhere can say later, with --seal, that nothing
    before it was made anew.
    """
    with shown(lambda: "reading the audit log", sys.stderr):
        found = client.get("audit/verification", {"seal": seal or []}, is_long=True)
    if as_json:
        typer.echo(json.dumps(found))
    elif found["right"]:
        typer.echo(_summary(found))
    if not found["right"]:
        if not as_json:
            fail("\n".join(printable(one) for one in found["problems"]))
        raise typer.Exit(1)


def told(entry: dict[str, Any]) -> str:
    """Return an entry as a line."""
    where = entry["repository"] or entry["project"]
    at = entry["at"].partition(".")[0] + "Z"
    parts = [at, entry["outcome"], entry["action"], entry["principal"], where, entry["address"]]
    times = f" ({entry['count']} times)" if entry["count"] > 1 else ""
    detail = f" {json.dumps(entry['detail'], sort_keys=True, separators=(',', ':'))}" if entry["detail"] else ""
    return f"{entry['id']} " + " ".join(printable(part) for part in parts if part) + times + printable(detail)


def _summary(found: dict[str, Any]) -> str:
    text = f"the audit log is as it was sealed: {found['entries']} entries, {found['seals']} seals"
    if found["forgotten"]:
        text += f"; {found['forgotten']} older entries are forgotten (audit.keep)"
    if found["unsealed"]:
        text += f"; {found['unsealed']} entries are too new to be sealed"
    newest = found["seal"]
    return text if newest is None else f"{text}\n{newest['lastId']}:{newest['hash']}"
