"""`stowage webhook`: who is told what happens, and whether they were."""

import json
import sys
from collections.abc import Callable
from typing import Annotated, Any, Literal

import typer

from registry.cli.client import Client, at
from registry.cli.options import JsonOption, examples, fail, parser_of
from registry.cli.rights import columns, printable
from registry.cli.where import WHERE, on_registry
from registry.setting_types import Duration

_LONGEST = 64 * 1024
_SECRETS = ("url", "secret", "bearer", "basic", "headers", "ca")

ProjectOption = Annotated[
    str,
    typer.Option(
        "--project", metavar="PROJECT", help="Of this project. [default: of the whole registry]", show_default=False
    ),
]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", show_default=False)]


def _several(name: str, metavar: str, help: str) -> Any:  # noqa: A002 - typer calls it so
    return typer.Option(name, metavar=metavar, help=f"{help} May be said again.", show_default=False)


def _seconds(name: str, help: str) -> Any:  # noqa: A002 - typer calls it so
    parser = parser_of(Duration, "a duration like 10s or 3d")
    return typer.Option(name, metavar="TIME", help=help, parser=parser, show_default=False)


def build() -> typer.Typer:
    """Return the commands below `webhook`."""
    one, server = "stowage webhook", "--server https://registry.example.org"
    app = typer.Typer(
        rich_markup_mode=None,
        help="Have others told what happens, and see whether they were.\n\n"
        f"Webhooks of the settings are listed too; the settings alone change them.\n\n{WHERE}",
        epilog=examples(f"{one} list", f"{one} deliveries ci --state given-up", f"{one} list {server}"),
    )
    added = f"{one} add ci https://ci.example.org/hook"
    commands: dict[str, tuple[Callable[..., None], tuple[str, ...]]] = {
        "add": (
            add,
            (
                f"{added} --event push --repository 'team/**'",
                f"{added} --project team --format cloudevents",
                f"{one} add chat - --format slack",
                f"{added} --secrets-stdin",
            ),
        ),
        "list": (list_webhooks, (f"{one} list", f"{one} list --project team --json", f"{one} list {server}")),
        "show": (show, (f"{one} show ci", f"{one} show ci --json {server}")),
        "remove": (remove, (f"{one} remove ci", f"{one} remove ci --project team")),
        "test": (test, (f"{one} test ci", f"{one} test ci --project team {server}")),
        "deliveries": (list_deliveries, (f"{one} deliveries ci", f"{one} deliveries ci --state waiting --json")),
        "replay": (replay, (f"{one} replay ci", f"{one} replay ci 3f2a9c81d0e4-1207")),
        "pause": (pause, (f"{one} pause ci",)),
        "resume": (resume, (f"{one} resume ci",)),
    }
    for name, (function, lines) in commands.items():
        app.command(name, epilog=examples(*lines))(on_registry(function))
    return app


