"""What commands share: the options that find the configuration, how help shows examples, and how a command fails."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from pydantic import TypeAdapter, ValidationError

from registry.settings import Settings, SettingsError, load_settings

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", help="YAML file with settings. [default: $STOWAGE_CONFIG]", show_default=False
    ),
]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Folder of database and blobs. [default: ./data]", show_default=False),
]
HostOption = Annotated[
    str | None,
    typer.Option("--host", metavar="H", help="Address to listen on. [default: 127.0.0.1]", show_default=False),
]
PortOption = Annotated[
    int | None,
    typer.Option("--port", metavar="P", help="Port; 0 takes a free one. [default: 5000]", show_default=False),
]
WorkersOption = Annotated[
    int | None,
    typer.Option("--workers", metavar="N", help="Processes. [default: one a CPU core granted]", show_default=False),
]
InsecureOption = Annotated[
    bool, typer.Option("--insecure-open", help="Listen beyond loopback although everybody may push and delete.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def examples(*lines: str) -> str:
    """Return the end of a command's help: one example a line, each of which can be run as it stands."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def parser_of(kind: Any, expected: str) -> Callable[[str], int]:
    """Return what reads an option's value as a setting of that type is read.

    Args:
        kind: one of `registry.setting_types`.
        expected: what to say to somebody who writes something else.
    """

    def parse(text: str) -> int:
        try:
            return TypeAdapter[int](kind).validate_python(text)
        except ValidationError:
            raise typer.BadParameter(f"expected {expected}") from None

    return parse


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
