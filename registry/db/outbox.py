"""The outbox: what happened, written in the transaction that made it happen. `registry.db.events` reads it."""

from collections.abc import Sequence

from sqlalchemy import insert

from registry.db.connection import Transaction
from registry.db.statements import Statement, now, parameter
from registry.db.tables import outbox
from registry.oci.names import RepositoryName

_RECORD = Statement(
    insert(outbox).values(
        repository=parameter("repository"), action=parameter("action"), payload=parameter("payload"), created_at=now()
    )
)


async def record(transaction: Transaction, repository: RepositoryName, action: str, payload: str) -> None:
    """Write down one event. `payload` is JSON."""
    await transaction.run(_RECORD, repository=repository, action=action, payload=payload)


async def record_many(transaction: Transaction, action: str, events: Sequence[tuple[str, str]]) -> None:
    """Write down several events of one kind. `events`: repositories, and payloads in JSON."""
    rows = [{"repository": repository, "action": action, "payload": payload} for repository, payload in events]
    await transaction.run_many(_RECORD, rows)
