"""`stowage serve`: run the server."""

import logging
from ipaddress import ip_address
from typing import Annotated

import typer

from registry import __version__
from registry.cli.options import ConfigOption, DataOption, fail, settings_of
from registry.errors import Unavailable
from registry.http.server import CannotListen, CannotStart, run
from registry.main import build_app, prepare
from registry.settings import Settings
from storage.errors import StorageUnavailable

HostOption = Annotated[
    str | None,
    typer.Option("--host", metavar="H", help="Address to listen on. [default: 127.0.0.1]", show_default=False),
]
PortOption = Annotated[
    int | None,
    typer.Option("--port", metavar="P", help="Port; 0 takes a free one. [default: 5000]", show_default=False),
]
InsecureOption = Annotated[
    bool, typer.Option("--insecure-open", help="Listen beyond loopback although everybody may push and delete.")
]


def serve(
    config: ConfigOption = None,
    data: DataOption = None,
    host: HostOption = None,
    port: PortOption = None,
    insecure_open: InsecureOption = False,
) -> None:
    """Run the registry.

    Without arguments: SQLite and blobs in ./data, on 127.0.0.1:5000, open to whoever is on this machine.

    Examples:
      stowage serve

      stowage serve --data /var/lib/stowage --port 8080

      stowage serve --config /etc/stowage.yaml
    """
    settings = settings_of(config, {"data": data, "http": {"host": host, "port": port}})
    if not insecure_open and not _is_loopback(settings.http.host):
        fail(
            f"http.host is {settings.http.host} and auth.mode is open: everybody who reaches this machine could push "
            "and delete. Listen on 127.0.0.1, or say --insecure-open"
        )
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for noisy in ("alembic", "uvicorn"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        done = prepare(settings)
        if done.copy is not None:
            typer.echo(f"schema {done.before} became {done.after}; the database as it was is in {done.copy}", err=True)
        tls = settings.http.tls
        run(
            build_app(settings),
            host=settings.http.host,
            port=settings.http.port,
            on_listening=lambda address: _greet(settings, address[0], address[1]),
            certificate=tls.certificate,
            key=tls.key,
            client_ca=tls.client_ca,
        )
    except (CannotListen, CannotStart, StorageUnavailable, Unavailable) as error:
        fail(str(error))


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _greet(settings: Settings, host: str, port: int) -> None:
    """Say where the server listens and how to push and pull."""
    encrypted = settings.http.tls.certificate is not None
    name = "127.0.0.1" if host in {"0.0.0.0", "::"} else host  # noqa: S104 - compared, not bound
    address = f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
    flag = "" if encrypted else " --tls-verify=false"
    lines = [
        f"Stowage {__version__} listening on {'https' if encrypted else 'http'}://{address}",
        f"database {settings.sqlite_path}, blobs {settings.filesystem_root}, auth {settings.auth.mode}",
        "",
        "Push an image and pull it back:",
        f"  podman tag IMAGE {address}/demo/image:1",
        f"  podman push{flag} {address}/demo/image:1",
        f"  podman rmi {address}/demo/image:1",
        f"  podman pull{flag} {address}/demo/image:1",
    ]
    if not encrypted:
        lines.append("podman needs --tls-verify=false on plain HTTP; docker takes the same lines without it.")
    typer.echo("\n".join(lines), err=True)
