"""Locked digests: for those who may change the settings of the repository."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Response

from auth.roles import Action
from registry.api.asked import MOST, After, Asked, Caller, Limit, created, page
from registry.api.models import Name, Page, Said, Shown, Text, time_of
from registry.api.paths import collection
from registry.db import locks
from registry.errors import QueryInvalid, ValueInvalid
from registry.oci.names import RepositoryName, parse_repository
from registry.services.locks import Locks
from storage.digest import Digest, parse_digest
from storage.errors import InvalidDigest

router = APIRouter(prefix="/locks", tags=["locks"])

RepositoryQuery = Annotated[str, Query(min_length=1, max_length=255, description="Which repository.")]
DigestQuery = Annotated[str, Query(min_length=1, max_length=300, description="Which manifest.")]


class Lock(Shown):
    """A manifest that nobody deletes, and nothing collects, before it is unlocked. Its children stay with it."""

    repository: str
    digest: str
    reason: str
    created_at: datetime
    created_by: str


class NewLock(Said):
    """A manifest to be locked. `reason`: one line, told to whoever is refused for it."""

    repository: Name
    digest: Name
    reason: Text = ""


@router.get("")
async def list_locks(
    asked: Caller, response: Response, repository: RepositoryQuery, limit: Limit = MOST, after: After = ""
) -> Page[Lock]:
    """List the locks in a repository. A page begins after a digest."""
    name = await _allowed(asked, repository)
    digest = _place(after) if after else ""
    found = await locks.page(asked.api.database, name, after=digest, limit=limit + 1)
    return page(asked, response, [_shown(one) for one in found], limit, lambda one: one.digest)


@router.post("", status_code=201)
async def add_lock(asked: Caller, response: Response, new: NewLock) -> Lock:
    """Lock a manifest."""
    name, digest = await _allowed(asked, new.repository), _digest(new.digest)
    made = await Locks(asked.api.database).lock(name, digest, reason=new.reason, actor=asked.actor)
    created(asked, response, f"{collection('locks')}?repository={name}")
    return _shown(made)


@router.delete("", status_code=204)
async def remove_lock(asked: Caller, repository: RepositoryQuery, digest: DigestQuery) -> None:
    """Unlock a manifest."""
    name = await _allowed(asked, repository)
    await Locks(asked.api.database).unlock(name, _digest(digest), actor=asked.actor)


async def _allowed(asked: Asked, text: str) -> RepositoryName:
    """Return a repository in which whoever asks may lock. Raises RecordUnknown, Denied, NameInvalid."""
    name = parse_repository(text)
    await asked.be_able_to(Action.SETTINGS, name)
    return name


def _digest(text: str) -> Digest:
    try:
        return parse_digest(text)
    except InvalidDigest as error:
        raise ValueInvalid(str(error)) from None


def _place(text: str) -> Digest:
    try:
        return parse_digest(text)
    except InvalidDigest:
        raise QueryInvalid("after: expected what the page before has as `next`") from None


def _shown(lock: locks.Lock) -> Lock:
    return Lock(
        repository=lock.repository,
        digest=lock.digest,
        reason=lock.reason,
        created_at=time_of(lock.created_at),
        created_by=lock.created_by,
    )
