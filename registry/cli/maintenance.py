"""`stowage maintenance`: make the registry read-only, and writable again."""

import json
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError

from registry.cli.database import in_database, registry_settings
from registry.cli.options import ConfigOption, DataOption, JsonOption, examples, fail
from registry.cli.times import shown_time
from registry.db import maintenance
from registry.db.maintenance import MaintenanceRow
from registry.db.place import place_of
from registry.errors import Unavailable
from registry.setting_types import Duration

_LONGEST_MESSAGE = 500
_LONGEST_RETRY_AFTER_S = 86400


def _retry_after(text: str) -> int:
    try:
        seconds = TypeAdapter(Duration).validate_python(text)
    except ValidationError:
        raise typer.BadParameter("expected a duration like 30s, 5m or 1h") from None
    if seconds > _LONGEST_RETRY_AFTER_S:
        raise typer.BadParameter("a day at most")
    return seconds


def _message(text: str) -> str:
    if len(text) > _LONGEST_MESSAGE or not text.isprintable():
        raise typer.BadParameter(f"one line of at most {_LONGEST_MESSAGE} characters")
    return text


MessageOption = Annotated[
    str, typer.Option("--message", metavar="TEXT", help="Why: clients show it.", parser=_message, show_default=False)
]
RetryOption = Annotated[
    int,
    typer.Option(
        "--retry-after",
        metavar="TIME",
        help="When clients should try again, like 30s, 5m or 1h. [default: 30s]",
        parser=_retry_after,
        show_default=False,
    ),
]


def build() -> typer.Typer:
    """Return the commands below `maintenance`."""
    app = typer.Typer(
        rich_markup_mode=None,
        help="Make the registry read-only, and writable again.\n\n"
        "While it is on, pulls go on, and what would change something gets 503 with Retry-After. Every server on this "
        "database obeys within a second; what is being answered already may finish. It survives restarts.",
        epilog=examples('stowage maintenance on --message "moving to a new disk" --retry-after 10m'),
    )
    data = "--data /var/lib/stowage"
    app.command(
        epilog=examples(
            "stowage maintenance on", f'stowage maintenance on {data} --message "back at 10:00" --retry-after 10m'
        )
    )(on)
    app.command(epilog=examples("stowage maintenance off", f"stowage maintenance off {data}"))(off)
    app.command(epilog=examples("stowage maintenance status", f"stowage maintenance status {data} --json"))(status)
    return app


def on(
    message: MessageOption = "",
    retry_after: RetryOption = 30,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Make the registry read-only. Said again, it changes message and time."""
    settings = registry_settings(config, data)
    in_database(
        settings,
        lambda database: database.write(
            lambda transaction: maintenance.begin(transaction, message=message, retry_after=retry_after), reserve=True
        ),
    )
    typer.echo("maintenance is on: the registry is read-only")


def off(config: ConfigOption = None, data: DataOption = None) -> None:
    """Let the registry be written to again."""
    settings = registry_settings(config, data)
    was_on = in_database(settings, lambda database: database.write(maintenance.end, reserve=True))
    typer.echo("maintenance is off" if was_on else "maintenance was off already")


def status(config: ConfigOption = None, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Say whether the registry is read-only, since when and why."""
    settings = registry_settings(config, data)
    try:
        found = place_of(settings).inspect().maintenance
    except Unavailable as error:
        fail(str(error))
    typer.echo(json.dumps(described(found)) if as_json else told(found))


def described(found: MaintenanceRow | None) -> dict[str, object]:
    """Return what `--json` shows: `on`, and while it is `since` (RFC 3339), `message` and `retryAfterSeconds`."""
    if found is None:
        return {"on": False}
    return {
        "on": True,
        "since": shown_time(found.since),
        "message": found.message,
        "retryAfterSeconds": found.retry_after,
    }


def told(found: MaintenanceRow | None) -> str:
    """Return the same as a sentence."""
    if found is None:
        return "maintenance is off"
    why = f": {found.message}" if found.message else ""
    return (
        f"maintenance is on since {shown_time(found.since)}, clients are told to retry after {found.retry_after} s{why}"
    )
