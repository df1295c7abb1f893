"""The outbox: what happened, written in the transaction that made it happen."""

from sqlalchemy import delete, insert, select

from registry.db.connection import Transaction
from registry.db.statements import Statement, now, parameter
from registry.db.tables import outbox
from registry.oci.names import RepositoryName

_RECORD = Statement(
    insert(outbox).values(
        repository=parameter("repository"), action=parameter("action"), payload=parameter("payload"), created_at=now()
    )
)
_FORGET = Statement(
    delete(outbox).where(
        outbox.c.id.in_(select(outbox.c.id).order_by(outbox.c.id).limit(parameter("limit"))),
        outbox.c.created_at < now() - parameter("age"),
    )
)


async def record(transaction: Transaction, repository: RepositoryName, action: str, payload: str) -> None:
    """Write down one event. `payload` is JSON."""
    await transaction.run(_RECORD, repository=repository, action=action, payload=payload)


async def forget(transaction: Transaction, *, age_s: int, limit: int) -> int:
    """Of the `limit` oldest events drop those older than `age_s` seconds, and return how many."""
    return await transaction.run(_FORGET, age=age_s * 1_000_000, limit=limit)
