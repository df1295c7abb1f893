"""Rollback: tags as they were at a moment, in one transaction a repository. `docs/decisions/026-history.md`."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from auth.errors import Denied
from auth.grants import matches
from auth.roles import Action
from registry.db import history, jobs, quotas, repositories, tags
from registry.db.connection import Database, Transaction
from registry.db.history import Difference, Known
from registry.db.tags import Move, Reassignment, Why
from registry.errors import RecordUnknown, RegistryError, RollbackRefused, ValueInvalid
from registry.oci.names import RepositoryName, Tag
from registry.services import audit, events
from registry.services.audit import address_of
from registry.services.counting import Counting, counting
from registry.services.moments import check_moment, shown
from registry.services.reviving import Buried
from registry.services.tag_rights import TagRights
from storage.digest import Digest

MOST = 5000
"""Tags that one rollback of a repository changes at most: pushes there wait for it."""
_MOST_LOOKED_AT = 50_000
_MOST_IN_PROJECT = 50_000
"""Tags of a project that one rollback changes at most: what becomes of each is told when all is done."""
_PAGE = 500
_CAUSE = Why.ROLLBACK.value


class Target(NamedTuple):
    """What to go back to: a moment in microseconds since the epoch, or a digest; neither: what was before."""

    at: int | None = None
    digest: Digest | None = None

    def __str__(self) -> str:
        return "previous" if self.at is None and self.digest is None else self.digest or shown(self.at or 0)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be rolled back: a tag, or those that match a pattern, or all of a repository.

    Attributes:
        partial: do what can be done, and leave the rest.
        dry_run: do nothing; say what would be done.
    """

    target: Target
    tag: Tag | None = None
    pattern: str = ""
    partial: bool = False
    dry_run: bool = False


class Change(NamedTuple):
    """A tag, what it named, and what it names then; None for no tag. `revived`: that was deleted, and is back."""

    tag: Tag
    before: Digest | None
    after: Digest | None
    revived: bool


class Obstacle(NamedTuple):
    """A tag that can't be as it was. `denied`: because whoever asks may not, or nobody."""

    tag: Tag
    digest: Digest | None
    reason: str
    denied: bool


@dataclass(slots=True)
class Outcome:
    """What was done in a repository, or would be. `at`: when, in microseconds since the epoch; 0 for not at all.

    `error`: why nothing was done, although it was to be.
    """

    repository: RepositoryName
    changes: list[Change] = field(default_factory=list)
    obstacles: list[Obstacle] = field(default_factory=list)
    at: int = 0
    error: str | None = None


