"""`stowage check`: what is configured, where each value comes from, and what is missing or wrong."""

import json
from dataclasses import asdict
from typing import Any

import typer

from registry import __version__
from registry.cli.conditions import Condition, conditions_of, conditions_without_settings
from registry.cli.diagnosis import Diagnosis, diagnose
from registry.cli.maintenance import described
from registry.cli.options import (
    ConfigOption,
    DataOption,
    HostOption,
    InsecureOption,
    JsonOption,
    PortOption,
    WorkersOption,
    examples,
)
from registry.cli.problems import Problem, error
from registry.cli.running import Holder
from registry.db.migrate import REVISION
from registry.http.cores import granted_cores
from registry.logs import escaped
from registry.setting_origins import Origin, origins, shown
from registry.settings import Layers, Settings, SettingsError, merged, read_layers

EXAMPLES = examples(
    "stowage check",
    "stowage check --data /var/lib/stowage",
    "stowage check --config /etc/stowage/stowage.yaml --json",
)


def check(
    config: ConfigOption = None,
    data: DataOption = None,
    host: HostOption = None,
    port: PortOption = None,
    workers: WorkersOption = None,
    insecure_open: InsecureOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say what is configured, and what is missing or wrong.

    Give it the options that `stowage serve` gets, and run it as the same user, whether the server runs or not. It
    changes nothing.

    Exit status: 0 if the server runs well or could be started, warnings included; 1 if something keeps it from that.
    """
    command_line = {"data": data, "http": {"host": host, "port": port, "workers": workers}}
    try:
        layers = read_layers(config, command_line)
        settings = merged(layers)
    except SettingsError as wrong:
        problems = [error("ConfigurationInvalid", line) for line in str(wrong).splitlines()]
        _show(conditions_without_settings(problems), problems, [], {}, as_json=as_json)
        raise typer.Exit(1) from None
    found = diagnose(settings, insecure_open=insecure_open)
    _show(conditions_of(found), found.problems, _effective(settings, layers), _facts(found), as_json=as_json)
    if found.errors:
        raise typer.Exit(1)


def _effective(settings: Settings, layers: Layers) -> list[Origin]:
    """Return every setting; where a default depends on other things, what it comes to."""
    derived = {
        "storage.filesystem.root": settings.filesystem_root,
        "database.url": f"sqlite:///{settings.sqlite_path}",
        "http.workers": granted_cores(),
    }
    return [
        Origin(one.name, shown(derived[one.name]), one.source, one.place)
        if one.value is None and one.name in derived
        else one
        for one in origins(settings, layers)
    ]


def _facts(found: Diagnosis) -> dict[str, Any]:
    running = found.address.holder is Holder.STOWAGE
    return {
        "server": {
            "address": found.address.text,
            "running": running,
            "instance": found.address.readiness["instance"] if running else None,
            "ready": found.address.readiness["ready"] if running else None,
        },
        "database": {"schema": found.database.revision if found.database else None, "needed": REVISION},
        "maintenance": described(found.database.maintenance if found.database else None),
    }


def _show(
    conditions: list[Condition],
    problems: list[Problem],
    settings: list[Origin],
    facts: dict[str, Any],
    *,
    as_json: bool,
) -> None:
    if as_json:
        content = {
            "version": __version__,
            "conditions": [asdict(one) for one in conditions],
            "problems": [asdict(one) for one in problems],
            **facts,
            "settings": [asdict(one) for one in settings],
        }
        typer.echo(json.dumps(content, indent=2))
        return
    lines = [f"Stowage {__version__}", ""]
    lines += _columns([(one.type, one.status, one.reason, one.message) for one in conditions])
    if problems:
        lines += ["", "Problems", *_columns([(one.severity, one.reason, one.message) for one in problems])]
    if settings:
        lines += [
            "",
            "Settings",
            *_columns([(one.name, _text(one.value), one.place or one.source) for one in settings]),
        ]
    typer.echo("\n".join(map(escaped, lines)))


def _columns(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _text(value: Any) -> str:
    if value is None or value == []:
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(json.dumps(one) if isinstance(one, dict) else str(one) for one in value)
    return str(value)
