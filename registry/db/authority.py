"""The revision: raised by each change that gives or takes a right. `docs/decisions/018-identities.md`."""

from sqlalchemy import literal, select, update

from registry.db.connection import Reader, Transaction
from registry.db.statements import Statement
from registry.db.tables import authority

_ONLY = literal(1)
_READ = Statement(select(authority.c.revision).where(authority.c.id == _ONLY), hot=True)
_RAISE = Statement(update(authority).where(authority.c.id == _ONLY).values(revision=authority.c.revision + literal(1)))


async def revision(reader: Reader) -> int:
    """Return the revision. What was read before is kept for as long as it is the same."""
    row = await reader.first(_READ)
    return 0 if row is None else int(row[0])


async def change(transaction: Transaction) -> None:
    """Tell every process that rights have changed, in the change's transaction.

    First in it: they all raise one row, so that changes come one after the other, and each sees what came before.
    """
    await transaction.run(_RAISE)
