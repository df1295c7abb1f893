"""What tags were, and what was deleted: for those who may pull from the repository."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response

from auth.roles import Action
from registry.api.asked import MOST, After, Asked, Caller, Limit, page
from registry.api.models import Page, Shown, exact_time_of
from registry.db import history, repositories, retained_tags
from registry.db.history import Deleted, Entry, Place
from registry.errors import QueryInvalid, RecordUnknown
from registry.oci.names import RepositoryName, Tag, parse_repository, parse_tag
from storage.digest import Digest

router = APIRouter(prefix="/history", tags=["history"])

_PLACE = re.compile(r"([0-9]{1,17})-([0-9]{1,17})", re.ASCII).fullmatch

RepositoryQuery = Annotated[str, Query(min_length=1, max_length=255, description="Which repository.")]


class Assignment(Shown):
    """What a tag was, or is: then `endedAt` is null.

    `startedFrom` and `endedFrom` are addresses; null for whoever may not push to the repository. `cause` and
    `endedCause`: what did it, like push, delete, rollback; "" where that was not written down. `content`: whether the
    manifest is there, was deleted and can be had back, or is gone. `expiresAt`: when the tag goes by itself, as a label
    of its image says; null for not at all, and for what it was before.
    """

    tag: str
    digest: str
    started_at: datetime
    started_by: str
    started_from: str | None
    cause: str
    ended_at: datetime | None
    ended_by: str | None
    ended_from: str | None
    ended_cause: str | None
    expires_at: datetime | None
    content: Literal["there", "deleted", "gone"]


class DeletedManifest(Shown):
    """A manifest that was deleted. `tags`: that went with it. `until`: so long it can be had back, at least."""

    digest: str
    media_type: str
    size: int
    deleted_at: datetime
    deleted_by: str | None
    tags: list[str]
    until: datetime


@router.get("")
async def list_history(
    asked: Caller,
    response: Response,
    repository: RepositoryQuery,
    tag: Annotated[str | None, Query(min_length=1, max_length=128, description="Only this tag.")] = None,
    removed: Annotated[bool, Query(description="What tags were that are not there any more, last gone first.")] = False,
    limit: Limit = MOST,
    after: After = "",
) -> Page[Assignment]:
    """List what the tags of a repository were, and are, what began last first."""
    name, repository_id = await _find(asked, repository)
    if removed and tag is not None:
        raise QueryInvalid("removed: tells of all tags of a repository; say it without `tag`")
    wanted = None if tag is None else parse_tag(tag)
    found = await history.page(
        asked.api.database, repository_id, tag=wanted, removed=removed, after=_place(after), limit=limit + 1
    )
    shows_addresses = asked.principal.is_admin or await asked.api.policy.allows(asked.principal, Action.PUSH, name)
    current = [one.tag for one in found if one.ended_at is None]
    ending = await retained_tags.ending(asked.api.database, repository_id, current)
    shown = [_assignment(one, ending, shows_addresses=shows_addresses) for one in found]
    places = {id(one): entry for one, entry in zip(shown, found, strict=True)}

    def place(one: Assignment) -> str:
        entry = places[id(one)]
        return f"{entry.ended_at if removed else entry.started_at}-{entry.id}"

    return page(asked, response, shown, limit, place)


@router.get("/deleted")
async def list_deleted(
    asked: Caller, response: Response, repository: RepositoryQuery, limit: Limit = MOST, after: After = ""
) -> Page[DeletedManifest]:
    """List the manifests of a repository that were deleted and can be had back, the last first."""
    _, repository_id = await _find(asked, repository)
    database, window_us = asked.api.database, asked.api.settings.history.window * 1_000_000
    found = await history.deleted(database, repository_id, after=_place(after), limit=limit + 1)
    went = await history.went_with(database, repository_id, [(one.digest, one.deleted_at) for one in found])
    shown = [_deleted(one, went[one.digest, one.deleted_at], window_us) for one in found]
    places = {one.digest: f"{one.deleted_at}-{one.id}" for one in found}
    return page(asked, response, shown, limit, lambda one: places[Digest(one.digest)])


async def _find(asked: Asked, text: str) -> tuple[RepositoryName, int]:
    """Return a repository that whoever asks may pull from. Raises RecordUnknown, Denied, NameInvalid."""
    name = parse_repository(text)
    await asked.be_able_to(Action.PULL, name)
    found = await repositories.find(asked.api.database, name)
    if found is None:
        raise RecordUnknown(f"there is no repository {name}")
    return name, found


def _place(text: str) -> Place | None:
    if not text:
        return None
    match = _PLACE(text)
    if match is None:
        raise QueryInvalid("after: expected what the page before has as `next`")
    return Place(int(match[1]), int(match[2]))


def _assignment(one: Entry, ending: Mapping[tuple[Tag, Digest], int], *, shows_addresses: bool) -> Assignment:
    content: Literal["there", "deleted", "gone"] = "there" if one.is_there else "gone"
    ended = one.ended_at is not None
    expires_at = None if ended else ending.get((one.tag, one.digest))
    return Assignment(
        tag=one.tag,
        digest=one.digest,
        started_at=exact_time_of(one.started_at),
        started_by=one.started_by,
        started_from=one.started_from if shows_addresses else None,
        cause=one.cause,
        ended_at=None if one.ended_at is None else exact_time_of(one.ended_at),
        ended_by=one.ended_by,
        ended_from=one.ended_from if shows_addresses and ended else None,
        ended_cause=one.ended_cause if ended else None,
        expires_at=None if expires_at is None else exact_time_of(expires_at),
        content="deleted" if one.is_hidden else content,
    )


def _deleted(one: Deleted, went: list[tuple[Tag, str]], window_us: int) -> DeletedManifest:
    return DeletedManifest(
        digest=one.digest,
        media_type=one.media_type,
        size=one.size,
        deleted_at=exact_time_of(one.deleted_at),
        deleted_by=went[0][1] if went else None,
        tags=[tag for tag, _ in went],
        until=exact_time_of(one.deleted_at + window_us),
    )
