"""Retention policies: in a project for those who may change its settings and delete in it, else for system admins.

A policy deletes, so it takes both: nobody who may not delete gets somebody else to.
"""

import base64
import json
import re
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Response

from auth.roles import Action
from registry.api import conditions
from registry.api.asked import MOST, After, Asked, Caller, Limit, after_number, created, page
from registry.api.conditions import IfMatch, Represent, etag_of
from registry.api.models import NameInPath, Page, time_of, time_or_none
from registry.api.paths import EVERYWHERE, collection
from registry.api.retention_models import (
    DroppedTag,
    NewRetentionPolicy,
    RetentionPolicy,
    RetentionPolicyChange,
    RetentionRule,
    RetentionRun,
    TagDecision,
)
from registry.db import retention
from registry.db.connection import Database, Reader
from registry.errors import QueryInvalid
from registry.jobs.retain import run_now
from registry.oci.names import is_tag
from registry.services.retention_policies import RetentionPolicies, find_policy
from registry.services.tag_retention import Judged, Place, Retention

router = APIRouter(tags=["retention"])

_NEWEST = 2**62
_NAME = re.compile(r"[a-z0-9._/-]{1,255}").fullmatch
"""Also such as nobody can push to, but were imported."""
Position = Annotated[str, Query(max_length=8192, pattern="^[A-Za-z0-9_=-]*$", description="`next` of the page before.")]


@router.get("/retention")
async def list_retention_policies(
    asked: Caller, response: Response, limit: Limit = MOST, after: After = ""
) -> Page[RetentionPolicy]:
    """List the policies for the whole registry."""
    return await _page(asked, response, EVERYWHERE, limit, after)


@router.post("/retention", status_code=201)
async def add_retention_policy(asked: Caller, response: Response, new: NewRetentionPolicy) -> RetentionPolicy:
    """Make a policy for the whole registry. What no rule keeps of the tags that some rule is about is removed."""
    return await _add(asked, response, EVERYWHERE, new)


@router.get("/retention/{policy}")
async def show_retention_policy(asked: Caller, response: Response, policy: NameInPath) -> RetentionPolicy:
    """Show a policy for the whole registry."""
    return await _show(asked, response, EVERYWHERE, policy)


@router.patch("/retention/{policy}")
async def change_retention_policy(
    asked: Caller, response: Response, policy: NameInPath, new: RetentionPolicyChange, if_match: IfMatch = None
) -> RetentionPolicy:
    """Change a policy for the whole registry."""
    return await _change(asked, response, EVERYWHERE, policy, new)


@router.delete("/retention/{policy}", status_code=204)
async def remove_retention_policy(asked: Caller, policy: NameInPath, if_match: IfMatch = None) -> None:
    """Remove a policy for the whole registry, with what is remembered of its runs."""
    await _remove(asked, EVERYWHERE, policy)


@router.get("/retention/{policy}/preview")
async def preview_retention(
    asked: Caller, response: Response, policy: NameInPath, limit: Limit = MOST, after: Position = ""
) -> Page[TagDecision]:
    """Say of each tag that a policy for the whole registry is about whether it would stay, and why."""
    return await _preview(asked, response, EVERYWHERE, policy, limit, after)


@router.get("/retention/{policy}/runs")
async def list_retention_runs(
    asked: Caller, response: Response, policy: NameInPath, limit: Limit = MOST, after: After = ""
) -> Page[RetentionRun]:
    """List the runs of a policy for the whole registry, the latest first."""
    return await _runs(asked, response, EVERYWHERE, policy, limit, after)


@router.post("/retention/{policy}/runs", status_code=201)
async def run_retention(asked: Caller, policy: NameInPath) -> RetentionRun:
    """Run a policy for the whole registry now. May take long; it goes on if nobody waits for the answer."""
    return await _run(asked, EVERYWHERE, policy)


@router.get("/projects/{project}/retention")
async def list_retention_policies_in_project(
    asked: Caller, response: Response, project: NameInPath, limit: Limit = MOST, after: After = ""
) -> Page[RetentionPolicy]:
    """List the policies of a project."""
    return await _page(asked, response, project, limit, after)


