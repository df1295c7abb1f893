"""The `stowage` command."""

import importlib
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from registry import __version__
from registry.loading import uncollected

_EXAMPLES = """\b
Examples:
  stowage serve
  stowage check --data /var/lib/stowage
  stowage serve --help"""


class Command(NamedTuple):
    """Where a command is, and what the list of commands says of it.

    Attributes:
        help: the first sentence of the function's docstring, so that the list does without its module.
        module: below `registry.cli`.
        function: of the module; `build` returns a group of commands.
        examples: of the module: the end of the command's help.
    """

    help: str
    module: str
    function: str
    examples: str = "EXAMPLES"


COMMANDS = {
    "serve": Command("Run the registry.", "serve", "serve"),
    "check": Command("Say what is configured, and what is missing or wrong.", "check", "check"),
    "gc": Command("Give back the space of what nobody needs any more.", "gc", "gc"),
    "quota": Command("Limit what projects may hold, and say what they hold of it.", "quota", "build"),
    "audit": Command("Say who did what, and whether the audit log is as it was written.", "audit", "build"),
    "events": Command(
        "Say what happened: pushes, deletes, tags that moved. The newest events, in order, or all after one of them.",
        "events",
        "events",
    ),
    "du": Command(
        "Say what repositories hold: bytes of blobs, those that no other repository has, blobs, manifests and tags.",
        "du",
        "du",
    ),
    "scrub": Command(
        "Read blobs, compare them with their digests, and have nobody served what is damaged.", "scrub", "scrub"
    ),
    "fsck": Command(
        "Compare the database with itself and with the storage, both ways, and say what is wrong.", "fsck", "fsck"
    ),
    "backup": Command("Copy the database into the storage now, beside the running server.", "backup", "build"),
    "restore": Command("Put a copy of the database in the place of the database.", "restore", "restore"),
    "user": Command("Make users, change their passwords, and keep them out.", "users", "build"),
    "group": Command("Put users into groups, and take them out.", "groups", "build"),
    "project": Command("Make projects, and remove them.", "projects", "build"),
    "grant": Command("Give somebody a role in a project.", "granting", "grant", "GRANT_EXAMPLES"),
    "revoke": Command("Take a role in a project from somebody.", "granting", "revoke", "REVOKE_EXAMPLES"),
    "grants": Command("List the grants in a project, or to somebody.", "granting", "grants", "GRANTS_EXAMPLES"),
    "role": Command("Make roles beside those that are built in, and remove them.", "roles", "build"),
    "rule": Command("Take actions on tags away, from everybody but some.", "rules", "build"),
    "lock": Command(
        "Lock a manifest: nobody deletes it, and nothing collects it or what it consists of.",
        "locks",
        "lock",
        "LOCK_EXAMPLES",
    ),
    "unlock": Command("Unlock a manifest.", "locks", "unlock", "UNLOCK_EXAMPLES"),
    "locks": Command("List the locked manifests of a repository.", "locks", "locks", "LOCKS_EXAMPLES"),
    "retention": Command("Say by rules which tags stay, and remove the others.", "retention", "build"),
    "serviceaccount": Command("Make service accounts and their tokens.", "service_accounts", "build"),
    "token": Command("Make tokens of people and service accounts, list and end them.", "tokens", "build"),
    "pull-secret": Command(
        "Print a pull secret of a service account, with a new token of its own.", "pull_secret", "pull_secret"
    ),
    "can-i": Command(
        "Say whether somebody may do something, and which grant allows it, or what is missing.", "can_i", "can_i"
    ),
    "webhook": Command("Have others told what happens, and see whether they were.", "webhooks", "build"),
    "history": Command("Say what tags were, when, and who made them so, the newest first.", "history", "history"),
    "rollback": Command(
        "Have tags name what they named at a moment; make those that were there, and remove those that were not.",
        "undo",
        "rollback",
        "ROLLBACK_EXAMPLES",
    ),
    "undelete": Command(
        "Have a manifest that was deleted be there again, with its blobs and children, and with the tags that it had.",
        "undo",
        "undelete",
        "UNDELETE_EXAMPLES",
    ),
    "purge": Command(
        "Remove a manifest or a blob for good, before its time: for a secret that leaked.",
        "undo",
        "purge",
        "PURGE_EXAMPLES",
    ),
    "maintenance": Command("Make the registry read-only, and writable again.", "maintenance", "build"),
    "migrate": Command("Bring the database to the schema of this version.", "migrate", "migrate"),
    "import": Command(
        "Take over the storage of CNCF distribution (`registry:2`, `registry:3`, docker-registry).",
        "takeover",
        "take_over",
    ),
    "export": Command(
        "Export repositories, tags or digests as one OCI image layout.", "moving", "export", "EXPORT_EXAMPLES"
    ),
    "load": Command(
        "Load an OCI image layout: a folder or a tar archive, as `stowage export`, skopeo, podman, docker, "
        "buildx make it.",
        "moving",
        "load",
        "LOAD_EXAMPLES",
    ),
}
"""Every command, in the order in which help lists them."""


def command(name: str) -> Any:
    """Import a command's module and return the command.

    The one place that does, and only for the command that was called: what one needs takes the others time, and
    `stowage --help` and completion need none of it.
    """
    known = COMMANDS[name]
    with uncollected():
        module = importlib.import_module(f"registry.cli.{known.module}")
    function = getattr(module, known.function)
    if known.function == "build":
        group = typer.main.get_command(function())
        group.name = name
        return group
    alone = _new()
    alone.command(name, epilog=getattr(module, known.examples))(function)
    return typer.main.get_command(alone)


class _Commands(TyperGroup):
    """Lists commands by what the table says of them, and imports the one that is called."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, known in COMMANDS.items():
            self.add_command(TyperCommand(name, help=known.help, rich_markup_mode=None))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, known, rest = super().resolve_command(ctx, args)
        return name, command(name) if known is not None and name else known, rest


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"stowage {__version__}")
        raise typer.Exit


def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Stowage: an OCI Distribution registry server.

    Exit status: 0 when done, 1 when a command failed, 2 when it was called wrongly.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(2)


def build() -> typer.Typer:
    """Return the command line."""
    app = _new(cls=_Commands)
    app.callback(invoke_without_command=True, epilog=_EXAMPLES)(_options)
    return app


def _new(**options: Any) -> typer.Typer:
    # Plain help: it can be searched, piped and copied, and costs a tenth of what the boxes of rich do.
    return typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, **options)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, that of this process unless `arguments` are given, and exit."""
    try:
        status = build()(arguments, prog_name="stowage", standalone_mode=False)
    except typer.TyperException as error:
        about = getattr(error, "ctx", None)
        command = about.command_path if about else "stowage"
        typer.echo(f"stowage: {_sentence(error)} (see `{command} --help`)", err=True)
        sys.exit(2)
    except typer.Abort:
        sys.exit(1)
    sys.exit(status)


def _sentence(error: typer.TyperException) -> str:
    text = " ".join(error.format_message().split()).rstrip(".")
    return text[:1].lower() + text[1:]


if __name__ == "__main__":
    main()
