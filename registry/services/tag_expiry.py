"""Tags that were given an end when they were pushed, and have come to it."""

from collections.abc import Awaitable, Callable, Iterable
from itertools import groupby

from auth.roles import Action
from registry.db import jobs, retained_tags
from registry.db.connection import Database, Transaction
from registry.db.retained_tags import Current, Due
from registry.db.tags import Why
from registry.oci.names import RepositoryName
from registry.services.audit import Origin
from registry.services.tag_dropping import BATCH, Dropping, drop
from registry.services.tag_guard import TagGuard

ACTOR = "system:expiry"
_ORIGIN = Origin("", "expiry")


class TagExpiry:
    """Removes tags whose time is over. What is locked, or immutable by a rule, stays.

    Args:
        audited: whether the audit log tells of each tag that goes.
        told: called with how many tags went.
    """

    def __init__(self, database: Database, *, audited: bool, told: Callable[[int], None] | None = None) -> None:
        self._database = database
        self._why = Dropping(ACTOR, Why.EXPIRY, _ORIGIN if audited else None)
        self._told = told

    async def run(self, check: Callable[[Transaction], Awaitable[None]]) -> int:
        """Remove all that is due, and return how many that were.

        Args:
            check: asked in each transaction. Raises if the run may not go on.
        """
        removed = 0
        after: Due | None = None
        while found := await retained_tags.due(self._database, after=after, limit=BATCH):
            after = found[-1]
            for name, some in groupby(sorted(found, key=_repository), key=_repository):
                going = await self._not_fixed(name, some)
                if going:
                    removed += await self._remove(name, going, check)
        return removed

    async def _not_fixed(self, name: RepositoryName, due: Iterable[Due]) -> list[Due]:
        """Return those that no rule keeps: those that one does are due for good, and nobody is to wait for them."""
        guard = TagGuard(name)
        return [one for one in due if await guard.forbidding(self._database, Action.DELETE, one.tag) is None]

    async def _remove(
        self, name: RepositoryName, due: list[Due], check: Callable[[Transaction], Awaitable[None]]
    ) -> int:
        async def work(transaction: Transaction) -> int:
            await check(transaction)
            now = await jobs.clock(transaction)

            def may_go(one: Current) -> bool:
                return one.expires_at is not None and one.expires_at <= now

            return len(await drop(transaction, name, [one.tag for one in due], may_go, self._why))

        removed = await self._database.write(work, reserve=True)
        if self._told is not None and removed:
            self._told(removed)
        return removed


def _repository(due: Due) -> RepositoryName:
    return due.repository
