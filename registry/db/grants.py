"""Grants, own roles, and rules that deny."""

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import delete, func, literal, select, update
from sqlalchemy.dialects import postgresql

from auth.grants import Grant, TagRule
from auth.roles import Action
from registry.db.connection import Reader, Transaction
from registry.db.projects import EVERYWHERE
from registry.db.statements import Rows, Statement, now, one_of, parameter, turn_of
from registry.db.tables import grants, projects, roles, tag_rules

ALL = 2**62
"""As many as there are."""


class Given(NamedTuple):
    """A grant as it was recorded. `project`: its name, "" for the whole registry."""

    id: int
    project: str
    pattern: str
    role: str
    subject: str
    created_at: int
    created_by: str


_GIVEN = (
    grants.c.id,
    projects.c.name,
    grants.c.pattern,
    grants.c.role,
    grants.c.subject,
    grants.c.created_at,
    grants.c.created_by,
)
_OF_PROJECT = Statement(
    select(*_GIVEN)
    .outerjoin(projects, projects.c.id == grants.c.project_id)
    .where(grants.c.project_id == parameter("project_id"))
    .order_by(grants.c.id)
)
_page = (
    select(*_GIVEN)
    .outerjoin(projects, projects.c.id == grants.c.project_id)
    .where(grants.c.id > parameter("after"))
    .order_by(grants.c.id)
    .limit(parameter("most"))
)
_PAGE_OF_PROJECT = Statement(_page.where(grants.c.project_id == parameter("project_id")))
_PAGE_OF_SUBJECT = Statement(_page.where(grants.c.subject == parameter("who")))
_PAGE_OF_BOTH = Statement(
    _page.where(grants.c.project_id == parameter("project_id"), grants.c.subject == parameter("who"))
)
_ADD = Statement(
    postgresql.insert(grants)
    .values(
        project_id=parameter("project_id"),
        pattern=parameter("pattern"),
        role=parameter("role"),
        subject=parameter("subject"),
        created_at=now(),
        created_by=parameter("actor"),
    )
    .on_conflict_do_nothing()
)
_REMOVE = Statement(
    delete(grants).where(
        grants.c.project_id == parameter("scope_id"),
        grants.c.pattern == parameter("like"),
        grants.c.role == parameter("what"),
        grants.c.subject == parameter("who"),
    )
)
_REMOVE_OF_PROJECT = Statement(delete(grants).where(grants.c.project_id == parameter("scope_id")))
_REMOVE_OF_SUBJECT = Statement(delete(grants).where(grants.c.subject == parameter("who")))
_OF_SUBJECTS = Statement(
    select(grants.c.role, grants.c.subject, projects.c.name, grants.c.pattern)
    .outerjoin(projects, projects.c.id == grants.c.project_id)
    .where(one_of(grants.c.subject, "subjects"))
)
_ROLES = Statement(select(roles.c.name, roles.c.actions).order_by(roles.c.name))
_ADD_ROLE = Statement(
    postgresql.insert(roles)
    .values(name=parameter("name"), actions=parameter("actions"), created_at=now())
    .on_conflict_do_nothing()
)
_REMOVE_ROLE = Statement(delete(roles).where(roles.c.name == parameter("what")))
_ROLE_IN_USE = Statement(select(grants.c.id).where(grants.c.role == parameter("what")).limit(1))
_rules = (
    select(tag_rules.c.id, tag_rules.c.tag, tag_rules.c.actions, tag_rules.c.except_subjects, tag_rules.c.pattern)
    .where(tag_rules.c.project_id == parameter("project_id"))
    .order_by(tag_rules.c.id)
)
_RULES = Statement(_rules)
_PAGE_OF_RULES = Statement(_rules.where(tag_rules.c.id > parameter("after")).limit(parameter("most")))
_RULES_ABOUT = Statement(
    select(
        tag_rules.c.id,
        tag_rules.c.tag,
        tag_rules.c.actions,
        tag_rules.c.except_subjects,
        tag_rules.c.pattern,
        projects.c.name,
    )
    .outerjoin(projects, projects.c.id == tag_rules.c.project_id)
    .where(
        (tag_rules.c.project_id == literal(EVERYWHERE))
        | (
            tag_rules.c.project_id
            == select(projects.c.id).where(projects.c.name == parameter("project")).scalar_subquery()
        )
    )
    .order_by(tag_rules.c.id)
)
_TURN_TO_OBEY = Statement(select(turn_of("turn", share=True)))
_TURN_TO_RULE = Statement(select(turn_of("turn")))
_TURN = "rules about tags"
_ADD_RULE = Statement(
    postgresql.insert(tag_rules).values(
        project_id=parameter("project_id"),
        pattern=parameter("pattern"),
        tag=parameter("tag"),
        actions=parameter("actions"),
        except_subjects=parameter("excepted"),
        created_at=now(),
        created_by=parameter("actor"),
    )
)
_REMOVE_RULE = Statement(
    delete(tag_rules).where(tag_rules.c.id == parameter("rule_id"), tag_rules.c.project_id == parameter("scope_id"))
)
_EXCEPTIONS = Statement(
    select(tag_rules.c.id, tag_rules.c.except_subjects).where(func.length(tag_rules.c.except_subjects) > literal(0))
)
_EXCEPT = Statement(
    update(tag_rules).where(tag_rules.c.id == parameter("rule_id")).values(except_subjects=parameter("excepted"))
)
_REMOVE_RULES = Statement(delete(tag_rules).where(tag_rules.c.project_id == parameter("scope_id")))


async def of_project(reader: Reader, project_id: int) -> list[Given]:
    """Return the grants in a project, or EVERYWHERE, the oldest first."""
    return [_given(row) for row in await reader.all(_OF_PROJECT, project_id=project_id)]


