"""`stowage events`: what happened, and what happens."""

import json
import time
from typing import Annotated, Any

import typer

from registry.cli.client import Client
from registry.cli.options import JsonOption, examples
from registry.cli.rights import printable
from registry.cli.where import on_registry
from registry.event import ACTIONS

_MOST = 1000
_PAUSE_S = 0.5

EXAMPLES = examples(
    "stowage events",
    "stowage events --after oldest --action delete --action untag",
    "stowage events --follow --repository 'team/**' --json",
    "stowage events --after 2a0879fa6910-41 --server https://registry.example.org",
)


def _action(text: str) -> str:
    if text not in ACTIONS:
        raise typer.BadParameter(f"expected one of {', '.join(ACTIONS)}")
    return text


@on_registry
def events(
    client: Client,
    after: Annotated[
        str | None,
        typer.Option(
            "--after",
            metavar="CURSOR",
            help="All that came after this event, by its id; `oldest` for all that is kept, `newest` for none.",
            show_default=False,
        ),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on, with what happens from now on.")] = False,
    repository: Annotated[
        str,
        typer.Option(
            "--repository",
            metavar="PATTERN",
            help="Only in repositories like this: * and ? within a component, ** across them.",
            show_default=False,
        ),
    ] = "",
    action: Annotated[
        list[str] | None,
        typer.Option(
            "--action",
            metavar="ACTION",
            parser=_action,
            help=f"Only this: {', '.join(ACTIONS)}. May be given several times.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", metavar="NUMBER", min=1, max=_MOST, help="Without --after: most events.")
    ] = 100,
    as_json: JsonOption = False,
) -> None:
    """Say what happened: pushes, deletes, tags that moved. The newest events, in order, or all after one of them.

    An id is the cursor of an event. With --json, one JSON object a line.
    """
    query = {"repository": repository or None, "action": action or []}
    if after is None:
        after = _show(client, {**query, "limit": str(limit)}, as_json=as_json)["cursor"]
    else:
        after = _rest(client, query, after, as_json=as_json)
    while follow:
        time.sleep(_PAUSE_S)
        after = _rest(client, query, after, as_json=as_json)


def _rest(client: Client, query: dict[str, Any], after: str, *, as_json: bool) -> str:
    """Show all there is after a cursor, and return where to go on."""
    while True:
        page = _show(client, {**query, "after": after, "limit": str(_MOST)}, as_json=as_json)
        after = page["cursor"]
        if page["next"] is None:
            return after


def _show(client: Client, query: dict[str, Any], *, as_json: bool) -> Any:
    page = client.get("events", query)
    for one in page["items"]:
        typer.echo(json.dumps(one) if as_json else _told(one))
    return page


def _told(one: dict[str, Any]) -> str:
    """Return an event as a line."""
    what = f"{one['repository']}:{one['tag']}" if one["tag"] else one["repository"]
    parts = [one["id"], f"{one['time'].partition('.')[0]}Z", one["action"], what, one["digest"] or "", one["actor"]]
    more = []
    if one["previous"]:
        more.append(f"was {one['previous']}")
    if one["source"]:
        more.append(f"from {one['source']}")
    if one["quota"]:
        more.append(f"{one['quota']['percent']} % of {one['quota']['limit']} {one['quota']['what']}")
    more += [one[name] for name in ("fault", "cause") if one[name]]
    line = " ".join(part for part in parts if part)
    return printable(f"{line} ({', '.join(more)})" if more else line)
