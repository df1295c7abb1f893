"""`stowage can-i`: may somebody do something, and why."""

import json
from typing import Annotated

import typer

from auth.roles import GRANTABLE
from registry.cli.client import Client
from registry.cli.options import JsonOption, examples
from registry.cli.rights import EVERYWHERE
from registry.cli.where import on_registry

EXAMPLES = examples(
    "stowage can-i push team/app --as user:alice",
    "stowage can-i push team/app:1.0 --as serviceaccount:team/builder",
    "stowage can-i pull team/app --as system:anonymous --json",
    "stowage can-i audit '*' --as user:carol",
    "stowage can-i push team/app --server https://registry.example.org",
)


@on_registry
def can_i(
    client: Client,
    action: Annotated[str, typer.Argument(metavar="ACTION", help=f"One of {', '.join(sorted(GRANTABLE))}.")],
    repository: Annotated[
        str, typer.Argument(metavar="REPO[:TAG]", help=f"Where, or {EVERYWHERE} for the whole registry.")
    ],
    subject: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="SUBJECT",
            help="Who: as in `stowage grant`. [default with --server: whoever asks]",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say whether somebody may do something, and which grant allows it, or what is missing.

    Exit status: 0 for yes, 1 for no.
    """
    if subject is None and client.is_here:
        raise typer.TyperException("say --as SUBJECT: here commands may do everything")
    name, colon, tag = repository.partition(":")
    where = {} if repository == EVERYWHERE else {"repository": name, "tag": tag if colon else None}
    found = client.get("can-i", {"action": action, **where, "subject": subject})
    if as_json:
        typer.echo(json.dumps(found))
    else:
        typer.echo(f"{'yes' if found['allowed'] else 'no'}: {found['reason']}")
        if found["roles"]:
            typer.echo(f"these roles would allow it: {', '.join(found['roles'])}")
        for note in found["notes"]:
            typer.echo(f"note: {note}")
    if not found["allowed"]:
        raise typer.Exit(1)