@router.post("/projects/{project}/retention", status_code=201)
async def add_retention_policy_in_project(
    asked: Caller, response: Response, project: NameInPath, new: NewRetentionPolicy
) -> RetentionPolicy:
    """Make a policy of a project. What no rule keeps of the tags that some rule is about is removed."""
    return await _add(asked, response, project, new)


@router.get("/projects/{project}/retention/{policy}")
async def show_retention_policy_in_project(
    asked: Caller, response: Response, project: NameInPath, policy: NameInPath
) -> RetentionPolicy:
    """Show a policy of a project."""
    return await _show(asked, response, project, policy)


@router.patch("/projects/{project}/retention/{policy}")
async def change_retention_policy_in_project(
    asked: Caller,
    response: Response,
    project: NameInPath,
    policy: NameInPath,
    new: RetentionPolicyChange,
    if_match: IfMatch = None,
) -> RetentionPolicy:
    """Change a policy of a project."""
    return await _change(asked, response, project, policy, new)


@router.delete("/projects/{project}/retention/{policy}", status_code=204)
async def remove_retention_policy_in_project(
    asked: Caller, project: NameInPath, policy: NameInPath, if_match: IfMatch = None
) -> None:
    """Remove a policy of a project, with what is remembered of its runs."""
    await _remove(asked, project, policy)


@router.get("/projects/{project}/retention/{policy}/preview")
async def preview_retention_in_project(
    asked: Caller,
    response: Response,
    project: NameInPath,
    policy: NameInPath,
    limit: Limit = MOST,
    after: Position = "",
) -> Page[TagDecision]:
    """Say of each tag that a policy of a project is about whether it would stay, and why."""
    return await _preview(asked, response, project, policy, limit, after)


@router.get("/projects/{project}/retention/{policy}/runs")
async def list_retention_runs_in_project(
    asked: Caller, response: Response, project: NameInPath, policy: NameInPath, limit: Limit = MOST, after: After = ""
) -> Page[RetentionRun]:
    """List the runs of a policy of a project, the latest first."""
    return await _runs(asked, response, project, policy, limit, after)


@router.post("/projects/{project}/retention/{policy}/runs", status_code=201)
async def run_retention_in_project(asked: Caller, project: NameInPath, policy: NameInPath) -> RetentionRun:
    """Run a policy of a project now. May take long; it goes on if nobody waits for the answer."""
    return await _run(asked, project, policy)


async def _be_able_to(asked: Asked, project: str) -> None:
    """Return if whoever asks may have to do with the policies of a project, "" for the whole registry."""
    if not project:
        asked.be_admin()
        return
    await asked.have(Action.SETTINGS, project)
    await asked.have(Action.DELETE, project)


async def _page(asked: Asked, response: Response, project: str, limit: int, after: str) -> Page[RetentionPolicy]:
    await _be_able_to(asked, project)
    found = await RetentionPolicies(asked.api.database).page(project, after=after, most=limit + 1)
    return page(asked, response, [_policy(one) for one in found], limit, lambda one: one.name)


async def _add(asked: Asked, response: Response, project: str, new: NewRetentionPolicy) -> RetentionPolicy:
    await _be_able_to(asked, project)
    await RetentionPolicies(asked.api.database).add(
        project,
        new.name,
        rules=_documents(new.rules),
        schedule=new.schedule,
        is_enabled=new.enabled,
        actor=asked.actor,
    )
    created(asked, response, f"{collection('retention', project)}/{quote(new.name, safe='')}")
    return await _show(asked, response, project, new.name)


async def _show(asked: Asked, response: Response, project: str, name: str) -> RetentionPolicy:
    await _be_able_to(asked, project)
    return _tagged(response, await _shown(project, name)(asked.api.database))


async def _change(
    asked: Asked, response: Response, project: str, name: str, new: RetentionPolicyChange
) -> RetentionPolicy:
    await _be_able_to(asked, project)

    async def work(database: Database) -> None:
        await RetentionPolicies(database).change(
            project,
            name,
            rules=None if new.rules is None else _documents(new.rules),
            schedule=new.schedule,
            is_enabled=new.enabled,
            actor=asked.actor,
        )

    return _tagged(response, await conditions.change(asked, _shown(project, name), work))


