"""What commands share: the options that find the configuration, and how a command fails."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from registry.settings import Settings, SettingsError, load_settings

ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="YAML file with settings.", show_default=False)
]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Folder of database and blobs. [default: ./data]", show_default=False),
]


def settings_of(config: Path | None, command_line: Mapping[str, Any]) -> Settings:
    """Return the settings, or end the command with a line for each thing that is wrong with them."""
    try:
        return load_settings(config, command_line)
    except SettingsError as error:
        fail(str(error))


def fail(message: str) -> NoReturn:
    """End the command: the message on stderr, status 1."""
    for line in message.splitlines():
        typer.echo(f"stowage: {line}", err=True)
    raise typer.Exit(1)
