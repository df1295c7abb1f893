"""`stowage serviceaccount`: who pushes and pulls for a project, with tokens instead of a password."""

import json
from typing import Annotated

import typer

from registry.cli.client import Client, at
from registry.cli.options import JsonOption, examples
from registry.cli.rights import ExpiresOption, LabelOption, ScopeOption, columns
from registry.cli.where import WHERE, on_registry

ProjectArgument = Annotated[str, typer.Argument(metavar="PROJECT", help="The project's name.")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The service account's name.")]


def build() -> typer.Typer:
    """Return the commands below `serviceaccount`."""
    one, server = "stowage serviceaccount", "--server https://registry.example.org"
    app = typer.Typer(
        rich_markup_mode=None,
        help="Make service accounts and their tokens.\n\n"
        "A service account belongs to a project, not to a person. It has any number of tokens, so that a new one is "
        f"in use before an old one ends. A token is the password, with any user name.\n\n{WHERE}",
        epilog=examples(f"{one} token team builder", f"{one} list team", f"{one} token team builder {server}"),
    )
    add_line = f"{one} add team scanner --role registry-viewer"
    app.command(epilog=examples(add_line, f"{add_line} {server}"))(on_registry(add))
    app.command(
        epilog=examples(
            f"{one} token team builder",
            f"{one} token team builder --expires 90d --name ci",
            f"{one} token team builder {server}",
        )
    )(on_registry(token))
    app.command("list", epilog=examples(f"{one} list team --json", f"{one} list team {server}"))(
        on_registry(list_accounts)
    )
    for name, function in {"disable": disable, "enable": enable, "remove": remove}.items():
        line = f"{one} {name} team scanner"
        app.command(name, epilog=examples(line, f"{line} {server}"))(on_registry(function))
    return app


def add(
    client: Client,
    project: ProjectArgument,
    name: NameArgument,
    role: Annotated[
        str | None, typer.Option("--role", metavar="ROLE", help="Give it this role in the project.", show_default=False)
    ] = None,
) -> None:
    """Make a service account."""
    client.post(_accounts(project), {"name": name, "role": role})
    typer.echo(f"serviceaccount:{project}/{name} was made")


def token(
    client: Client,
    project: ProjectArgument,
    name: NameArgument,
    expires: ExpiresOption = None,
    label: LabelOption = "",
    scope: ScopeOption = None,
) -> None:
    """Make a token of a service account, and print it alone: it can't be shown again."""
    content = {"name": label, "expiresInSeconds": expires, "scope": scope}
    typer.echo(client.post(f"{_account(project, name)}/tokens", content)["secret"])


def list_accounts(client: Client, project: ProjectArgument, as_json: JsonOption = False) -> None:
    """List a project's service accounts."""
    found = list(client.every(_accounts(project)))
    if as_json:
        typer.echo(json.dumps(found))
        return
    rows = [(one["name"], "disabled" if one["disabled"] else "-", one["createdAt"]) for one in found]
    typer.echo(columns(("NAME", "STATE", "MADE"), rows))


def disable(client: Client, project: ProjectArgument, name: NameArgument) -> None:
    """Let the tokens of a service account in nowhere."""
    was = client.get(_account(project, name))["disabled"]
    client.patch(_account(project, name), {"disabled": True})
    typer.echo(f"serviceaccount:{project}/{name} {'was disabled already' if was else 'is disabled'}")


def enable(client: Client, project: ProjectArgument, name: NameArgument) -> None:
    """Let the tokens of a service account in again."""
    was = client.get(_account(project, name))["disabled"]
    client.patch(_account(project, name), {"disabled": False})
    typer.echo(f"serviceaccount:{project}/{name} {'is enabled' if was else 'was enabled already'}")


def remove(client: Client, project: ProjectArgument, name: NameArgument) -> None:
    """Remove a service account with its tokens and grants."""
    client.delete(_account(project, name))
    typer.echo(f"serviceaccount:{project}/{name} was removed")


def _accounts(project: str) -> str:
    return at("projects", project, "service-accounts")


def _account(project: str, name: str) -> str:
    return at("projects", project, "service-accounts", name)