async def page(
    reader: Reader, project_id: int | None, subject: str | None, *, after: int = 0, most: int = ALL
) -> list[Given]:
    """Return up to `most` grants in a project or EVERYWHERE, that name a subject, or both, from after an id on."""
    if subject is None:
        rows = await reader.all(_PAGE_OF_PROJECT, project_id=project_id, after=after, most=most)
    elif project_id is None:
        rows = await reader.all(_PAGE_OF_SUBJECT, who=subject, after=after, most=most)
    else:
        rows = await reader.all(_PAGE_OF_BOTH, project_id=project_id, who=subject, after=after, most=most)
    return [_given(row) for row in rows]


async def add(transaction: Transaction, project_id: int, grant: Grant, *, actor: str) -> bool:
    """Record a grant. False if it is there."""
    values = {"pattern": grant.pattern, "role": grant.role, "subject": grant.subject}
    return await transaction.run(_ADD, project_id=project_id, **values, actor=actor) == 1


async def remove(transaction: Transaction, project_id: int, grant: Grant) -> bool:
    """Take a grant back. False if it is not there."""
    values = {"like": grant.pattern, "what": grant.role, "who": grant.subject}
    return await transaction.run(_REMOVE, scope_id=project_id, **values) == 1


async def remove_of_project(transaction: Transaction, project_id: int) -> None:
    """Take back all grants in a project, and its rules."""
    await transaction.run(_REMOVE_OF_PROJECT, scope_id=project_id)
    await transaction.run(_REMOVE_RULES, scope_id=project_id)


async def remove_of_subject(transaction: Transaction, subject: str) -> int:
    """Take back all grants that name a subject, and return how many."""
    return await transaction.run(_REMOVE_OF_SUBJECT, who=subject)


async def of_subjects(reader: Reader, subjects: Iterable[str]) -> list[Grant]:
    """Return all grants that name one of these, in no order."""
    rows = await reader.all(_OF_SUBJECTS, subjects=reader.encode_list(sorted(subjects)))
    return [Grant(row[0], row[1], row[2] or "", row[3]) for row in rows]


async def forget(transaction: Transaction, subject: str) -> None:
    """Leave nothing by which somebody else of the same name could do more than others."""
    await remove_of_subject(transaction, subject)
    for rule_id, lines in await transaction.all(_EXCEPTIONS):
        excepted = lines.split("\n")
        if subject in excepted:
            excepted.remove(subject)
            await transaction.run(_EXCEPT, rule_id=rule_id, excepted="\n".join(excepted))


async def own_roles(reader: Reader) -> dict[str, frozenset[Action]]:
    """Return the roles that are rows, by name."""
    return {row[0]: _actions(row[1]) for row in await reader.all(_ROLES)}


async def add_role(transaction: Transaction, name: str, actions: frozenset[Action]) -> bool:
    """Make a role. False if it is there."""
    return await transaction.run(_ADD_ROLE, name=name, actions=" ".join(sorted(actions))) == 1


async def remove_role(transaction: Transaction, name: str) -> bool:
    """Remove a role. False if it is not there."""
    return await transaction.run(_REMOVE_ROLE, what=name) == 1


async def is_role_in_use(reader: Reader, name: str) -> bool:
    """Say whether a grant gives this role."""
    return await reader.first(_ROLE_IN_USE, what=name) is not None


async def tag_rules_of(reader: Reader, project_id: int, project: str) -> dict[int, TagRule]:
    """Return the rules of a project, or EVERYWHERE, by id. `project`: its name."""
    return _ruled(await reader.all(_RULES, project_id=project_id), project)


async def page_of_tag_rules(
    reader: Reader, project_id: int, project: str, *, after: int, most: int
) -> dict[int, TagRule]:
    """Return up to `most` of them, from after an id on."""
    return _ruled(await reader.all(_PAGE_OF_RULES, project_id=project_id, after=after, most=most), project)


async def tag_rules_about(reader: Reader, project: str) -> tuple[TagRule, ...]:
    """Return the rules of a project and of the whole registry. Until a transaction ends nobody makes another."""
    await reader.first(_TURN_TO_OBEY, turn=_TURN)
    return tuple(
        TagRule(row[1], _actions(row[2]), frozenset(filter(None, row[3].split("\n"))), row[5] or "", row[4], row[0])
        for row in await reader.all(_RULES_ABOUT, project=project)
    )


async def add_tag_rule(transaction: Transaction, project_id: int, rule: TagRule, *, actor: str) -> None:
    """Record a rule. It waits for those who move tags by the rules that were there before."""
    await transaction.first(_TURN_TO_RULE, turn=_TURN)
    await transaction.run(
        _ADD_RULE,
        project_id=project_id,
        pattern=rule.pattern,
        tag=rule.tag,
        actions=" ".join(sorted(rule.actions)),
        excepted="\n".join(sorted(rule.excepted)),  # names of groups have spaces
        actor=actor,
    )


async def remove_tag_rule(transaction: Transaction, project_id: int, rule_id: int) -> bool:
    """Remove a rule. False if the project has no such rule."""
    return await transaction.run(_REMOVE_RULE, scope_id=project_id, rule_id=rule_id) == 1


def _given(row: tuple[object, ...]) -> Given:
    given = Given(*row)  # type: ignore[arg-type]  # the columns, in this order
    return given if given.project else given._replace(project="")


def _ruled(rows: Rows, project: str) -> dict[int, TagRule]:
    return {
        row[0]: TagRule(row[1], _actions(row[2]), frozenset(filter(None, row[3].split("\n"))), project, row[4], row[0])
        for row in rows
    }


def _actions(words: str) -> frozenset[Action]:
    return frozenset(Action(word) for word in words.split() if word in set(Action))
