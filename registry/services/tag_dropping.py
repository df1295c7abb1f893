"""Letting tags go without anybody asking: what was found to be needless is looked at again, and goes as if deleted."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from auth.roles import Action
from registry.db import repositories, retained_tags
from registry.db.connection import Transaction
from registry.db.retained_tags import Current
from registry.db.tags import CurrentTag, Move, Why
from registry.oci.names import RepositoryName, Tag
from registry.services.audit import Origin
from registry.services.counting import counting
from registry.services.deletion import untag
from registry.services.tag_guard import TagGuard
from storage.digest import Digest

BATCH = 100
"""Tags a transaction: whoever pushes to the repository waits for it."""

LOCKED = "its manifest is locked"


class Dropping(NamedTuple):
    """Why tags go.

    Attributes:
        actor: who is written down for it.
        cause: for the history of tags, and for events.
        origin: for the audit log; None if that has no entries of what is done to tags.
    """

    actor: str
    cause: Why
    origin: Origin | None = None


class Dropped(NamedTuple):
    """A tag that went, and what it named."""

    tag: Tag
    digest: Digest


async def drop(
    transaction: Transaction,
    repository: RepositoryName,
    names: Sequence[Tag],
    may_go: Callable[[Current], bool],
    why: Dropping,
) -> list[Dropped]:
    """Remove those of some tags that may still go. Return them.

    Args:
        names: at most BATCH.
        may_go: asked of each as it is now. What is locked, or immutable by a rule, stays whatever it says.
    """
    repository_id = await repositories.lock(transaction, repository)
    if repository_id is None:
        return []
    counted = await counting(transaction, repository, repository_id)
    guard, dropped = TagGuard(repository), []
    going = [
        one
        for one in await retained_tags.current(transaction, repository_id, names)
        if may_go(one) and not one.is_locked and await guard.forbidding(transaction, Action.DELETE, one.tag) is None
    ]
    for one in going:
        await untag(
            transaction,
            repository,
            counted,
            one.tag,
            CurrentTag(one.manifest_id, one.digest),
            move=Move(why.actor, why.cause.value),
            origin=why.origin,
        )
        dropped.append(Dropped(one.tag, one.digest))
    await counted.settle(transaction, bound=False)
    return dropped
