"""`stowage token`: what people and service accounts show instead of a password."""

import json
from typing import Annotated, Any

import typer

from registry.cli.client import Client, at
from registry.cli.options import JsonOption, examples, fail
from registry.cli.rights import ExpiresOption, LabelOption, ScopeOption, columns
from registry.cli.where import WHERE, on_registry

OwnerArgument = Annotated[
    str, typer.Argument(metavar="SUBJECT", help="Whose: user:NAME or serviceaccount:PROJECT/NAME.")
]


def build() -> typer.Typer:
    """Return the commands below `token`."""
    one, server = "stowage token", "--server https://registry.example.org"
    app = typer.Typer(
        rich_markup_mode=None,
        help="Make tokens of people and service accounts, list and end them.\n\n"
        f"On a server everybody may make tokens of their own.\n\n{WHERE}",
        epilog=examples(
            f"{one} create user:alice --expires 90d",
            f"{one} list user:alice",
            f"{one} create user:alice --name laptop {server}",
        ),
    )
    app.command(
        epilog=examples(
            f"{one} create user:alice --expires 90d --name laptop",
            f"{one} create user:alice --scope repository:team/app:pull",
            f"{one} create user:alice {server}",
        )
    )(on_registry(create))
    app.command(
        "list", epilog=examples(f"{one} list serviceaccount:team/builder --json", f"{one} list user:alice {server}")
    )(on_registry(list_tokens))
    app.command(epilog=examples(f"{one} revoke 12", f"{one} revoke --all", f"{one} revoke 12 {server}"))(
        on_registry(revoke)
    )
    return app


def create(
    client: Client,
    subject: OwnerArgument,
    expires: ExpiresOption = None,
    label: LabelOption = "",
    scope: ScopeOption = None,
) -> None:
    """Make a token, and print it alone: it can't be shown again. It is the password, with any user name."""
    content = {"name": label, "expiresInSeconds": expires, "scope": scope}
    typer.echo(client.post(_tokens_of(subject), content)["secret"])


def list_tokens(client: Client, subject: OwnerArgument, as_json: JsonOption = False) -> None:
    """List somebody's tokens, those that have ended too."""
    found = list(client.every(_tokens_of(subject)))
    if as_json:
        typer.echo(json.dumps(found))
        return
    rows = [
        (
            str(one["id"]),
            f"{one['begins']}...",
            one["kind"],
            _state(one),
            one["expiresAt"] or "-",
            one["lastUsedAt"] or "-",
            one["name"] or "-",
        )
        for one in found
    ]
    typer.echo(columns(("TOKEN", "BEGINS", "KIND", "STATE", "EXPIRES", "LAST USED", "NAME"), rows))


def revoke(
    client: Client,
    token: Annotated[
        int | None, typer.Argument(metavar="[TOKEN]", min=1, help="Its number, as `stowage token list` shows it.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All of everybody's, that of this command too.")] = False,
) -> None:
    """End a token, and the logins that were made with it. Every server obeys within two seconds."""
    if (token is None) != every:
        raise typer.TyperException("say either a token, or --all")
    if token is None:
        typer.echo(f"{client.delete('tokens')['revoked']} tokens were revoked")
        return
    was = client.get(f"tokens/{token}")["revokedAt"] is not None
    client.delete(f"tokens/{token}")
    typer.echo(f"token {token} was revoked already" if was else f"token {token} was revoked")


def _tokens_of(subject: str) -> str:
    kind, _, name = subject.partition(":")
    if kind == "user":
        return at("users", name, "tokens")
    if kind == "serviceaccount":
        project, _, account = name.partition("/")
        return at("projects", project, "service-accounts", account, "tokens")
    fail(f"{subject} has no tokens: expected user:NAME or serviceaccount:PROJECT/NAME")


def _state(one: dict[str, Any]) -> str:
    if one["revokedAt"] is not None:
        return "revoked"
    return "-" if one["counts"] else "expired"
