"""What a person at a terminal sees while a migration copies the database."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TextIO

from registry.cli.progress import shown, size, size_of
from registry.db.migrate import partial_copies


def shown_copying(database: Path | None, stream: TextIO) -> AbstractContextManager[None]:
    """Show on `stream`, if that is a terminal, how far the copy of the database has come that a migration makes.

    Of a database that is no file none is made.
    """
    return nullcontext() if database is None else shown(lambda: _copying(database), stream)


def _copying(database: Path) -> str:
    copied = size_of(*partial_copies(database))
    if not copied:
        return ""
    whole = max(copied, size_of(database))
    return f"putting a copy of the database aside: {size(copied)} of {size(whole)}"
