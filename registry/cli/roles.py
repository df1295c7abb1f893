"""`stowage role`: sets of actions that grants give."""

import json
from typing import Annotated

import typer

from auth.roles import GRANTABLE
from registry.cli.client import Client, at
from registry.cli.options import JsonOption, examples
from registry.cli.rights import columns
from registry.cli.where import WHERE, on_registry

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The role's name.")]


def build() -> typer.Typer:
    """Return the commands below `role`."""
    one, server = "stowage role", "--server https://registry.example.org"
    app = typer.Typer(
        rich_markup_mode=None,
        help=f"Make roles beside those that are built in, and remove them.\n\n{WHERE}",
        epilog=examples(f"{one} add releaser pull push", f"{one} list", f"{one} list {server}"),
    )
    app.command(epilog=examples(f"{one} add releaser pull push", f"{one} add releaser pull push {server}"))(
        on_registry(add)
    )
    app.command("list", epilog=examples(f"{one} list --json", f"{one} list {server}"))(on_registry(list_roles))
    app.command(epilog=examples(f"{one} remove releaser", f"{one} remove releaser {server}"))(on_registry(remove))
    return app


def add(
    client: Client,
    name: NameArgument,
    actions: Annotated[list[str], typer.Argument(metavar="ACTION...", help=f"Some of {', '.join(sorted(GRANTABLE))}.")],
) -> None:
    """Make a role. Who has `push` but not `overwrite` makes tags, and moves none."""
    client.post("roles", {"name": name, "actions": actions})
    typer.echo(f"role {name} was made")


def list_roles(client: Client, as_json: JsonOption = False) -> None:
    """List all roles, and what each may do."""
    found = list(client.every("roles"))
    if as_json:
        typer.echo(json.dumps(found))
    else:
        typer.echo(columns(("NAME", "ACTIONS"), [(one["name"], " ".join(one["actions"])) for one in found]))


def remove(client: Client, name: NameArgument) -> None:
    """Remove a role that no grant gives any more."""
    client.delete(at("roles", name))
    typer.echo(f"role {name} was removed")