class _Rehearsed(Exception):
    """All was done, and nothing of it is to stay."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self.outcome = outcome


class _Planned(NamedTuple):
    """A difference that can be undone. `known`: the manifest that the tag is to name; None for no tag."""

    one: Difference
    known: Known | None

    @property
    def revived(self) -> bool:
        """Whether the manifest was deleted, and comes back."""
        return self.known is not None and self.known.is_hidden


Rights = Callable[[RepositoryName], Awaitable[TagRights]]
"""Says what whoever asks may do in a repository."""


class Rollback:
    """Rolls back.

    Args:
        window_s: how far, `history.window`.
    """

    def __init__(self, database: Database, *, window_s: int) -> None:
        self._database = database
        self._window_s = window_s

    async def repository(self, rights: TagRights, wanted: Wanted) -> Outcome:
        """Have a repository's tags be as they were: all at once, or not at all.

        Raises:
            RecordUnknown: there is no such repository, or never was such a tag.
            MomentUnknown: the moment has not come yet, or is too long ago.
            Denied: somebody may not do some of it. Nothing was done.
            RollbackRefused: some of it can't be done any more. Nothing was done.
            QuotaExceeded: the project has no room for it. Nothing was done.
            ValueInvalid: it is too much at once.
        """
        await self._check(wanted)

        async def work(transaction: Transaction) -> Outcome:
            outcome = await self._roll_back(transaction, rights, wanted)
            if wanted.dry_run:
                raise _Rehearsed(outcome)
            return outcome

        try:
            return await self._database.write(work)
        except _Rehearsed as rehearsed:
            return rehearsed.outcome

    async def project(self, project: str, rights: Rights, wanted: Wanted) -> AsyncIterator[Outcome]:
        """Have the tags of all repositories of a project be as they were. Yield what became of those that changed.

        All are looked at before the first is changed, and then done one after the other: each all at once.

        Raises:
            RecordUnknown: the project has no repositories.
            MomentUnknown, Denied, RollbackRefused, QuotaExceeded, ValueInvalid: as `repository`. Nothing was done. What
                comes to be in the way later is in the outcome.
        """
        await self._check(wanted)
        looking = Wanted(wanted.target, None, wanted.pattern, partial=wanted.partial, dry_run=True)
        is_empty, found = True, 0
        changing: list[RepositoryName] = []
        refused: list[tuple[RepositoryName, Obstacle]] = []
        async for name in _repositories(self._database, project):
            is_empty = False
            outcome = await self.repository(await rights(name), looking)
            if not outcome.changes and not outcome.obstacles:
                continue
            found += len(outcome.changes) + len(outcome.obstacles)
            if found > _MOST_IN_PROJECT:
                raise ValueInvalid(
                    f"more than {_MOST_IN_PROJECT} tags of {project} would change: say which, by a pattern, or roll "
                    "back one repository after the other"
                )
            changing.append(name)
            refused += [(name, one) for one in outcome.obstacles]
            if wanted.dry_run:
                yield outcome
        if is_empty:
            raise RecordUnknown(f"there are no repositories in {project}")
        if wanted.dry_run:
            return
        if refused and not wanted.partial:
            raise _refusal(refused)
        for name in changing:
            try:
                yield await self.repository(await rights(name), wanted)
            except (Denied, RegistryError) as error:
                yield Outcome(name, error=str(error))

    async def _check(self, wanted: Wanted) -> None:
        if wanted.target.at is not None:
            await check_moment(self._database, wanted.target.at, window_s=self._window_s)
        elif wanted.tag is None:
            raise ValueInvalid("a digest, or what was before, is for one tag: say a time for several")

    async def _roll_back(self, transaction: Transaction, rights: TagRights, wanted: Wanted) -> Outcome:
        repository = rights.repository
        repository_id = await repositories.lock(transaction, repository)
        if repository_id is None:
            raise RecordUnknown(f"there is no repository {repository}")
        found = await _differences(transaction, repository_id, repository, wanted)
        buried = Buried()
        planned, obstacles = await _judged(transaction, repository_id, rights, found, buried)
        if obstacles and not wanted.partial and not wanted.dry_run:
            raise _refusal([(repository, one) for one in obstacles])
        outcome = Outcome(repository, obstacles=obstacles)
        if not planned:
            return outcome
        # Later than all that was, also where clocks count milliseconds: so that the moment before can be told.
        outcome.at = max(await jobs.clock(transaction), await history.last_change(transaction, repository_id) + 1)
        counted = await counting(transaction, repository, repository_id)
        revived = await _revive(transaction, counted, rights, planned, buried)
        await _change(transaction, counted, rights, planned, at=outcome.at)
        outcome.changes += [Change(one.one.tag, one.one.now, one.one.then, one.revived) for one in planned]
        await counted.settle(transaction, bound=True)
        await _record(transaction, rights, wanted, outcome, revived)
        return outcome


async def _differences(
    transaction: Transaction, repository_id: int, repository: RepositoryName, wanted: Wanted
) -> list[Difference]:
    """Return what is to be changed. Raises RecordUnknown, ValueInvalid."""
    target, tag = wanted.target, wanted.tag
    if tag is not None:
        if target.digest is None and not await history.ever_was(transaction, repository_id, tag):
            raise RecordUnknown(f"there never was a tag {tag} in {repository}")
        if target.at is not None:
            one = await history.difference(transaction, repository_id, tag, target.at)
        else:
            one = await history.compared(transaction, repository_id, tag, target.digest)
            if one.then is None:
                raise RecordUnknown(f"{repository}:{tag} was nothing else before")
        return [] if one.then == one.now else [one]
    differing = await history.differences(transaction, repository_id, target.at or 0, limit=_MOST_LOOKED_AT + 1)
    found = [one for one in differing if not wanted.pattern or matches(wanted.pattern, one.tag)]
    if len(found) > MOST:
        raise ValueInvalid(f"more than {MOST} tags of {repository} would change: say which, by a pattern")
    if len(differing) > _MOST_LOOKED_AT:
        raise ValueInvalid(f"more than {_MOST_LOOKED_AT} tags of {repository} have changed since: say single tags")
    return found


async def _judged(
    transaction: Transaction, repository_id: int, rights: TagRights, found: list[Difference], buried: Buried
) -> tuple[list[_Planned], list[Obstacle]]:
    """Return what can be done, and what can't. `buried` looks at what comes back."""
    planned: list[_Planned] = []
    obstacles: list[Obstacle] = []
    guard = rights.guard()
    for first in range(0, len(found), _PAGE):
        page = found[first : first + _PAGE]
        known = await history.known(transaction, repository_id, [one.then for one in page if one.then is not None])
        await buried.look(transaction, [one.id for one in known.values() if one.is_hidden])
        for one in page:
            refusal = await rights.refusal(transaction, guard, one.tag, *_actions(one))
            manifest = None if one.then is None else known.get(one.then)
            lost = None if one.then is None else _lost(manifest, buried)
            if refusal is not None or lost is not None:
                obstacles.append(Obstacle(one.tag, one.then, refusal or lost or "", refusal is not None))
            else:
                planned.append(_Planned(one, manifest))
    return planned, obstacles


