"""`stowage migrate`: bring the database to this version's schema."""

import sys

import typer

from registry.cli.copying import shown_copying
from registry.cli.options import ConfigOption, DataOption, examples, fail, settings_of
from registry.db.migrate import REVISION
from registry.db.place import place_of
from registry.errors import Unavailable

EXAMPLES = examples(
    "stowage migrate",
    "stowage migrate --data /var/lib/stowage",
    "stowage migrate --config /etc/stowage/stowage.yaml",
)


def migrate(config: ConfigOption = None, data: DataOption = None) -> None:
    """Bring the database to the schema of this version.

    `stowage serve` does the same at its start. A copy of an SQLite database is put aside first.
    """
    place = place_of(settings_of(config, {"data": data}))
    try:
        place.make_way()
        with shown_copying(place.file, sys.stderr):
            done = place.migrate()
    except Unavailable as error:
        fail(str(error))
    if done.after > REVISION:
        typer.echo(f"{place.name} has schema {done.after}, which a newer version made: this one works with it")
        return
    if done.before == done.after:
        typer.echo(f"{place.name} has schema {done.after} already")
        return
    typer.echo(f"{place.name} has schema {done.after} now, {done.before or 'nothing'} before")
    if done.copy is not None:
        typer.echo(f"the database as it was is in {done.copy}")
