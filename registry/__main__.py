"""The `stowage` command."""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from registry import __version__
from registry.cli import check, du, fsck, gc, maintenance, migrate, moving, scrub, serve, takeover
from registry.cli.options import examples

_EXAMPLES = examples(
    "stowage serve",
    "stowage check --data /var/lib/stowage",
    "stowage serve --help",
)


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
    # Plain help: it can be searched, piped and copied, and costs a tenth of what the boxes of rich do.
    app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
    app.callback(invoke_without_command=True, epilog=_EXAMPLES)(_options)
    app.command(epilog=serve.EXAMPLES)(serve.serve)
    app.command(epilog=check.EXAMPLES)(check.check)
    app.command(epilog=gc.EXAMPLES)(gc.gc)
    app.command(epilog=du.EXAMPLES)(du.du)
    app.command(epilog=scrub.EXAMPLES)(scrub.scrub)
    app.command(epilog=fsck.EXAMPLES)(fsck.fsck)
    app.add_typer(maintenance.build(), name="maintenance")
    app.command(epilog=migrate.EXAMPLES)(migrate.migrate)
    app.command("import", epilog=takeover.EXAMPLES)(takeover.take_over)
    app.command(epilog=moving.EXPORT_EXAMPLES)(moving.export)
    app.command(epilog=moving.LOAD_EXAMPLES)(moving.load)
    return app


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
