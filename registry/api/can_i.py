"""May somebody do something, and why: of oneself for everybody, of others for those who may grant there."""

from typing import Annotated

from fastapi import APIRouter, Query

from auth.grants import project_of
from auth.roles import Action
from registry.api.asked import Caller
from registry.api.models import Shown
from registry.api.roles import ActionName
from registry.oci.names import parse_repository, parse_tag

router = APIRouter(tags=["can-i"])


class Explanation(Shown):
    """An answer, and why. `roles`: which would allow it, where no grant does."""

    subject: str
    allowed: bool
    reason: str
    roles: list[str]
    notes: list[str]


@router.get("/can-i")
async def can_i(
    asked: Caller,
    action: Annotated[ActionName, Query()],
    repository: Annotated[
        str | None, Query(min_length=1, max_length=255, description="Where; without it, in the whole registry.")
    ] = None,
    tag: Annotated[str | None, Query(min_length=1, max_length=128)] = None,
    subject: Annotated[
        str | None, Query(min_length=1, max_length=300, description="Who; without it, whoever asks.")
    ] = None,
) -> Explanation:
    """Say whether somebody may do something, and which grant allows it, or what is missing."""
    asked.be_anybody()
    name = None if repository is None else parse_repository(repository)
    is_oneself = subject is None or subject == asked.actor
    if not is_oneself:
        if name is None or asked.principal.is_admin:
            asked.be_admin()
        else:
            await asked.have(Action.GRANT, project_of(name))
    found = await asked.api.explaining.explain(
        subject or asked.actor,
        action,
        name,
        None if tag is None else parse_tag(tag),
        known=asked.principal if is_oneself else None,
    )
    # Who may not know of a project is not told that it is not there.
    knows = name is None or await asked.api.policy.sees_project(asked.principal, project_of(name))
    return Explanation(
        subject=subject or asked.actor,
        allowed=found.decision.allowed,
        reason=found.decision.reason,
        roles=list(found.roles),
        notes=list(found.notes) if knows or asked.principal.is_admin else [],
    )
