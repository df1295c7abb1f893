"""`stowage project`: what repositories belong to, and who may do what there."""

import json
from typing import Annotated

import typer

from registry.cli.client import Client, at
from registry.cli.options import JsonOption, examples
from registry.cli.rights import columns
from registry.cli.where import WHERE, on_registry

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The project's name.")]


def build() -> typer.Typer:
    """Return the commands below `project`."""
    one, server = "stowage project", "--server https://registry.example.org"
    app = typer.Typer(
        rich_markup_mode=None,
        help="Make projects, and remove them.\n\n"
        "A project is the first part of a repository's name: team/app/web belongs to team. It is private unless that "
        "is said otherwise, and made with the service accounts builder, who pushes, default and deployer, who pull."
        f"\n\n{WHERE}",
        epilog=examples(f"{one} add team", f"{one} list", f"{one} list {server}"),
    )
    app.command(epilog=examples(f"{one} add team", f"{one} add tools --public", f"{one} add team {server}"))(
        on_registry(add)
    )
    app.command("list", epilog=examples(f"{one} list --json", f"{one} list {server}"))(on_registry(list_projects))
    app.command(epilog=examples(f"{one} show team", f"{one} show team {server}"))(on_registry(show))
    app.command(
        "set",
        epilog=examples(f"{one} set team --public", f"{one} set team --private", f"{one} set team --public {server}"),
    )(on_registry(set_project))
    app.command(epilog=examples(f"{one} remove team", f"{one} remove team {server}"))(on_registry(remove))
    return app


def add(
    client: Client,
    name: NameArgument,
    public: Annotated[bool, typer.Option("--public", help="Whoever reaches the registry may pull.")] = False,
) -> None:
    """Make a project."""
    client.post("projects", {"name": name, "public": public})
    typer.echo(f"project {name} was made")


def list_projects(client: Client, as_json: JsonOption = False) -> None:
    """List all projects."""
    found = list(client.every("projects"))
    if as_json:
        typer.echo(json.dumps(found))
        return
    rows = [(one["name"], _access(is_public=one["public"]), one["createdAt"]) for one in found]
    typer.echo(columns(("NAME", "ACCESS", "MADE"), rows))


def show(client: Client, name: NameArgument, as_json: JsonOption = False) -> None:
    """Show a project, and its service accounts."""
    project = client.get(at("projects", name))
    if as_json:
        typer.echo(json.dumps(project))
        return
    typer.echo(
        f"project: {project['name']}\n"
        f"access: {_access(is_public=project['public'])}\n"
        f"made: {project['createdAt']} by {project['createdBy']}\n"
        f"service accounts: {', '.join(project['serviceAccounts']) or '-'}"
    )


def set_project(
    client: Client,
    name: NameArgument,
    public: Annotated[bool, typer.Option("--public/--private", help="Whether whoever reaches the registry may pull.")],
) -> None:
    """Make a project public, or private again."""
    client.patch(at("projects", name), {"public": public})
    typer.echo(f"project {name} is {_access(is_public=public)}")


def remove(client: Client, name: NameArgument) -> None:
    """Remove a project that has no repositories, with its service accounts, their tokens, and all grants in it."""
    client.delete(at("projects", name))
    typer.echo(f"project {name} was removed")


def _access(*, is_public: bool) -> str:
    return "public" if is_public else "private"
