"""`stowage rule`: what nobody may do to some tags, whatever they were granted."""

import json
from typing import Annotated

import typer

from registry.cli.client import Client
from registry.cli.granting import ProjectArgument
from registry.cli.options import JsonOption, examples, fail
from registry.cli.rights import RepositoriesOption, columns, path_in
from registry.cli.where import WHERE, on_registry


def build() -> typer.Typer:
    """Return the commands below `rule`."""
    one, server = "stowage rule", "--server https://registry.example.org"
    add_line = f"{one} add team 'v*' --immutable"
    app = typer.Typer(
        rich_markup_mode=None,
        help="Take actions on tags away, from everybody but some.\n\n"
        f"A rule wins over every grant, and over being a system admin.\n\n{WHERE}",
        epilog=examples(add_line, f"{one} list team", f"{one} list team {server}"),
    )
    app.command(
        epilog=examples(
            add_line,
            f"{one} add team '*' --deny push --except serviceaccount:team/builder --repositories 'team/prod/**'",
            f"{add_line} {server}",
        )
    )(on_registry(add))
    app.command("list", epilog=examples(f"{one} list team --json", f"{one} list team {server}"))(
        on_registry(list_rules)
    )
    app.command(epilog=examples(f"{one} remove team 1", f"{one} remove team 1 {server}"))(on_registry(remove))
    return app


def add(
    client: Client,
    project: ProjectArgument,
    tag: Annotated[str, typer.Argument(metavar="TAG", help="Tags like this: * and ? stand for any.")],
    deny: Annotated[
        list[str] | None, typer.Option("--deny", metavar="ACTION", help="delete, overwrite, push; may be said again.")
    ] = None,
    immutable: Annotated[
        bool,
        typer.Option("--immutable", help="Tags that are there stay as they are: deny delete and overwrite to all."),
    ] = False,
    excepted: Annotated[
        list[str] | None,
        typer.Option("--except", metavar="SUBJECT", help="Who may all the same; may be said again."),
    ] = None,
    repositories: RepositoriesOption = "",
) -> None:
    """Make a rule, and print its number."""
    if immutable and excepted:
        fail("--immutable is for everybody: say --deny overwrite --deny delete with --except")
    denied = sorted({*(deny or []), *(("delete", "overwrite") if immutable else ())})
    if not denied:
        fail("say what the rule denies: --deny ACTION, or --immutable")
    content = {"tag": tag, "deny": denied, "except": excepted or [], "repositories": repositories or None}
    typer.echo(client.post(path_in(project, "rules"), content)["id"])


def list_rules(client: Client, project: ProjectArgument, as_json: JsonOption = False) -> None:
    """List the rules in a project."""
    found = list(client.every(path_in(project, "rules")))
    if as_json:
        typer.echo(json.dumps(found))
        return
    rows = [
        (str(one["id"]), one["tag"], " ".join(one["deny"]), one["repositories"] or "-", " ".join(one["except"]))
        for one in found
    ]
    typer.echo(columns(("RULE", "TAG", "DENIES", "REPOSITORIES", "EXCEPT"), rows))


def remove(
    client: Client,
    project: ProjectArgument,
    rule: Annotated[int, typer.Argument(metavar="RULE", min=1, help="Its number, as `stowage rule list` shows it.")],
) -> None:
    """Remove a rule."""
    client.delete(f"{path_in(project, 'rules')}/{rule}")
    typer.echo(f"rule {rule} was removed")
