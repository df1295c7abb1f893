"""`stowage serve`: run the server."""

import logging
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any

import typer

from registry import __version__
from registry.cli.options import ConfigOption, DataOption, fail, settings_of
from registry.errors import Unavailable
from registry.http.cores import granted_cores
from registry.http.limits import Limits
from registry.http.server import CannotStart, Serving
from registry.http.sockets import CannotListen, bind
from registry.http.supervisor import CutOff, Supervisor
from registry.http.tls import tls_context
from registry.main import build_app, prepare
from registry.settings import Settings, SettingsError, load_settings, with_fixed
from storage.errors import StorageUnavailable

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

_logger = logging.getLogger("stowage.serve")


def serve(
    config: ConfigOption = None,
    data: DataOption = None,
    host: HostOption = None,
    port: PortOption = None,
    workers: WorkersOption = None,
    insecure_open: InsecureOption = False,
) -> None:
    """Run the registry.

    Without arguments: SQLite and blobs in ./data, on 127.0.0.1:5000, open to whoever is on this machine.
    SIGTERM ends it when all requests are answered, SIGHUP has it read its configuration again.

    Examples:
      stowage serve

      stowage serve --data /var/lib/stowage --port 8080

      stowage serve --config /etc/stowage.yaml
    """
    command_line = {"data": data, "http": {"host": host, "port": port, "workers": workers}}
    settings = settings_of(config, command_line)
    if exposed := _is_exposed(settings, insecure_open):
        fail(exposed)
    # One record, one line and one write: several processes write to the same place.
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s [%(process)d] %(name)s: %(message)s")
    for noisy in ("alembic", "uvicorn"):
        logging.getLogger(noisy).setLevel(logging.WARNING)

    def reload() -> Serving | None:
        return _reload(settings, config, command_line, insecure_open)

    count = settings.http.workers or granted_cores()
    try:
        with bind(settings.http.host, settings.http.port) as listeners:
            serving = _serving(settings)
            done = prepare(settings)
            if done.copy is not None:
                text = f"schema {done.before} became {done.after}; the database as it was is in {done.copy}"
                typer.echo(text, err=True)
            slots = listeners.listen(count)
            Supervisor(
                slots, serving, reload=reload, on_ready=lambda: _greet(settings, *listeners.address, count)
            ).run()
    except (CannotListen, CannotStart, CutOff, StorageUnavailable, Unavailable) as error:
        fail(str(error))


def _serving(settings: Settings) -> Serving:
    """Return what workers serve with these settings. Raises CannotListen if the certificate can't be used."""
    tls = settings.http.tls
    return Serving(
        make_app=lambda: build_app(settings),
        limits=Limits.of(settings.http.limits).within_descriptors(),
        tls=tls_context(tls.certificate, tls.key, tls.client_ca) if tls.certificate else None,
    )


def _reload(
    started: Settings, config: Path | None, command_line: Mapping[str, Any], insecure_open: bool
) -> Serving | None:
    """Read the configuration anew. Return what it asks for, or None if it can't be used, and say why in a line."""
    try:
        settings, ignored = with_fixed(load_settings(config, command_line), started)
        if exposed := _is_exposed(settings, insecure_open):
            raise SettingsError(exposed)
        serving = _serving(settings)
    except (CannotListen, SettingsError) as error:
        _logger.error("reload refused, everything goes on as before: %s", "; ".join(str(error).splitlines()))
        return None
    if ignored:
        _logger.warning("reload: %s can't change while the server runs: restart it for that", ", ".join(ignored))
    return serving


def _is_exposed(settings: Settings, insecure_open: bool) -> str:
    """Say what is wrong if everybody could reach an open registry, without being told that it may be so; else ""."""
    if insecure_open or _is_loopback(settings.http.host):
        return ""
    return (
        f"http.host is {settings.http.host} and auth.mode is open: everybody who reaches this machine could push "
        "and delete. Listen on 127.0.0.1, or say --insecure-open"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _greet(settings: Settings, host: str, port: int, workers: int) -> None:
    """Say where the server listens and how to push and pull."""
    encrypted = settings.http.tls.certificate is not None
    name = "127.0.0.1" if host in {"0.0.0.0", "::"} else host  # noqa: S104 - compared, not bound
    address = f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
    flag = "" if encrypted else " --tls-verify=false"
    lines = [
        f"Stowage {__version__} listening on {'https' if encrypted else 'http'}://{address}",
        f"database {settings.sqlite_path}, blobs {settings.filesystem_root}, auth {settings.auth.mode}, "
        f"workers {workers}",
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