async def _remove(asked: Asked, project: str, name: str) -> None:
    await _be_able_to(asked, project)

    async def work(database: Database) -> None:
        await RetentionPolicies(database).remove(project, name, actor=asked.actor)

    await conditions.remove(asked, _shown(project, name), work)


async def _preview(
    asked: Asked, response: Response, project: str, name: str, limit: int, after: str
) -> Page[TagDecision]:
    await _be_able_to(asked, project)
    policy = await find_policy(asked.api.database, project, name)
    found: list[tuple[Judged, Place]] = []
    async with asked.alone(f"policy {policy.name} of {project or 'the whole registry'} is looked at"):
        async for one in _retention(asked).preview(policy, _place(after)):
            found.append(one)
            if len(found) > limit:
                break
    shown = [_decision(judged) for judged, _ in found]
    places = {id(one): place for one, (_, place) in zip(shown, found, strict=True)}
    return page(asked, response, shown, limit, lambda one: _written(places[id(one)]))


async def _runs(
    asked: Asked, response: Response, project: str, name: str, limit: int, after: str
) -> Page[RetentionRun]:
    await _be_able_to(asked, project)
    policy = await find_policy(asked.api.database, project, name)
    before = after_number(after) or _NEWEST
    found = await retention.runs(asked.api.database, policy.id, before=before, limit=limit + 1)
    return page(asked, response, [_ran(one) for one in found], limit, lambda one: str(one.id))


async def _run(asked: Asked, project: str, name: str) -> RetentionRun:
    await _be_able_to(asked, project)
    policy = await find_policy(asked.api.database, project, name)
    return _ran(await run_now(asked.api.database, _retention(asked), policy, by=asked.actor))


def _retention(asked: Asked) -> Retention:
    return Retention(asked.api.database, audited=asked.api.settings.requests_are_audited)


def _documents(rules: list[RetentionRule]) -> list[dict[str, Any]]:
    return [rule.model_dump(exclude_none=True) for rule in rules]


def _tagged(response: Response, shown: RetentionPolicy) -> RetentionPolicy:
    response.headers["etag"] = etag_of(shown)
    return shown


def _shown(project: str, name: str) -> Represent[RetentionPolicy]:
    async def represent(reader: Reader) -> RetentionPolicy:
        return _policy(await find_policy(reader, project, name))

    return represent


def _policy(found: retention.Policy) -> RetentionPolicy:
    return RetentionPolicy(
        project=found.project or None,
        name=found.name,
        rules=[RetentionRule.model_validate(rule) for rule in json.loads(found.rules)],
        schedule=found.schedule,
        enabled=found.is_enabled,
        due_at=time_or_none(found.due_at),
        created_at=time_of(found.created_at),
        created_by=found.created_by,
    )


def _ran(run: retention.Run) -> RetentionRun:
    outcome = json.loads(run.outcome)
    return RetentionRun(
        id=run.id,
        state=outcome["state"],
        by=outcome["by"],
        began_at=time_of(run.began_at),
        ended_at=time_or_none(run.ended_at),
        repositories=outcome["repositories"],
        kept=run.kept,
        dropped=run.dropped,
        examples=[DroppedTag.model_validate(one) for one in outcome["examples"]],
        error=outcome.get("error"),
    )


def _decision(judged: Judged) -> TagDecision:
    return TagDecision(
        repository=judged.repository,
        tag=judged.facts.name,
        digest=judged.facts.digest,
        stays=judged.decision.stays,
        reason=judged.decision.reason,
    )


def _written(place: Place) -> str:
    """Return a place as text: a page goes on by the same moment and bounds as the one before."""
    return base64.urlsafe_b64encode(
        json.dumps([place.repository, place.tag, place.at, [*place.bounds.items()]], separators=(",", ":")).encode()
    ).decode()


def _place(text: str) -> Place | None:
    if not text:
        return None
    try:
        repository, tag, at, bounds = json.loads(base64.urlsafe_b64decode(text))
        known = {int(number): (int(rank[0]), str(rank[1])) for number, rank in bounds}
        place = Place(str(repository), str(tag), int(at), known)
    except (ValueError, TypeError, IndexError, OverflowError, RecursionError):
        place = Place("", "", 0, {})
    if _NAME(place.repository) is None or not is_tag(place.tag):
        raise QueryInvalid("after: expected what the page before has as `next`")
    return place
