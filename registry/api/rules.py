"""Rules about tags: in a project for those who may change its settings, in the whole registry for system admins."""

from typing import Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import Field

from auth.grants import TagRule
from auth.roles import Action
from registry.api.asked import MOST, After, Asked, Caller, Limit, after_number, created, page
from registry.api.models import Name, NameInPath, Number, Page, Said, Shown, Text
from registry.api.paths import EVERYWHERE, collection
from registry.errors import RecordUnknown

router = APIRouter(tags=["rules"])

DeniedName = Literal["delete", "overwrite", "push"]
"""`registry.services.granting.RULED`; a test compares them."""


class Rule(Shown):
    """What nobody may do to tags that match, but those that `except` names. `project` null: in the whole registry.

    `immutable`: tags that are there stay as they are, since it denies delete and overwrite, and excepts nobody.
    """

    id: int
    project: str | None
    tag: str
    deny: list[str]
    except_: Annotated[list[str], Field(alias="except")]
    repositories: str | None
    immutable: bool


class NewRule(Said):
    """A rule to be made. `repositories`: a pattern, where it is to be about some of the project's, or registry's."""

    tag: Name
    deny: Annotated[list[DeniedName], Field(min_length=1, max_length=10)]
    except_: Annotated[list[Name], Field(alias="except", max_length=100, default_factory=list)]
    repositories: Text | None = None


@router.get("/rules")
async def list_rules(asked: Caller, response: Response, limit: Limit = MOST, after: After = "") -> Page[Rule]:
    """List the rules in the whole registry."""
    asked.be_admin()
    return await _page(asked, response, EVERYWHERE, limit, after)


@router.post("/rules", status_code=201)
async def add_rule(asked: Caller, response: Response, new: NewRule) -> Rule:
    """Make a rule in the whole registry. It wins over every grant, and over being a system admin."""
    asked.be_admin()
    return await _add(asked, response, EVERYWHERE, new)


@router.get("/rules/{rule}")
async def show_rule(asked: Caller, rule: Number) -> Rule:
    """Show a rule in the whole registry."""
    asked.be_admin()
    return await _find(asked, EVERYWHERE, rule)


@router.delete("/rules/{rule}", status_code=204)
async def remove_rule(asked: Caller, rule: Number) -> None:
    """Remove a rule in the whole registry."""
    asked.be_admin()
    await asked.api.granting.remove_rule(EVERYWHERE, rule, actor=asked.actor)


@router.get("/projects/{project}/rules")
async def list_rules_in_project(
    asked: Caller, response: Response, project: NameInPath, limit: Limit = MOST, after: After = ""
) -> Page[Rule]:
    """List the rules in a project."""
    await asked.have(Action.SETTINGS, project)
    return await _page(asked, response, project, limit, after)


@router.post("/projects/{project}/rules", status_code=201)
async def add_rule_in_project(asked: Caller, response: Response, project: NameInPath, new: NewRule) -> Rule:
    """Make a rule in a project. It wins over every grant, and over being a system admin."""
    await asked.have(Action.SETTINGS, project)
    return await _add(asked, response, project, new)


@router.get("/projects/{project}/rules/{rule}")
async def show_rule_in_project(asked: Caller, project: NameInPath, rule: Number) -> Rule:
    """Show a rule in a project."""
    await asked.have(Action.SETTINGS, project)
    return await _find(asked, project, rule)


@router.delete("/projects/{project}/rules/{rule}", status_code=204)
async def remove_rule_in_project(asked: Caller, project: NameInPath, rule: Number) -> None:
    """Remove a rule in a project."""
    await asked.have(Action.SETTINGS, project)
    await asked.api.granting.remove_rule(project, rule, actor=asked.actor)


async def _add(asked: Asked, response: Response, project: str, new: NewRule) -> Rule:
    actions = frozenset(Action(word) for word in new.deny)
    rule = TagRule(new.tag, actions, frozenset(new.except_), project, new.repositories or "")
    number = await asked.api.granting.add_rule(rule, actor=asked.actor)
    created(asked, response, f"{collection('rules', project)}/{number}")
    return _rule(number, rule)


async def _find(asked: Asked, project: str, number: int) -> Rule:
    found = await asked.api.granting.rules(project, after=number - 1, most=1)
    if number not in found:
        raise RecordUnknown(f"there is no rule {number} there")
    return _rule(number, found[number])


async def _page(asked: Asked, response: Response, project: str, limit: int, after: str) -> Page[Rule]:
    found = await asked.api.granting.rules(project, after=after_number(after), most=limit + 1)
    shown = [_rule(number, rule) for number, rule in found.items()]
    return page(asked, response, shown, limit, lambda one: str(one.id))


def _rule(number: int, rule: TagRule) -> Rule:
    return Rule(
        id=number,
        project=rule.project or None,
        tag=rule.tag,
        deny=sorted(rule.actions),
        except_=sorted(rule.excepted),
        repositories=rule.pattern or None,
        immutable=rule.is_immutable,
    )
