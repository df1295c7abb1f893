"""`stowage serve`: run the server."""

import logging
import secrets
import shlex
import sys
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import typer

from registry import __version__, drivers, logs
from registry.cli.copying import shown_copying
from registry.cli.options import (
    ConfigOption,
    DataOption,
    HostOption,
    InsecureOption,
    PortOption,
    WorkersOption,
    examples,
    fail,
    settings_of,
)
from registry.db.migrate import REVISION, Migrated
from registry.db.place import place_of
from registry.errors import Unavailable
from registry.http.cores import granted_cores
from registry.http.limits import Limits
from registry.http.server import CannotStart, Serving
from registry.http.sockets import CannotListen, bind
from registry.http.supervisor import CutOff, Supervisor
from registry.http.tls import ServerTls
from registry.main import build_app, described_identities, new_board, prepare, prepare_identities
from registry.metrics.board import Board
from registry.metrics.figures import Figures
from registry.services.first_admin import NAME as ADMIN
from registry.settings import Settings, SettingsError, admin_password, load_settings, with_fixed
from storage.errors import StorageUnavailable

EXAMPLES = examples(
    "stowage serve",
    "stowage serve --data /var/lib/stowage --port 8080",
    "stowage serve --config /etc/stowage/stowage.yaml",
    "stowage serve --host 0.0.0.0 --insecure-open",
)

_NO_USERS = "STOWAGE_ADMIN_PASSWORD protects nothing: nobody logs in, while auth.mode is open"

_YEAR_S = 365 * 86400

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

    SIGTERM ends it when all requests are answered, SIGHUP has it read its configuration again. It ends with status 1
    if it can't start, or had to cut requests off.
    """
    command_line = {"data": data, "http": {"host": host, "port": port, "workers": workers}}
    settings = settings_of(config, command_line)
    if exposed := exposure(settings, insecure_open):
        fail(exposed)
    instance = secrets.token_hex(6)
    logs.configure(settings.logs, instance)
    if admin_password() and settings.auth.mode == "open":
        _logger.warning("%s", _NO_USERS)

    count = settings.http.workers or granted_cores()
    try:
        with ExitStack() as opened:
            listeners = opened.enter_context(bind(settings.http.host, settings.http.port))
            own = settings.operations
            for_operators = None if own.port is None else opened.enter_context(bind(own.host, own.port))
            run = _Run(instance, new_board(), frozenset() if for_operators is None else for_operators.addresses)
            serving = _serving(settings, run)
            done = _prepare(settings)
            prepare_identities(settings)
            _tell_what_starts(settings, instance, done, count)
            slots = listeners.listen(count)
            if for_operators is not None:
                slots = [[*one, *other] for one, other in zip(slots, for_operators.listen(count), strict=True)]
            Supervisor(
                slots,
                serving,
                reload=lambda: _reload(settings, config, command_line, insecure_open, run),
                on_ready=lambda: _tell_where(settings, _same_data(config, data), *listeners.address),
                board=run.board,
            ).run()
    except (CannotListen, CannotStart, CutOff, StorageUnavailable, Unavailable) as error:
        fail(str(error))


@dataclass(frozen=True, slots=True)
class _Run:
    """What stays the same for as long as the server runs: its id, where workers count, the operators' addresses."""

    instance: str
    board: Board
    operations: frozenset[tuple[str, int]]


def _prepare(settings: Settings) -> Migrated:
    """Make database and storage ready. What takes long is told before. Raises Unavailable, StorageUnavailable."""
    place = place_of(settings)
    with suppress(Unavailable):  # `prepare` has more ways to open it, and says what is wrong
        found = place.inspect()
        if found.is_older:
            first = "; first a copy of it is put aside, which may take a while" if place.file else ""
            _logger.info("the schema of the database, %s, becomes %s%s", found.revision, REVISION, first)
    with shown_copying(place.file, sys.stderr):
        done = prepare(settings)
    if done.copy is not None:
        _logger.info("schema %s became %s; the database as it was is in %s", done.before, done.after, done.copy)
    if done.after > REVISION:
        _logger.warning("a newer version made the schema, %s; this one, of %s, works with it", done.after, REVISION)
    return done


def _serving(settings: Settings, run: _Run) -> Serving:
    """Return what workers serve with these settings. Raises CannotListen if the certificate can't be used."""
    tls = settings.http.tls
    return Serving(
        make_app=lambda region: build_app(settings, run.instance, Figures(run.board, region)),
        limits=Limits.of(settings.http.limits).within_descriptors(),
        tls=ServerTls(tls.certificate, tls.key, tls.client_ca) if tls.certificate else None,
        operations=run.operations,
        headers=_headers(settings),
    )


