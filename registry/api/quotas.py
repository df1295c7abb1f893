"""Quotas: seen by whoever may know of the project, set and counted again by system admins."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal

from fastapi import APIRouter, Response
from pydantic import Field

from registry.api import conditions
from registry.api.asked import MOST, After, Asked, Caller, Limit, page
from registry.api.conditions import IfMatch, Represent, etag_of
from registry.api.models import NameInPath, Page, Said, Shown
from registry.api.projects import visible_projects
from registry.db import projects, quotas
from registry.db.connection import Database, Reader, Transaction
from registry.db.quota_items import Counts
from registry.errors import ValueInvalid
from registry.services import audit
from registry.services.quotas import Limits, Quotas

router = APIRouter(tags=["quotas"])

CountsName = Literal["all", "tagged", "visible"]
"""`registry.db.quota_items.Counts`; a test compares them."""

Most = Annotated[int | None, Field(ge=0, le=2**62)]


class Held(Shown):
    """How much a project may hold of something, null for any, and how much it holds: 0 without a quota."""

    limit: int | None
    used: int


class Quota(Shown):
    """What a project may hold. `counts`: what counts, null without a quota; `counted`: whether `used` is all of it."""

    BY_USE: ClassVar[Mapping[str, Any]] = {"bytes": {"used": True}, "tags": {"used": True}, "counted": True}

    project: str
    bytes: Held
    tags: Held
    counts: CountsName | None
    counted: bool


class QuotaChange(Said):
    """What is to be changed of a quota; what is left out stays as it is. Null for no limit."""

    bytes: Most = None
    tags: Most = None
    counts: CountsName | None = None


class Compared(Shown):
    """What was said to be used, and what is."""

    was: int
    is_: Annotated[int, Field(alias="is")]


class Counted(Shown):
    """What was counted. `right`: whether that was what was recorded; if not, it is repaired."""

    project: str
    right: bool
    bytes: Compared
    tags: Compared


@router.get("/quotas")
async def list_quotas(asked: Caller, response: Response, limit: Limit = MOST, after: After = "") -> Page[Quota]:
    """List the quotas of the projects that whoever asks may know of."""
    asked.be_anybody()
    reader = asked.api.database
    found: list[Quota] = []
    visible = await visible_projects(asked)
    while len(found) <= limit:
        names = await quotas.limited(reader, after=after, limit=limit + 1)
        for name in names:
            if visible is None or name in visible:
                found += [] if (project := await projects.find(reader, name)) is None else [_quota(project)]
        if len(names) <= limit:
            break
        after = names[-1]
    return page(asked, response, found[: limit + 1], limit, lambda one: one.project)


@router.get("/projects/{project}/quota")
async def show_quota(asked: Caller, response: Response, project: NameInPath) -> Quota:
    """Show what a project may hold, and what it does."""
    await asked.see(project)
    return _tagged(response, await _shown(project)(asked.api.database))


@router.patch("/projects/{project}/quota")
async def change_quota(
    asked: Caller, response: Response, project: NameInPath, new: QuotaChange, if_match: IfMatch = None
) -> Quota:
    """Limit what a project may hold, from now on. What is there is counted by a job, or by counting it again."""
    await asked.see(project)
    asked.be_admin()

    record = _recording(asked, "quota.set", project)

    async def work(database: Database) -> None:
        service = Quotas(database)
        limits = _limits(asked, new, await projects.known(database, project))
        detail = {"bytes": limits.bytes, "tags": limits.tags, "counts": limits.counts}
        await service.set(project, limits, changed=lambda tx: record(tx, detail))

    await Quotas(asked.api.database).forget(project)  # what a quota that was taken away left, if anything
    return _tagged(response, await conditions.change(asked, _shown(project), work))


@router.delete("/projects/{project}/quota", status_code=204)
async def remove_quota(asked: Caller, project: NameInPath, if_match: IfMatch = None) -> None:
    """Take a project's quota away."""
    await asked.see(project)
    asked.be_admin()

    record = _recording(asked, "quota.clear", project)

    async def work(database: Database) -> None:
        await Quotas(database).clear(project, changed=lambda tx: record(tx, {}))

    await conditions.remove(asked, _shown(project), work)
    await Quotas(asked.api.database).forget(project)


@router.post("/projects/{project}/quota/count")
async def count_quota(asked: Caller, project: NameInPath) -> Counted:
    """Count again what a project holds, and repair what was counted wrongly. Pushes go on meanwhile. May take long."""
    await asked.see(project)
    asked.be_admin()
    async with asked.alone(f"what {project} holds is counted"):
        found = await Quotas(asked.api.database).count(project)
    record = _recording(asked, "quota.count", project)
    await asked.api.database.write(lambda tx: record(tx, {"right": found.right}))
    was_bytes, was_tags = found.was
    is_bytes, is_tags = found.now
    return Counted(
        project=project,
        right=found.right,
        bytes=Compared(was=was_bytes, is_=is_bytes),
        tags=Compared(was=was_tags, is_=is_tags),
    )


def _limits(asked: Asked, new: QuotaChange, before: projects.Project) -> Limits:
    """Return what is to be. Raises ValueInvalid: it limits nothing."""
    said = new.model_fields_set
    counts = new.counts or (before.quota_counts if _is_limited(before) else asked.api.settings.quotas.counts)
    limits = Limits(
        new.bytes if "bytes" in said else before.quota_bytes,
        new.tags if "tags" in said else before.quota_tags,
        Counts(counts),
    )
    if limits.bytes is None and limits.tags is None:
        raise ValueInvalid(f"nothing would be limited: `stowage quota clear {before.name}` takes a quota away")
    return limits


def _recording(asked: Asked, action: str, project: str) -> Callable[[Transaction, Mapping[str, Any]], Awaitable[None]]:
    """Return what records a change in its transaction. Where the request is from is known here, and not there."""
    origin = asked.origin

    async def record(transaction: Transaction, detail: Mapping[str, Any]) -> None:
        await audit.record(
            transaction,
            action,
            audit.DONE,
            asked.actor,
            project=project,
            address=origin.address,
            request_id=origin.request_id,
            detail=detail,
        )

    return record


def _tagged(response: Response, shown: Quota) -> Quota:
    response.headers["etag"] = etag_of(shown)
    return shown


def _shown(name: str) -> Represent[Quota]:
    async def represent(reader: Reader) -> Quota:
        return _quota(await projects.known(reader, name))

    return represent


def _quota(found: projects.Project) -> Quota:
    return Quota(
        project=found.name,
        bytes=Held(limit=found.quota_bytes, used=found.used_bytes),
        tags=Held(limit=found.quota_tags, used=found.used_tags),
        counts=Counts(found.quota_counts).value if _is_limited(found) else None,
        counted=found.counted_at is not None,
    )


def _is_limited(project: projects.Project) -> bool:
    return project.quota_bytes is not None or project.quota_tags is not None