def add(
    client: Client,
    name: NameArgument,
    url: Annotated[
        str, typer.Argument(metavar="URL", help="Where to; - reads it from standard input.", show_default=False)
    ],
    project: ProjectOption = "",
    format_: Annotated[
        Literal["distribution", "cloudevents", "slack"], typer.Option("--format", help="What it reads.")
    ] = "distribution",
    mode: Annotated[Literal["structured", "binary"], typer.Option("--mode", help="Of cloudevents.")] = "structured",
    event: Annotated[
        list[str] | None, _several("--event", "ACTION", "Only this. [default: all but pull, mount]")
    ] = None,
    repository: Annotated[list[str] | None, _several("--repository", "GLOB", "Only of repositories like this.")] = None,
    tag: Annotated[list[str] | None, _several("--tag", "GLOB", "Only of tags like this.")] = None,
    media_type: Annotated[list[str] | None, _several("--media-type", "GLOB", "Only of manifests like this.")] = None,
    blobs: Annotated[bool, typer.Option("--blobs", help="Tell of blobs too.")] = False,
    timeout: Annotated[int | None, _seconds("--timeout", "Longest wait for an answer. [default: 10s]")] = None,
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", metavar="N", help="Messages at a time. [default: 4]")
    ] = None,
    max_attempts: Annotated[
        int | None, typer.Option("--max-attempts", metavar="N", help="Tries of one event. [default: 20]")
    ] = None,
    give_up: Annotated[int | None, _seconds("--give-up", "How long an event is tried. [default: 3d]")] = None,
    unsigned: Annotated[bool, typer.Option("--unsigned", help="Do not sign messages.")] = False,
    secrets_stdin: Annotated[
        bool,
        typer.Option(
            "--secrets-stdin", help=f"Read a JSON object from standard input, with some of {', '.join(_SECRETS)}."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a webhook, and print the secret that its messages are signed with, which is not shown again.

    Where standard input has a secret that is used, and with --unsigned, nothing is printed but that it was made.
    """
    secrets = _secrets() if secrets_stdin else {}
    if url == "-":
        url = str(secrets.pop("url", "")) if secrets_stdin else sys.stdin.readline(_LONGEST).strip()
    if unsigned:
        secrets["secret"] = ""
    content = {
        "name": name,
        "url": url,
        "format": format_,
        "mode": mode,
        "events": event,
        "repositories": repository,
        "tags": tag,
        "mediaTypes": media_type,
        "blobs": blobs,
        "timeoutSeconds": timeout,
        "concurrency": concurrency,
        "maxAttempts": max_attempts,
        "giveUpSeconds": give_up,
        **secrets,
    }
    made = client.post(_path(project), content)
    if as_json:
        typer.echo(json.dumps(made))
    else:
        typer.echo(made["secret"] or f"webhook {name} was made")


def list_webhooks(client: Client, project: ProjectOption = "", as_json: JsonOption = False) -> None:
    """List webhooks, and how they fare."""
    found = list(client.every(_path(project)))
    if as_json:
        typer.echo(json.dumps(found))
        return
    rows = [
        (
            one["name"],
            _state(one),
            str(one["behind"]),
            str(one["waiting"]),
            str(one["givenUp"]),
            one["format"],
            one["address"],
        )
        for one in found
    ]
    typer.echo(columns(("WEBHOOK", "STATE", "BEHIND", "WAITING", "GIVEN UP", "FORMAT", "ADDRESS"), rows))


def show(client: Client, name: NameArgument, project: ProjectOption = "", as_json: JsonOption = False) -> None:
    """Show a webhook, and how it fares."""
    found = client.get(_path(project, name))
    if as_json:
        typer.echo(json.dumps(found))
        return
    for key, value in found.items():
        text = " ".join(value) if isinstance(value, list) else "-" if value in (None, "") else str(value)
        typer.echo(f"{key}: {printable(text)}")


def remove(client: Client, name: NameArgument, project: ProjectOption = "") -> None:
    """Remove a webhook, and what is known of its deliveries."""
    client.delete(_path(project, name))
    typer.echo(f"webhook {name} was removed")


def test(client: Client, name: NameArgument, project: ProjectOption = "", as_json: JsonOption = False) -> None:
    """Send a message that means nothing, and say what came of it."""
    found = client.post(_path(project, name, "test"), is_long=True)
    if as_json:
        typer.echo(json.dumps(found))
    elif found["delivered"]:
        typer.echo(f"webhook {name} answered {found['status']} after {found['tookMilliseconds']} ms")
    if not found["delivered"]:
        if not as_json:
            fail(f"webhook {name}: {printable(found['error'])}")
        raise typer.Exit(1)


def list_deliveries(
    client: Client,
    name: NameArgument,
    project: ProjectOption = "",
    state: Annotated[
        Literal["waiting", "delivered", "given-up"] | None,
        typer.Option("--state", help="Only those in this state.", show_default=False),
    ] = None,
    repository: Annotated[str, typer.Option("--repository", metavar="NAME", help="Only of this repository.")] = "",
    limit: Annotated[
        int, typer.Option("--limit", metavar="NUMBER", min=0, help="Most of them; 0 for all that there are.")
    ] = 100,
    as_json: JsonOption = False,
) -> None:
    """List what became of events at a webhook, the newest first. With --json, one JSON object a line."""
    query = {"state": state, "repository": repository or None}
    found = client.every(_path(project, name, "deliveries"), query, most=limit or None)
    if as_json:
        for one in found:
            typer.echo(json.dumps(one))
        return
    rows = [
        (
            one["id"],
            one["state"],
            str(one["attempts"]),
            one["action"],
            one["subject"],
            one["doneAt"] or one["dueAt"] or "-",
            one["error"] or "-",
        )
        for one in found
    ]
    typer.echo(columns(("EVENT", "STATE", "TRIES", "ACTION", "OF", "AT", "ERROR"), rows))


def replay(
    client: Client,
    name: NameArgument,
    event: Annotated[
        list[str] | None,
        typer.Argument(metavar="[EVENT]...", help="All that were given up, if none is named.", show_default=False),
    ] = None,
    project: ProjectOption = "",
) -> None:
    """Send events to a webhook again, and say how many."""
    found = client.post(_path(project, name, "replay"), {"deliveries": event or None})
    typer.echo(f"{found['replayed']} events are sent to webhook {name} again")


def pause(client: Client, name: NameArgument, project: ProjectOption = "") -> None:
    """Have a webhook told nothing until it is resumed; events are kept for it for as long as `events.keep` says."""
    client.patch(_path(project, name), {"paused": True})
    typer.echo(f"webhook {name} is paused")


def resume(client: Client, name: NameArgument, project: ProjectOption = "") -> None:
    """Have a webhook go on where it was."""
    client.patch(_path(project, name), {"paused": False})
    typer.echo(f"webhook {name} goes on")


def _path(project: str, *parts: str) -> str:
    return at(*(("projects", project) if project else ()), "webhooks", *parts)


def _secrets() -> dict[str, Any]:
    try:
        found = json.loads(sys.stdin.read(_LONGEST))
    except ValueError:
        found = None
    if not isinstance(found, dict) or not found.keys() <= set(_SECRETS):
        fail(f"expected a JSON object on standard input with some of {', '.join(_SECRETS)}")
    return found


def _state(one: dict[str, Any]) -> str:
    if one["pausedAt"] is not None:
        return "paused"
    return "failing" if one["waiting"] else "ok"