def _actions(one: Difference) -> tuple[Action, ...]:
    if one.then is None:
        return (Action.DELETE,)
    return (Action.PUSH,) if one.now is None else (Action.PUSH, Action.OVERWRITE)


def _lost(manifest: Known | None, buried: Buried) -> str | None:
    """Return why a manifest can't be had, or None if it can."""
    if manifest is None:
        return "it is not there any more: it was collected, or purged"
    return buried.obstacle(manifest.id) if manifest.is_hidden else None


async def _revive(
    transaction: Transaction, counted: Counting, rights: TagRights, planned: list[_Planned], buried: Buried
) -> int:
    """Bring back what was deleted and is to have a tag again. Return how many manifests."""
    hidden = {one.then: known for one, known in planned if known is not None and known.is_hidden}
    await buried.revive(transaction, counted, [known.id for known in hidden.values()])
    facts = [_facts(digest, known) for digest, known in hidden.items()]
    await _tell(transaction, rights, events.UNDELETE, facts)
    return len(hidden)


async def _change(
    transaction: Transaction, counted: Counting, rights: TagRights, planned: list[_Planned], *, at: int
) -> None:
    """Have the tags name what they are to name, and tell of each: first of those that are named, then of the others."""
    reassigned = []
    named: list[dict[str, str | int | None]] = []
    gone: list[dict[str, str | int | None]] = []
    for one, known in planned:
        manifest_id = None if known is None else known.id
        counted.retagging(one.manifest_id, manifest_id)
        reassigned.append(Reassignment(one.tag, one.manifest_id, manifest_id, one.then))
        if known is None:
            gone.append({"digest": one.now, "tag": one.tag})
        else:
            named.append({**_facts(one.then, known), "previous": one.now, "tag": one.tag})
    move = Move(rights.principal.name, _CAUSE, address_of(rights.origin))
    await tags.change_many(transaction, counted.repository_id, reassigned, move=move, at=at)
    await _tell(transaction, rights, events.TAG, named)
    await _tell(transaction, rights, events.UNTAG, gone)


def _facts(digest: Digest | None, known: Known) -> dict[str, str | int | None]:
    return {"digest": digest, "media_type": known.media_type, "size": known.size}


async def _tell(
    transaction: Transaction, rights: TagRights, action: str, several: list[dict[str, str | int | None]]
) -> None:
    """Write down events of one kind."""
    await events.record_many(
        transaction,
        rights.repository,
        action,
        [{**facts, "cause": _CAUSE} for facts in several],
        actor=rights.principal.name,
        origin=rights.origin,
    )


async def _record(transaction: Transaction, rights: TagRights, wanted: Wanted, outcome: Outcome, revived: int) -> None:
    """Have the audit log tell of the rollback as a whole."""
    about = {
        "to": str(wanted.target),
        "tag": wanted.tag or wanted.pattern or "*",
        "changed": len(outcome.changes),
        "undeleted": revived,
        "left": len(outcome.obstacles),
        "before": shown(outcome.at - 1),
    }
    await audit.record(
        transaction,
        "rollback",
        audit.DONE,
        rights.principal.name,
        repository=rights.repository,
        address=address_of(rights.origin),
        request_id="" if rights.origin is None else rights.origin.request_id,
        detail=about,
    )


def _refusal(obstacles: list[tuple[RepositoryName, Obstacle]]) -> Exception:
    """Return what to raise: what is denied is said first, since the rest is nobody's business who may not."""
    denied = [(name, one) for name, one in obstacles if one.denied]
    name, first = (denied or obstacles)[0]
    others = f" (and {len(obstacles) - 1} more)" if len(obstacles) > 1 else ""
    if denied:
        return Denied(f"{name}:{first.tag} can't be rolled back: {first.reason}{others}; nothing was changed")
    return RollbackRefused(
        f"{name}:{first.tag} can't be {first.digest} again: {first.reason}{others}; nothing was changed",
        detail=[
            {"repository": repository, "tag": one.tag, "digest": one.digest, "reason": one.reason}
            for repository, one in obstacles
        ],
    )


async def _repositories(database: Database, project: str) -> AsyncIterator[RepositoryName]:
    """Yield the names of a project's repositories."""
    if await repositories.find(database, RepositoryName(project)) is not None:
        yield RepositoryName(project)
    after = ""
    while page := await quotas.repository_page(database, project, after=after, limit=_PAGE):
        for _, name in page:
            yield RepositoryName(name)
        after = page[-1][1]
