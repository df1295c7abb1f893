"""The `stowage` command."""

from typing import Annotated

import typer

from registry import __version__
from registry.cli.migrate import migrate
from registry.cli.serve import serve


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"stowage {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Stowage: an OCI Distribution registry server."""


def main() -> None:
    """Run the command line."""
    app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, callback=_options)
    app.command()(serve)
    app.command()(migrate)
    app()


if __name__ == "__main__":
    main()
