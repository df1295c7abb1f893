"""How rights are changed: one after the other, written down, and heard of by every process."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from registry.db import authority
from registry.db.connection import Database, Transaction
from registry.services import audit
from registry.services.audit import Origin

T = TypeVar("T")

_logger = logging.getLogger("stowage.rights")


@dataclass(frozen=True, slots=True)
class Change:
    """What is done, by whom, and from where: for who looks later.

    Attributes:
        action: two words with a dot between: `grant.add`.
        actor: a principal's name, or who else did it.
        project: "" where it is about none.
        about: what else is to be known, as JSON has it. No secrets.
        origin: where the request came from that does it; as a rule the one that is being served.
    """

    action: str
    actor: str
    project: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)
    origin: Origin = field(default_factory=audit.origin)


async def changed(
    database: Database, change: Change, work: Callable[[Transaction], Awaitable[T]], *, takes_away: bool = False
) -> T:
    """Run `work` in a transaction that changes rights, and return its result. False says that nothing was to change.

    What it looks at first (is this the last admin, does a grant still use the role) is still so when it is done: nobody
    else changes rights meanwhile.

    Args:
        takes_away: it works on a full disk, too.
    """

    async def run(transaction: Transaction) -> T:
        await authority.change(transaction)
        result = await work(transaction)
        if result is not False:
            await record(transaction, change)
        return result

    return await database.write(run, reserve=takes_away)


async def record(transaction: Transaction, change: Change) -> None:
    """Write down what is done, in the transaction that does it: in the audit log, and for who reads the server's."""
    await audit.record(
        transaction,
        change.action,
        audit.DONE,
        change.actor,
        project=change.project,
        address=change.origin.address,
        request_id=change.origin.request_id,
        detail=change.about,
    )
    where = f" in {change.project}" if change.project else ""
    known = {"request_id": change.origin.request_id}
    _logger.info("%s%s by %s: %s", change.action, where, change.actor, dict(change.about), extra=known)
