"""Rollback, undelete and purge: for those who may push and delete what is changed by them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from auth.errors import AuthError
from auth.names import parse_project, parse_tag_pattern
from auth.roles import Action
from registry.api.asked import Asked, Caller
from registry.api.models import Name, Said, Shown, exact_time_of, time_or_none
from registry.db import jobs
from registry.errors import RegistryError, Unavailable, ValueInvalid
from registry.moments import moment_at, parse_moment
from registry.oci.names import RepositoryName, parse_repository, parse_tag
from registry.services.purge import Purge, Purger
from registry.services.rollback import Outcome, Rollback, Target, Wanted
from registry.services.tag_rights import TagRights, tag_rights
from registry.services.undelete import Undelete
from storage.digest import Digest, parse_digest
from storage.errors import InvalidDigest

router = APIRouter(tags=["history"])

_PREVIOUS = "previous"


class NewRollback(Said):
    """What is to be as it was: one of `repository`, with or without a `tag`, and `project`.

    Attributes:
        tags: a pattern: only tags like this, in place of `tag`.
        to: a time (RFC 3339), or how long ago, like 2h; for a tag also a digest, or `previous`.
        dry_run: change nothing, and say what would be.
        partial: do what can be done, where some can't.
    """

    repository: Name | None = None
    project: Name | None = None
    tag: Name | None = None
    tags: Name | None = None
    to: Name
    dry_run: Annotated[bool, Field(alias="dryRun")] = False
    partial: bool = False


class ChangedTag(Shown):
    """A tag: what it named, and what it names now; null for no tag. `undeleted`: that had been deleted."""

    tag: str
    before: str | None
    after: str | None
    undeleted: bool


class UnchangedTag(Shown):
    """A tag that could not be as it was, `digest` being what it named then, and why."""

    tag: str
    digest: str | None
    reason: str


class RolledBack(Shown):
    """What became of a repository. `before`: the moment before, to undo it; `error`: why nothing was changed."""

    repository: str
    at: datetime | None
    before: datetime | None
    changes: list[ChangedTag]
    left: list[UnchangedTag]
    error: str | None


class RollbackResult(Shown):
    """What was done, or, with `dryRun`, would be. `to`: the moment that was gone back to; null for a tag's."""

    dry_run: bool
    to: datetime | None
    repositories: list[RolledBack]


class NewUndeletion(Said):
    """A manifest that is to be there again. `tags`: with those that went with it."""

    repository: Name
    digest: Name
    tags: bool = True


class LeftTag(Shown):
    """A tag that did not come back, and why."""

    tag: str
    reason: str


class Undeletion(Shown):
    """What came back. `undeleted`: false if the manifest was there all the time."""

    repository: str
    digest: str
    undeleted: bool
    tags: list[str]
    left: list[LeftTag]


class NewPurge(Said):
    """What is to go for good, before its time: a manifest, or a blob."""

    repository: Name
    digest: Name


class PurgedBlob(Shown):
    """A blob that is gone from the repository.

    `repositories`: others that have it, of those one may pull from. `more`: there may be others than those.
    """

    digest: str
    size: int
    repositories: list[str]
    more: bool


class LeftContent(Shown):
    """What stays, and why."""

    digest: str
    reason: str


class CopyOfDatabase(Shown):
    """A copy of the database that may still hold manifests that were purged. `keptUntil`: null if nothing ends it."""

    name: str
    made_at: datetime
    kept_until: datetime | None


class PurgeResult(Shown):
    """What is gone: from history and the database at once, and its bytes with the next collection.

    Attributes:
        manifests: the one that was asked for, and its children that nothing else named.
        copies: of the database; where one is brought back, it has the manifests again, and the blobs are missing.
    """

    repository: str
    manifests: list[str]
    blobs: list[PurgedBlob]
    left: list[LeftContent]
    copies: list[CopyOfDatabase]


@router.post("/rollbacks")
async def roll_back(asked: Caller, new: NewRollback) -> RollbackResult:
    """Have tags be as they were at a moment: those of a repository all at once, of a project one after the other."""
    with _counted(asked, "rollback", "dry_run" if new.dry_run else "done") as counted:
        name, project = await _whose(asked, new)
        wanted = await _wanted(asked, new)
        rollback = Rollback(asked.api.database, window_s=asked.api.settings.history.window)
        async with asked.alone(f"{name or project} is being rolled back"):
            if name is not None:
                done = [await rollback.repository(await _rights(asked, name), wanted)]
            else:

                async def rights(one: RepositoryName) -> TagRights:
                    return await _rights(asked, one)

                done = [one async for one in rollback.project(project, rights, wanted)]
        if any(one.error for one in done):
            counted.result = "failed"
    return RollbackResult(
        dry_run=new.dry_run,
        to=None if wanted.target.at is None else exact_time_of(wanted.target.at),
        repositories=[_rolled_back(one, new) for one in done],
    )


