"""Purge: what was deleted, or has no name, goes for good, before its time. For a secret that leaked.

The rows go at once, as collection removes them; the bytes with the next collection, whatever its grace, whatever was
promised to uploads, and whatever copies of the database name: a push that relies on them just now is told that a blob
is missing, and pushes it again; a copy that is brought back finds them missing, and quarantines them.
"""

import asyncio
from dataclasses import dataclass, field
from typing import NamedTuple

from auth.policy import Action, Policy
from auth.principal import Principal
from registry.db import backups, candidates, doomed, garbage, history, jobs, locks, purging, repositories, tags
from registry.db.backups import Backup
from registry.db.candidates import Candidate, Cause, Kind
from registry.db.connection import Database, Transaction
from registry.db.history import Known
from registry.db.purging import Part
from registry.errors import ContentInUse, RecordUnknown
from registry.oci.names import RepositoryName
from registry.services import audit, events
from registry.services.audit import Origin, address_of
from registry.services.counting import Counting, counting
from storage.digest import Digest

_MOST_ELSEWHERE = 100
"""Repositories that an answer names for a blob."""
_MOST_LOOKED_AT = 5000
"""Repositories that are looked at for one purge, whether or not whoever asks may know of them."""
_PAGE = 500


class Gone(NamedTuple):
    """A blob that nothing in the repository names any more. `size` in bytes.

    `elsewhere`: other repositories that have it, and that whoever asks may pull from. `more`: there may be others.
    """

    digest: Digest
    size: int
    elsewhere: tuple[str, ...] = ()
    more: bool = False


class Stays(NamedTuple):
    """What stays in the repository, and why."""

    digest: Digest
    reason: str


@dataclass(slots=True)
class Purged:
    """What went, and what did not.

    Attributes:
        manifests: that are gone for good: the one that was asked for, and its children.
        blobs: that are gone from the repository.
        left: children and blobs that something else names.
        copies: of the database that may still hold the manifests. The bytes of blobs do not stay for their sake.
        known: what manifests were that are gone.
    """

    manifests: list[Digest] = field(default_factory=list)
    blobs: list[Gone] = field(default_factory=list)
    left: list[Stays] = field(default_factory=list)
    copies: list[Backup] = field(default_factory=list)
    known: dict[Digest, Known] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Purger:
    """Who purges, and from where. `policy`: says which other repositories are theirs to know of."""

    policy: Policy
    principal: Principal
    origin: Origin | None = None


class Purge:
    """Purges."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def digest(self, repository: RepositoryName, digest: Digest, purger: Purger) -> Purged:
        """Remove a manifest for good, with children and blobs that nothing else names; or a blob.

        Raises:
            RecordUnknown: it is not there.
            ContentInUse: a tag, an index or another manifest names it, deleted or not; or it is locked.
        """
        shared: dict[int, Digest] = {}

        async def work(transaction: Transaction) -> Purged:
            shared.clear()
            repository_id = await repositories.lock(transaction, repository)
            if repository_id is None:
                raise _unknown(repository, digest)
            known = (await history.known(transaction, repository_id, [digest])).get(digest)
            blob = await purging.linked(transaction, repository_id, digest)
            if known is None and blob is None:
                raise _unknown(repository, digest)
            counted = await counting(transaction, repository, repository_id)
            done = Purged()
            parts = {} if blob is None else {blob.id: blob}
            if known is not None:
                parts |= await _purge_manifests(transaction, counted, digest, known, done)
            elif blob is not None and (naming := await purging.referring(transaction, repository_id, blob)) is not None:
                raise _in_use(digest, f"manifest {naming.digest} refers to it", hidden=naming.is_hidden)
            shared.update(await _purge_blobs(transaction, counted, parts, done))
            await candidates.add(transaction, Kind.REPOSITORY, repository_id, repository_id, Cause.EMPTIED)
            await counted.settle(transaction, bound=False)
            await _record(transaction, repository, digest, purger, done)
            return done

        done = await self._database.write(work, reserve=True)
        await self._look_elsewhere(repository, purger, shared, done)
        now = await jobs.clock(self._database)
        done.copies = [
            one
            for one in await backups.every(self._database)
            if one.kind is not backups.Kind.FAILURE and (one.kept_until is None or one.kept_until > now)
        ]
        return done

    async def _look_elsewhere(
        self, repository: RepositoryName, purger: Purger, shared: dict[int, Digest], done: Purged
    ) -> None:
        """Find out which other repositories have the same blobs, of those that whoever asks may know of."""
        may_pull: dict[str, bool] = {repository: False}
        found: dict[Digest, tuple[tuple[str, ...], bool]] = {}
        looked_at = 0
        for blob_id, digest in shared.items():
            names: list[str] = []
            after, more = "", True
            while more and len(names) <= _MOST_ELSEWHERE and looked_at < _MOST_LOOKED_AT:
                page = await purging.elsewhere(self._database, blob_id, after=after, limit=_PAGE)
                for name in page:
                    if name not in may_pull:
                        may_pull[name] = await purger.policy.allows(purger.principal, Action.PULL, name)
                names += [name for name in page if may_pull[name]]
                more, looked_at = len(page) == _PAGE, looked_at + len(page)
                after = page[-1] if page else after
                await asyncio.sleep(0)  # others are served meanwhile
            found[digest] = (tuple(names[:_MOST_ELSEWHERE]), more or len(names) > _MOST_ELSEWHERE)
        done.blobs = [Gone(one.digest, one.size, *found.get(one.digest, ((), False))) for one in done.blobs]


async def _purge_manifests(
    transaction: Transaction, counted: Counting, digest: Digest, known: Known, done: Purged
) -> dict[int, Part]:
    """Remove a manifest, and its children that nothing else names. Return the blobs that these referred to.

    Raises:
        ContentInUse: something names the manifest.
    """
    why_not = await _why_not(transaction, counted.repository_id, digest, known.id, gone=set())
    if why_not is not None:
        raise ContentInUse(f"{digest} can't be purged: {why_not}", detail={"digest": digest})
    parts: dict[int, Part] = {}
    waiting, gone = [(digest, known.id)], set[int]()
    left: dict[Digest, str] = {}
    while waiting:
        one, manifest_id = waiting.pop(0)
        if manifest_id in gone:
            continue
        done.known |= await history.known(transaction, counted.repository_id, [one])
        children = await purging.children(transaction, manifest_id)
        parts |= {part.id: part for part in await purging.parts(transaction, manifest_id)}
        await _remove(transaction, counted, one, manifest_id)
        gone.add(manifest_id)
        done.manifests.append(one)
        for child in children:
            reason = await _why_not(transaction, counted.repository_id, child.digest, child.id, gone=gone)
            if reason is None:
                waiting.append((child.digest, child.id))
                left.pop(child.digest, None)
            else:
                left[child.digest] = reason
    done.left += [Stays(*one) for one in left.items()]
    return parts


async def _why_not(
    transaction: Transaction, repository_id: int, digest: Digest, manifest_id: int, *, gone: set[int]
) -> str | None:
    """Return what names a manifest, in words, or None. `gone`: ids of manifests that do not count any more."""
    named = await tags.of_manifest(transaction, manifest_id)
    if named:
        return f"the tag {named[0]} names it: delete that first"
    for parent in await purging.parents(transaction, repository_id, manifest_id, digest):
        if parent.id not in gone:
            how = (
                ", which was deleted and can be had back: purge that first"
                if parent.is_hidden
                else ": delete that first"
            )
            return f"the index {parent.digest} lists it{how}"
    lock = await locks.find(transaction, repository_id, digest)
    if lock is not None:
        return f"{lock.created_by} locked it"
    return None


async def _remove(transaction: Transaction, counted: Counting, digest: Digest, manifest_id: int) -> None:
    """Remove a manifest's rows, as collection does."""
    now = await jobs.clock(transaction)
    await counted.touched(transaction, manifest_id)
    await candidates.add_edges(transaction, manifest_id, since=now)
    await candidates.add_referrers(transaction, counted.repository_id, digest, since=now)
    await garbage.remove_manifest(transaction, manifest_id)


