"""Undelete: a manifest that was deleted is there again, with the tags that went with it."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from auth.roles import Action
from registry.db import history, repositories, tags
from registry.db.connection import Database, Transaction
from registry.db.history import Known
from registry.db.tags import Move, Why
from registry.errors import ContentDamaged, RecordUnknown
from registry.oci.names import Tag
from registry.services import audit, events
from registry.services.audit import address_of
from registry.services.counting import Counting, counting
from registry.services.reviving import Buried
from registry.services.tag_rights import TagRights
from storage.digest import Digest

_CAUSE = Why.UNDELETE.value


class Left(NamedTuple):
    """A tag that did not come back, and why not."""

    tag: Tag
    reason: str


@dataclass(slots=True)
class Undeleted:
    """What came back. `is_new`: whether the manifest was deleted until now; if not, nothing was done."""

    is_new: bool = False
    tags: list[Tag] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)


class Undelete:
    """Undeletes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def manifest(self, rights: TagRights, digest: Digest, *, with_tags: bool) -> Undeleted:
        """Bring a manifest back, with its blobs, and the children that were deleted after it.

        With its tags come those that went with it, but for such as name something else by now, or may not be made.
        Whoever asks may push to the repository.

        Raises:
            RecordUnknown: it never was there, or is gone for good.
            ContentDamaged: some of it is damaged.
            QuotaExceeded: the project has no room for it.
        """

        async def work(transaction: Transaction) -> Undeleted:
            repository_id = await repositories.lock(transaction, rights.repository)
            known: Known | None = None
            if repository_id is not None:
                known = (await history.known(transaction, repository_id, [digest])).get(digest)
            if repository_id is None or known is None:
                raise RecordUnknown(
                    f"{rights.repository} has no manifest {digest} that could come back: it never was there, or was "
                    "collected or purged"
                )
            if not known.is_hidden:
                return Undeleted()
            buried = Buried()
            await buried.look(transaction, [known.id])
            why_not = buried.obstacle(known.id)
            if why_not is not None:
                raise ContentDamaged(f"{digest} can't come back: {why_not}")
            counted = await counting(transaction, rights.repository, repository_id)
            deleted_at = await history.deleted_at(transaction, repository_id, digest)
            await buried.revive(transaction, counted, [known.id])
            went_at = deleted_at if with_tags else None
            return await _bring_back(transaction, counted, rights, digest, known, went_at=went_at)

        return await self._database.write(work)


async def _bring_back(
    transaction: Transaction, counted: Counting, rights: TagRights, digest: Digest, known: Known, *, went_at: int | None
) -> Undeleted:
    """Tell of a manifest that is to be seen again, and have those tags name it that went at a time; None for none."""
    done = Undeleted(is_new=True)
    facts: dict[str, Any] = {"digest": digest, "media_type": known.media_type, "size": known.size}
    actor, origin = rights.principal.name, rights.origin
    unaudited = None if origin is None else origin._replace(audited=False)  # told below, with more
    await events.record(transaction, rights.repository, events.UNDELETE, actor=actor, origin=unaudited, **facts)
    if went_at is not None:
        went = await history.went_with(transaction, counted.repository_id, [(digest, went_at)])
        for tag, _ in went[digest, went_at]:
            why_not = await _why_not(transaction, counted.repository_id, rights, tag)
            if why_not is not None:
                done.left.append(Left(tag, why_not))
                continue
            await _tag(transaction, counted, rights, tag, known.id, facts)
            done.tags.append(tag)
    await counted.settle(transaction, bound=True)
    await audit.record(
        transaction,
        "undelete",
        audit.DONE,
        actor,
        repository=rights.repository,
        address=address_of(origin),
        request_id="" if origin is None else origin.request_id,
        detail={"digest": digest, "tags": done.tags, "left": [one.tag for one in done.left]},
    )
    return done


async def _why_not(transaction: Transaction, repository_id: int, rights: TagRights, tag: Tag) -> str | None:
    current = await tags.current(transaction, repository_id, tag)
    if current is not None:
        return f"it names {current.digest} now"
    return await rights.refusal(transaction, rights.guard(), tag, Action.PUSH)


async def _tag(
    transaction: Transaction,
    counted: Counting,
    rights: TagRights,
    tag: Tag,
    manifest_id: int,
    facts: dict[str, Any],
) -> None:
    actor, origin = rights.principal.name, rights.origin
    await counted.tagging(transaction, tag, manifest_id)
    await tags.assign(
        transaction,
        counted.repository_id,
        tag,
        manifest_id=manifest_id,
        digest=Digest(str(facts["digest"])),
        move=Move(actor, _CAUSE, address_of(origin)),
    )
    await events.record(
        transaction, rights.repository, events.TAG, actor=actor, origin=origin, tag=tag, cause=_CAUSE, **facts
    )
