"""`stowage grant`, `stowage revoke`, `stowage grants`: who has which role where."""

import json
from typing import Annotated

import typer

from auth.grants import Grant
from auth.roles import BUILT_IN
from registry.cli.client import Client
from registry.cli.options import JsonOption, examples, fail
from registry.cli.rights import EVERYWHERE, RepositoriesOption, columns, path_in, pattern_in
from registry.cli.where import on_registry

_SERVER = "--server https://registry.example.org"
GRANT_EXAMPLES = examples(
    "stowage grant registry-editor user:alice team",
    "stowage grant registry-viewer group:developers team --repositories 'team/app/**'",
    "stowage grant registry-viewer system:authenticated tools",
    "stowage grant registry-auditor user:carol '*'",
    f"stowage grant registry-editor user:alice team {_SERVER}",
)
REVOKE_EXAMPLES = examples(
    "stowage revoke registry-editor user:alice team",
    "stowage revoke registry-viewer group:developers team --repositories 'team/app/**'",
    f"stowage revoke registry-editor user:alice team {_SERVER}",
)
GRANTS_EXAMPLES = examples(
    "stowage grants team",
    "stowage grants '*' --json",
    "stowage grants --subject user:alice",
    f"stowage grants team {_SERVER}",
)

RoleArgument = Annotated[
    str, typer.Argument(metavar="ROLE", help=f"{', '.join(BUILT_IN)}, or one that `stowage role list` shows.")
]
SubjectArgument = Annotated[
    str,
    typer.Argument(
        metavar="SUBJECT",
        help="user:NAME, group:NAME, serviceaccount:PROJECT/NAME, system:authenticated or system:anonymous.",
    ),
]
ProjectArgument = Annotated[
    str, typer.Argument(metavar="PROJECT", help=f"A project, or {EVERYWHERE} for the whole registry.")
]


@on_registry
def grant(
    client: Client,
    role: RoleArgument,
    subject: SubjectArgument,
    project: ProjectArgument,
    repositories: RepositoriesOption = "",
) -> None:
    """Give somebody a role in a project."""
    given = _grant(role, subject, project, repositories)
    content = {"role": role, "subject": subject, "repositories": pattern_in(project, repositories)}
    is_new, found = client.made(path_in(project, "grants"), content)
    if not found["subjectKnown"]:
        typer.echo(f"stowage: {subject} is not known here yet: the grant counts as soon as it is", err=True)
    typer.echo(f"granted: {given}" if is_new else f"granted already: {given}")


@on_registry
def revoke(
    client: Client,
    role: RoleArgument,
    subject: SubjectArgument,
    project: ProjectArgument,
    repositories: RepositoriesOption = "",
) -> None:
    """Take a role in a project from somebody."""
    given = _grant(role, subject, project, repositories)
    path = path_in(project, "grants")
    for one in client.every(path, {"subject": subject}):
        if (one["role"], one["repositories"] or "", one["project"] or "") == (role, repositories, given.project):
            client.delete(f"{path}/{one['id']}")
            typer.echo(f"revoked: {given}")
            return
    fail(f"there is no grant of {given}")


@on_registry
def grants(
    client: Client,
    project: Annotated[
        str | None, typer.Argument(metavar="[PROJECT]", help=f"A project, or {EVERYWHERE} for the whole registry.")
    ] = None,
    subject: Annotated[
        str | None,
        typer.Option("--subject", metavar="SUBJECT", help="All that name this subject.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the grants in a project, or to somebody."""
    if (project is None) == (subject is None):
        raise typer.TyperException("say either a project, or --subject")
    found = list(client.every("grants" if project is None else path_in(project, "grants"), {"subject": subject}))
    if as_json:
        typer.echo(json.dumps(found))
        return
    rows = [(one["role"], one["subject"], one["project"] or EVERYWHERE, one["repositories"] or "-") for one in found]
    typer.echo(columns(("ROLE", "SUBJECT", "PROJECT", "REPOSITORIES"), rows))


def _grant(role: str, subject: str, project: str, repositories: str) -> Grant:
    return Grant(role, subject, "" if project == EVERYWHERE else project, repositories)
