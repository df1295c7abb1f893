"""Retention policies: made, changed and removed, in a project or for the whole registry."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from auth.errors import NameRefused
from registry.db import jobs, projects, retention
from registry.db.connection import Database, Reader, Transaction
from registry.db.retention import Policy, Run
from registry.errors import RecordExists, RecordInUse, RecordUnknown
from registry.services.cron import parse_schedule
from registry.services.rights import Change, changed
from registry.services.tag_policy import COUNTED, parse_rules, rules_as_json

_LONGEST_NAME = 64
_NAME = re.compile(r"[a-z0-9]++(?:[._-][a-z0-9]++)*+").fullmatch
MOST_POLICIES = 500
"""Policies of a project, and of the whole registry: one is run after the other, everybody's in turn."""


class RetentionPolicies:
    """The policies in the database. `project`: a name, "" for the whole registry."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(
        self,
        project: str,
        name: str,
        *,
        rules: Sequence[Mapping[str, Any]],
        schedule: str,
        is_enabled: bool = True,
        actor: str,
    ) -> None:
        """Make a policy.

        Raises:
            NameRefused: none can be called so.
            RecordExists: there is one.
            RecordInUse: there are as many as there may be.
            RecordUnknown: there is no such project.
            ValueInvalid: the rules or the schedule make no sense.
        """
        parse_policy_name(name)
        text = json.dumps(rules_as_json(parse_rules(rules, project)))
        _check_schedule(schedule)

        async def work(transaction: Transaction) -> None:
            due_at = due_after(schedule, is_enabled, await jobs.clock(transaction))
            project_id = await projects.owner_id(transaction, project)
            if await retention.count(transaction, project_id) >= MOST_POLICIES:
                raise RecordInUse(f"there are {MOST_POLICIES} retention policies already, as many as there may be")
            made = await retention.add(
                transaction,
                project_id,
                name,
                rules=text,
                schedule=schedule,
                is_enabled=is_enabled,
                due_at=due_at,
                actor=actor,
            )
            if not made:
                raise RecordExists(f"there is a retention policy {name} already")

        about = {"policy": name, "rules": json.loads(text), "schedule": schedule, "enabled": is_enabled}
        await changed(self._database, Change("retention.add", actor, project, about), work)

    async def change(
        self,
        project: str,
        name: str,
        *,
        rules: Sequence[Mapping[str, Any]] | None = None,
        schedule: str | None = None,
        is_enabled: bool | None = None,
        actor: str,
    ) -> None:
        """Change a policy; what is None stays as it is. Raises RecordUnknown, ValueInvalid."""
        text = None if rules is None else json.dumps(rules_as_json(parse_rules(rules, project)))
        _check_schedule(schedule or "")

        async def work(transaction: Transaction) -> None:
            before = await find_policy(transaction, project, name)
            new = before._replace(
                rules=before.rules if text is None else text,
                schedule=before.schedule if schedule is None else schedule,
                is_enabled=before.is_enabled if is_enabled is None else is_enabled,
            )
            await retention.change(
                transaction,
                new.id,
                rules=new.rules,
                schedule=new.schedule,
                is_enabled=new.is_enabled,
                due_at=due_after(new.schedule, new.is_enabled, await jobs.clock(transaction)),
            )

        asked = {"rules": rules, "schedule": schedule, "enabled": is_enabled}
        about = {"policy": name, **{key: value for key, value in asked.items() if value is not None}}
        await changed(self._database, Change("retention.change", actor, project, about), work)

    async def remove(self, project: str, name: str, *, actor: str) -> None:
        """Remove a policy. Raises RecordUnknown."""

        async def work(transaction: Transaction) -> None:
            await retention.remove(transaction, (await find_policy(transaction, project, name)).id)

        change = Change("retention.remove", actor, project, {"policy": name})
        await changed(self._database, change, work, takes_away=True)

    async def page(self, project: str, *, after: str, most: int) -> list[Policy]:
        """Return up to `most` policies whose names follow `after`. Raises RecordUnknown: there is no such project."""
        project_id = await projects.owner_id(self._database, project)
        return await retention.page(self._database, project_id, after=after, limit=most)

    async def runs(self, policy: Policy, *, before: int, most: int) -> list[Run]:
        """Return up to `most` runs of a policy with ids below `before`, the latest first."""
        return await retention.runs(self._database, policy.id, before=before, limit=most)


async def find_policy(reader: Reader, project: str, name: str) -> Policy:
    """Return a policy. Raises RecordUnknown."""
    found = await retention.find(reader, await projects.owner_id(reader, project), name)
    if found is None:
        raise RecordUnknown(f"{project or 'the whole registry'} has no retention policy {name[:100]!r}")
    return found


def parse_policy_name(text: str) -> str:
    """Return the name of a policy. Raises NameRefused."""
    if len(text) > _LONGEST_NAME or _NAME(text) is None:
        raise NameRefused(
            f"a policy can't be called {text[:80]!r}: at most {_LONGEST_NAME} lower-case letters and digits, with '.', "
            "'_' or '-' between them"
        )
    return text


def due_after(schedule: str, is_enabled: bool, now: int) -> int | None:
    """Return when a policy with this schedule is due next, in microseconds since the epoch; None for never."""
    return parse_schedule(schedule).after(now) if schedule and is_enabled else None


def in_order(policies: Sequence[Policy]) -> list[Policy]:
    """Return policies in the order in which they run: those that go by age first, so that fewer are left to count."""
    words = {str(template) for template in COUNTED}
    return sorted(policies, key=lambda one: (any(rule["template"] in words for rule in json.loads(one.rules)), one.id))


def _check_schedule(schedule: str) -> None:
    if schedule:
        parse_schedule(schedule)