async def _purge_blobs(
    transaction: Transaction, counted: Counting, parts: dict[int, Part], done: Purged
) -> dict[int, Digest]:
    """Remove the links of blobs that nothing in the repository names. Return those that other repositories have."""
    repository_id = counted.repository_id
    found = [Candidate(Kind.LINK, repository_id, one, Cause.MANIFEST_GONE, 0, None) for one in sorted(parts)]
    await garbage.lock(transaction, found)
    shared: dict[int, Digest] = {}
    for blob_id, part in sorted(parts.items()):
        naming = await purging.referring(transaction, repository_id, part)
        if naming is not None:
            how = "was deleted, and can be had back" if naming.is_hidden else "is there"
            done.left.append(Stays(part.digest, f"manifest {naming.digest} refers to it, which {how}"))
            continue
        if await garbage.link(transaction, repository_id, blob_id) is None:
            continue
        counted.blobs.add(blob_id)
        freed = await garbage.remove_link(transaction, repository_id, blob_id)
        if freed is None:
            shared[blob_id] = part.digest
        else:
            await doomed.let_go(transaction, store=freed.store, key=freed.key)
        done.blobs.append(Gone(part.digest, part.size))
    return shared


async def _record(
    transaction: Transaction,
    repository: RepositoryName,
    digest: Digest,
    purger: Purger,
    done: Purged,
) -> None:
    """Tell of it, in an event for each manifest and blob that went, and in the audit log."""
    actor, origin = purger.principal.name, purger.origin
    manifests = [(one, done.known.get(one)) for one in done.manifests]
    gone = [(one, None if was is None else was.media_type, None if was is None else was.size) for one, was in manifests]
    for went, media_type, size in [*gone, *((blob.digest, None, blob.size) for blob in done.blobs)]:
        await events.record(
            transaction,
            repository,
            events.PURGE,
            actor=actor,
            origin=None if origin is None else origin._replace(audited=False),  # told below, with more
            digest=went,
            media_type=media_type,
            size=size,
        )
    await audit.record(
        transaction,
        "purge",
        audit.DONE,
        actor,
        repository=repository,
        address=address_of(origin),
        request_id="" if origin is None else origin.request_id,
        detail={
            "digest": digest,
            "manifests": done.manifests,
            "blobs": [one.digest for one in done.blobs],
            "left": [one.digest for one in done.left],
        },
    )


def _in_use(digest: Digest, why: str, *, hidden: bool) -> ContentInUse:
    rest = ", which was deleted and can be had back: purge that first" if hidden else ": delete that first"
    return ContentInUse(f"{digest} can't be purged: {why}{rest}", detail={"digest": digest})


def _unknown(repository: RepositoryName, digest: Digest) -> RecordUnknown:
    return RecordUnknown(f"{repository} has no manifest and no blob {digest}")
