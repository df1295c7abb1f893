"""The `stowage` command."""

import importlib
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from registry import __version__

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
