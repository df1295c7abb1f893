"""Events: one row in the outbox for each change, written in the transaction of the change."""

import json

from registry.db import outbox
from registry.db.connection import Transaction
from registry.oci.names import RepositoryName

PUSH = "push"
MOUNT = "mount"
DELETE = "delete"
TAG = "tag"
UNTAG = "untag"
QUARANTINE = "quarantine"
RECOVER = "recover"


async def record(
    transaction: Transaction, repository: RepositoryName, action: str, *, actor: str, **facts: str | int | None
) -> None:
    """Write down what happened. `facts` that are None are left out."""
    known = {name: value for name, value in facts.items() if value is not None}
    await outbox.record(transaction, repository, action, json.dumps({"actor": actor, **known}))
