"""Where a command works: on the database here, or on a server elsewhere. One implementation, two ways to `/api/v1`."""

import functools
import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec

import typer

from registry.cli.client import Client, Refused, Transport
from registry.cli.options import ConfigOption, DataOption, fail
from registry.cli.rights import printable
from registry.loading import uncollected
from registry.settings import CLIENT_LOGIN, CLIENT_SERVER, client_environment

P = ParamSpec("P")

_LONGEST_LOGIN = 8192

WHERE = (
    "Without --server it works on the database here, beside the server that may run on it, and may do everything. With "
    f"it, it asks that server as whoever {CLIENT_LOGIN} says (NAME:PASSWORD, or a token), or --login-stdin, or as whom "
    "podman or docker have logged in there."
)

ServerOption = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="URL",
        help=f"Ask this server, https://HOST, instead of the database here. [default: ${CLIENT_SERVER}]",
        show_default=False,
    ),
]
CaFileOption = Annotated[
    Path | None,
    typer.Option(
        "--ca-file",
        metavar="FILE",
        help="With --server: PEM file with whose certificates to trust. [default: the system's]",
        show_default=False,
    ),
]
LoginOption = Annotated[
    bool, typer.Option("--login-stdin", help="With --server: read NAME:PASSWORD, or a token, from standard input.")
]
InsecureHttpOption = Annotated[
    bool, typer.Option("--insecure-http", help="With --server: let others on the way read all, the login too.")
]


def _options(
    server: ServerOption = None,
    ca_file: CaFileOption = None,
    login_stdin: LoginOption = False,
    insecure_http: InsecureHttpOption = False,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Have the options that say where, which `on_registry` adds to those of commands."""


_OPTIONS = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in inspect.signature(_options).parameters.values()]


def on_registry(command: Callable[Concatenate[Client, P], None]) -> Callable[P, None]:
    """Return a command that works here or elsewhere: it gets a client, and the options that say where.

    What the API refuses ends it with what the API says.
    """
    own = inspect.signature(command)
    parameters = [*list(own.parameters.values())[1:], *_OPTIONS]

    @functools.wraps(command)
    def run(*arguments: P.args, **options: P.kwargs) -> None:
        given = {one.name: options.pop(one.name) for one in _OPTIONS}
        client = Client(_opening(**given))  # type: ignore[arg-type]  # they are `_options`'
        try:
            command(client, *arguments, **options)
        except Refused as refused:
            fail(printable(str(refused)))
        finally:
            client.close()

    run.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]  # what typer looks at
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run


def _opening(
    *,
    server: str | None,
    ca_file: Path | None,
    login_stdin: bool,
    insecure_http: bool,
    config: Path | None,
    data: Path | None,
) -> Callable[[], Transport]:
    """Return what opens the way to the API. What is said on the command line wins over the environment."""
    is_here = config is not None or data is not None
    if server is not None and is_here:
        raise typer.TyperException("--server is elsewhere, --config and --data are here: say one of them")
    if server is None and (is_here or not client_environment().server):
        if ca_file is not None or login_stdin or insecure_http:
            raise typer.TyperException("--ca-file, --login-stdin and --insecure-http go with --server")
        return functools.partial(_here, config, data)

    # At once: what the command itself reads comes after it.
    said = sys.stdin.readline(_LONGEST_LOGIN) if login_stdin else None

    def elsewhere() -> Transport:
        environment = client_environment()
        module = _imported("elsewhere")
        url = module.parse_server(server or environment.server, insecure=insecure_http)
        login = _imported("logins").login_for(url.netloc, environment, said)
        opened: Transport = module.Elsewhere(url, login, ca_file)
        return opened

    return elsewhere


def _here(config: Path | None, data: Path | None) -> Transport:
    settings = _imported("database").registry_settings(config, data)
    opened: Transport = _imported("here").Here(settings)
    return opened


def _imported(name: str) -> Any:
    """Import what only one of the two ways needs: a third of a second for a server, twice that for the database."""
    with uncollected():
        return importlib.import_module(f"registry.cli.{name}")
