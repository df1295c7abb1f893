"""Maintenance: a row while the registry is read-only, none while it is not."""

from dataclasses import dataclass

from sqlalchemy import delete, literal, select
from sqlalchemy.dialects import postgresql

from registry.db.connection import Reader, Transaction
from registry.db.statements import Statement, now, parameter
from registry.db.tables import maintenance

_ONLY = literal(1)
_ADDED = postgresql.insert(maintenance).values(
    id=_ONLY, since=now(), message=parameter("message"), retry_after=parameter("retry_after")
)
_BEGIN = Statement(
    _ADDED.on_conflict_do_update(
        index_elements=[maintenance.c.id],
        set_={"message": _ADDED.excluded.message, "retry_after": _ADDED.excluded.retry_after},
    )
)
_END = Statement(delete(maintenance).where(maintenance.c.id == _ONLY))
_FIND = Statement(
    select(maintenance.c.since, maintenance.c.message, maintenance.c.retry_after).where(maintenance.c.id == _ONLY)
)


@dataclass(frozen=True, slots=True)
class MaintenanceRow:
    """Since when the registry is read-only (microseconds since the epoch), why, and when to try again (seconds)."""

    since: int
    message: str
    retry_after: int


async def find(reader: Reader) -> MaintenanceRow | None:
    """Return the row, or None while the registry may be written to."""
    row = await reader.first(_FIND)
    return None if row is None else MaintenanceRow(*row)


async def begin(transaction: Transaction, *, message: str, retry_after: int) -> None:
    """Make the registry read-only; if it is already, what it says changes and `since` stays."""
    await transaction.run(_BEGIN, message=message, retry_after=retry_after)


async def end(transaction: Transaction) -> bool:
    """Let the registry be written to again. Return whether it was read-only."""
    return await transaction.run(_END) == 1