@router.post("/undeletions")
async def undelete(asked: Caller, new: NewUndeletion) -> Undeletion:
    """Have a manifest that was deleted be there again, with its blobs and the tags that went with it."""
    with _counted(asked, "undelete"):
        name, digest = parse_repository(new.repository), _digest(new.digest)
        await asked.be_able_to(Action.PUSH, name)
        done = await Undelete(asked.api.database).manifest(await _rights(asked, name), digest, with_tags=new.tags)
    return Undeletion(
        repository=name,
        digest=digest,
        undeleted=done.is_new,
        tags=list(done.tags),
        left=[LeftTag(tag=one.tag, reason=one.reason) for one in done.left],
    )


@router.post("/purges")
async def purge(asked: Caller, new: NewPurge) -> PurgeResult:
    """Remove a manifest that was deleted or has no name, or a blob, for good. It takes `delete` and `settings`."""
    with _counted(asked, "purge"):
        name, digest = parse_repository(new.repository), _digest(new.digest)
        await asked.be_able_to(Action.DELETE, name)
        await asked.be_able_to(Action.SETTINGS, name)
        purger = Purger(asked.api.policy, asked.principal, asked.origin)
        done = await Purge(asked.api.database).digest(name, digest, purger)
    return PurgeResult(
        repository=name,
        manifests=list(done.manifests),
        blobs=[
            PurgedBlob(digest=one.digest, size=one.size, repositories=list(one.elsewhere), more=one.more)
            for one in done.blobs
        ],
        left=[LeftContent(digest=one.digest, reason=one.reason) for one in done.left],
        copies=[
            CopyOfDatabase(name=one.name, made_at=exact_time_of(one.made_at), kept_until=time_or_none(one.kept_until))
            for one in done.copies
        ],
    )


@dataclass(slots=True)
class _Counted:
    """What is counted when a request is done, unless it is refused or fails."""

    result: str


@contextmanager
def _counted(asked: Asked, action: str, result: str = "done") -> Iterator[_Counted]:
    """Count what is done within, by what becomes of it."""
    counted = _Counted(result)
    try:
        yield counted
    except Exception as error:
        is_refused = isinstance(error, RegistryError | AuthError) and not isinstance(error, Unavailable)
        asked.api.undone(action, "refused" if is_refused else "failed")
        raise
    asked.api.undone(action, counted.result)


async def _whose(asked: Asked, new: NewRollback) -> tuple[RepositoryName | None, str]:
    """Return the repository, or the project, where whoever asks may push. Raises as `Asked.have`; ValueInvalid."""
    if (new.repository is None) == (new.project is None):
        raise ValueInvalid("say a repository, or a project")
    if new.repository is not None:
        name = parse_repository(new.repository)
        await asked.be_able_to(Action.PUSH, name)
        return name, ""
    project = parse_project(new.project or "")
    if not asked.principal.is_admin:
        await asked.have(Action.PUSH, project)
    return None, project


async def _wanted(asked: Asked, new: NewRollback) -> Wanted:
    """Return what is to be done. Raises ValueInvalid, TagInvalid, NameRefused, InvalidDigest."""
    if new.tag is not None and (new.tags is not None or new.project is not None):
        raise ValueInvalid("a tag is one of a repository; `tags` is a pattern, for several")
    return Wanted(
        await _target(asked, new.to),
        None if new.tag is None else parse_tag(new.tag),
        "" if new.tags is None else parse_tag_pattern(new.tags),
        partial=new.partial,
        dry_run=new.dry_run,
    )


async def _target(asked: Asked, text: str) -> Target:
    if text == _PREVIOUS:
        return Target()
    if ":" in text and not text[0].isdigit():
        return Target(digest=_digest(text))
    try:
        when = parse_moment(text)
    except ValueError as error:
        raise ValueInvalid(f"to: {error}; for one tag, also a digest or {_PREVIOUS}") from None
    return Target(at=moment_at(when, await jobs.clock(asked.api.database)))


async def _rights(asked: Asked, name: RepositoryName) -> TagRights:
    return await tag_rights(asked.api.policy, asked.principal, name, origin=asked.origin)


def _digest(text: str) -> Digest:
    """Read a digest. Raises ValueInvalid."""
    try:
        return parse_digest(text)
    except InvalidDigest as error:
        raise ValueInvalid(str(error)) from None


def _rolled_back(one: Outcome, new: NewRollback) -> RolledBack:
    was_done = one.at > 0 and not new.dry_run
    return RolledBack(
        repository=one.repository,
        at=exact_time_of(one.at) if was_done else None,
        before=exact_time_of(one.at - 1) if was_done else None,
        changes=[
            ChangedTag(tag=tag, before=before, after=after, undeleted=revived)
            for tag, before, after, revived in one.changes
        ],
        left=[UnchangedTag(tag=left.tag, digest=left.digest, reason=left.reason) for left in one.obstacles],
        error=one.error,
    )
