"""`stowage user`: people whose names and passwords the registry keeps."""

import json
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from auth.names import LONGEST_PASSWORD
from registry.cli.client import Client, at
from registry.cli.options import JsonOption, examples, fail
from registry.cli.rights import columns
from registry.cli.where import WHERE, on_registry

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The user's name.")]
StdinOption = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input instead of asking for it.")
]


def build() -> typer.Typer:
    """Return the commands below `user`."""
    app = typer.Typer(
        rich_markup_mode=None,
        help="Make users, change their passwords, and keep them out.\n\n"
        "A password is read from standard input, or asked for on a terminal: never an argument, which everybody on the "
        f"machine could read.\n\n{WHERE}",
        epilog=examples(
            "stowage user add alice --password-stdin",
            "stowage user list",
            "stowage user list --server https://registry.example.org",
        ),
    )
    commands: dict[str, tuple[Callable[..., None], tuple[str, ...]]] = {
        "add": (add, ("stowage user add alice --password-stdin", "stowage user add root --admin --password-stdin")),
        "passwd": (passwd, ("stowage user passwd alice --password-stdin --revoke-tokens",)),
        "disable": (disable, ("stowage user disable alice",)),
        "enable": (enable, ("stowage user enable alice",)),
        "admin": (admin, ("stowage user admin alice", "stowage user admin alice --off")),
        "remove": (remove, ("stowage user remove alice",)),
        "list": (list_users, ("stowage user list --json --data /var/lib/stowage",)),
        "show": (show, ("stowage user show alice",)),
    }
    for name, (function, lines) in commands.items():
        app.command(name, epilog=examples(*lines, f"{lines[0]} --server https://registry.example.org"))(
            on_registry(function)
        )
    return app


def add(
    client: Client,
    name: NameArgument,
    admin: Annotated[bool, typer.Option("--admin", help="A system admin, who may do everything.")] = False,
    password_stdin: StdinOption = False,
) -> None:
    """Make a user."""
    client.post("users", {"name": name, "password": _password(from_stdin=password_stdin), "admin": admin})
    typer.echo(f"user {name} was made")


def passwd(
    client: Client,
    name: NameArgument,
    password_stdin: StdinOption = False,
    revoke_tokens: Annotated[bool, typer.Option("--revoke-tokens", help="End the user's own tokens as well.")] = False,
) -> None:
    """Change a user's password. Sessions and logins with the old one end."""
    content = {"password": _password(from_stdin=password_stdin), "revokeTokens": revoke_tokens}
    client.put(at("users", name, "password"), content)
    typer.echo(f"the password of {name} was changed")


def disable(client: Client, name: NameArgument) -> None:
    """Let nobody in as this user, whatever they show."""
    was = client.get(at("users", name))["disabled"]
    client.patch(at("users", name), {"disabled": True})
    typer.echo(f"user {name} was disabled already" if was else f"user {name} is disabled")


def enable(client: Client, name: NameArgument) -> None:
    """Let a user in again."""
    was = client.get(at("users", name))["disabled"]
    client.patch(at("users", name), {"disabled": False})
    typer.echo(f"user {name} is enabled" if was else f"user {name} was enabled already")


def admin(
    client: Client, name: NameArgument, off: Annotated[bool, typer.Option("--off", help="No longer.")] = False
) -> None:
    """Make a user a system admin, who may do everything, or no longer."""
    client.patch(at("users", name), {"admin": not off})
    typer.echo(f"user {name} is no system admin" if off else f"user {name} is a system admin")


def remove(client: Client, name: NameArgument) -> None:
    """Remove a user with all tokens and grants."""
    client.delete(at("users", name))
    typer.echo(f"user {name} was removed")


def list_users(client: Client, as_json: JsonOption = False) -> None:
    """List all users."""
    found = list(client.every("users"))
    if as_json:
        typer.echo(json.dumps(found))
        return
    rows = [(one["name"], one["source"], _state(one), one["lastLoginAt"] or "-") for one in found]
    typer.echo(columns(("NAME", "SOURCE", "STATE", "LAST LOGIN"), rows))


def show(client: Client, name: NameArgument, as_json: JsonOption = False) -> None:
    """Show a user, and the groups that it is in."""
    user = client.get(at("users", name))
    if as_json:
        typer.echo(json.dumps(user))
        return
    typer.echo(
        f"user:{user['name']}\n"
        f"state: {_state(user)}\n"
        f"source: {user['source']}\n"
        f"made: {user['createdAt']}\n"
        f"password changed: {user['passwordChangedAt'] or '-'}\n"
        f"last login: {user['lastLoginAt'] or '-'}\n"
        f"groups: {', '.join(dict.fromkeys(one['name'] for one in user['groups'])) or '-'}"
    )


def _password(*, from_stdin: bool) -> str:
    if from_stdin:
        # One more than may be, and the end of the line, so that what is too long is found to be.
        text = sys.stdin.read(LONGEST_PASSWORD + 3)
        return text.removesuffix("\n").removesuffix("\r")
    if not sys.stdin.isatty():
        fail("say --password-stdin: nobody can be asked for a password here")
    password: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return password


def _state(user: dict[str, Any]) -> str:
    words = [*(["admin"] if user["admin"] else []), *(["disabled"] if user["disabled"] else [])]
    return ", ".join(words) or "-"
