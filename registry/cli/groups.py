"""`stowage group`: who is in which group."""

import json
from typing import Annotated

import typer

from registry.cli.client import Client, at
from registry.cli.options import JsonOption, examples
from registry.cli.rights import columns
from registry.cli.where import WHERE, on_registry

GroupArgument = Annotated[str, typer.Argument(metavar="GROUP", help="The group's name.")]
UserArgument = Annotated[str, typer.Argument(metavar="USER", help="The user's name.")]

_HERE = "local"
"""The source of who was put into a group here, or by the API."""


def build() -> typer.Typer:
    """Return the commands below `group`."""
    server = "--server https://registry.example.org"
    app = typer.Typer(
        rich_markup_mode=None,
        help="Put users into groups, and take them out.\n\n"
        "A group is there while somebody is in it. Directories and identity providers say at each login which groups "
        f"somebody is in; those that are said here stay beside them.\n\n{WHERE}",
        epilog=examples(
            "stowage group add developers alice", "stowage group list", f"stowage group list developers {server}"
        ),
    )
    add_line, remove_line = "stowage group add developers alice", "stowage group remove developers alice"
    app.command(epilog=examples(add_line, f"{add_line} {server}"))(on_registry(add))
    app.command(epilog=examples(remove_line, f"{remove_line} {server}"))(on_registry(remove))
    app.command(
        "list",
        epilog=examples("stowage group list", "stowage group list developers --json", f"stowage group list {server}"),
    )(on_registry(list_groups))
    return app


def add(client: Client, group: GroupArgument, user: UserArgument) -> None:
    """Put a user into a group."""
    was = {"name": group, "source": _HERE} in client.get(at("users", user))["groups"]
    client.put(_member(group, user))
    typer.echo(f"{user} was in {group} already" if was else f"{user} is in {group}")


def remove(client: Client, group: GroupArgument, user: UserArgument) -> None:
    """Take a user out of a group."""
    client.delete(_member(group, user))
    typer.echo(f"{user} is not in {group} any more")


def list_groups(
    client: Client,
    group: Annotated[str | None, typer.Argument(metavar="[GROUP]", help="Say who is in this one.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the groups that somebody is in, or who is in one."""
    found = list(client.every("groups" if group is None else f"{_group(group)}/members"))
    if as_json:
        typer.echo(json.dumps(found))
    elif group is None:
        typer.echo(columns(("GROUP", "MEMBERS"), [(one["name"], str(one["members"])) for one in found]))
    else:
        typer.echo(columns(("USER", "SOURCES"), [(one["user"], ", ".join(one["sources"])) for one in found]))


def _group(name: str) -> str:
    return f"groups/{at(name, slashes=True)}"


def _member(group: str, user: str) -> str:
    return f"{_group(group)}/members/{at(user)}"