def _headers(settings: Settings) -> tuple[tuple[str, str], ...]:
    """Return what browsers are told with every answer: take nothing for what it is not said to be, and keep to TLS."""
    headers = [("x-content-type-options", "nosniff")]
    if (settings.http.public_url or "").startswith("https://"):
        headers.append(("strict-transport-security", f"max-age={_YEAR_S}"))
    return tuple(headers)


def _reload(
    started: Settings, config: Path | None, command_line: Mapping[str, Any], insecure_open: bool, run: _Run
) -> Serving | None:
    """Read the configuration anew. Return what it asks for, or None if it can't be used, and say why in a line."""
    try:
        settings, ignored = with_fixed(load_settings(config, command_line), started)
        if exposed := exposure(settings, insecure_open):
            raise SettingsError(exposed)
        prepare_identities(settings)
        serving = _serving(settings, run)
    except (CannotListen, SettingsError, Unavailable) as error:
        _logger.error("reload refused, everything goes on as before: %s", "; ".join(str(error).splitlines()))
        return None
    logs.configure(settings.logs, run.instance)
    if ignored:
        _logger.warning("reload: %s can't change while the server runs: restart it for that", ", ".join(ignored))
    return serving


def exposure(settings: Settings, insecure_open: bool) -> str:
    """Say what is wrong if everybody could reach an open registry, without being told that it may be so; else "".

    Who has to show a certificate is not everybody: no request is read before the handshake has seen it.
    """
    tls = settings.http.tls
    is_closed = settings.auth.mode != "open" or (tls.certificate and tls.client_ca)
    if insecure_open or is_closed or is_loopback(settings.http.host):
        return ""
    text = (
        f"http.host is {settings.http.host} and auth.mode is open: everybody who reaches this machine could push "
        "and delete. Listen on 127.0.0.1, have TLS ask for clients' certificates (http.tls.client_ca), or say "
        "--insecure-open"
    )
    return f"{text}. {_NO_USERS}" if admin_password() else text


def is_loopback(host: str) -> bool:
    """Say whether only this machine reaches an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _tell_what_starts(settings: Settings, instance: str, done: Migrated, workers: int) -> None:
    cache = settings.storage.cache
    _logger.info(
        "Stowage %s starts",
        __version__,
        extra={
            "version": __version__,
            "instance": instance,
            "database": place_of(settings).label,
            "schema": done.after,
            "storage": drivers.described(settings),
            "auth": described_identities(settings),
            "caches": f"small blobs in memory, {cache} bytes a worker" if cache else "none",
            "workers": workers,
        },
    )


def _same_data(config: Path | None, data: Path | None) -> str:
    """Return the options with which a command works on what the server does; none where the environment says it."""
    given = {"--config": config, "--data": data}
    return "".join(f" {option} {shlex.quote(str(path))}" for option, path in given.items() if path is not None)


def _tell_where(settings: Settings, same_data: str, host: str, port: int) -> None:
    """Say where the server listens; to people also how to push and pull."""
    encrypted = settings.http.tls.certificate is not None
    everywhere = host in {"0.0.0.0", "::"}  # noqa: S104 - compared, not bound
    name = "127.0.0.1" if everywhere else f"[{host}]" if ":" in host else host
    address = f"{name}:{port}"
    url = f"{'https' if encrypted else 'http'}://{address}"
    _logger.info("listening on %s", f":{port}" if everywhere else address, extra={"url": url})
    if not logs.is_text(settings.logs):
        return
    flag = "" if encrypted else " --tls-verify=false"
    lines = ["", "Push an image and pull it back:"]
    if settings.auth.mode == "users" and settings.auth.token.realm is None:
        lines.append(f"  podman login{flag} --username {ADMIN} {address}")
        if settings.auth.create_projects == "deny":
            lines.append(f"  stowage project add demo{same_data}")
    lines += [
        f"  podman tag IMAGE {address}/demo/image:1",
        f"  podman push{flag} {address}/demo/image:1",
        f"  podman rmi {address}/demo/image:1",
        f"  podman pull{flag} {address}/demo/image:1",
    ]
    if not encrypted:
        lines.append("podman needs --tls-verify=false on plain HTTP; docker takes the same lines without it.")
    typer.echo("\n".join([*lines, ""]), err=True)
