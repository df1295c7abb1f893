"""Whatever services change is in the audit log: who did it, from where, in which request."""

import importlib
import inspect
import json
import pkgutil
import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import registry.services
from auth.grants import Grant, TagRule
from auth.roles import Action
from registry.db import audit as rows
from registry.db.audit import Entry, Filter
from registry.db.connection import Database, Transaction
from registry.db.sqlite import SqliteDatabase
from registry.oci.names import RepositoryName
from registry.services import audit, events
from registry.services.endpoints import Endpoints
from registry.services.locks import Locks
from registry.services.retention_policies import RetentionPolicies
from registry.services.rights import Change, changed
from registry.services.vault import Vault
from registry.services.webhooks import Definition, Webhooks
from registry.webhooks.endpoint import Options, Secrets
from tests.support.rights import BY, PASSWORD, People
from tests.unit.services.tagged import Tagged

pytestmark = pytest.mark.anyio

HERE = audit.Origin("192.0.2.7", "request-7")
OTHERWISE = {
    **dict.fromkeys(("Uploads.finish", "Uploads.push_whole"), "pushes, of which `registry.services.events` tells"),
    "PullEvents.note": "a pull, of which the audit log is told elsewhere, if it tells of any",
    **dict.fromkeys(("Deletion.delete_tag", "Deletion.delete_manifest", "Deletion.delete_blob"), "deletions, likewise"),
    "Webhooks.replay": "what was given up, of which there is none yet: tests/api_v1/test_audited.py has it",
}
"""What changes content and not rights: tests/cli/test_audit.py has these."""

Prepare = Callable[[People], Awaitable[Callable[[], Awaitable[object]]]]
"""Makes what a change is about, and returns the change."""

GRANT = Grant("registry-viewer", "user:alice", "team")
APP = RepositoryName("team/app")
VAULT = Vault(lambda: b"a secret of the registry's", lambda: b"a secret of the registry's")
HOOK = Definition("https://192.0.2.1/", "distribution", Options(), Secrets())
RULE = TagRule("v*", frozenset({Action.PUSH}), frozenset({"group:Domain Users"}), "team")


async def a_user(people: People) -> None:
    await people.accounts.add("alice", PASSWORD, actor=BY)


async def a_project(people: People) -> None:
    await people.projects.add("team", actor=BY)


async def add_user(people: People) -> Callable[[], Awaitable[object]]:
    return lambda: people.accounts.add("alice", PASSWORD, actor=BY)


async def set_password(people: People) -> Callable[[], Awaitable[object]]:
    await a_user(people)
    return lambda: people.accounts.set_password("alice", "another password", actor=BY)


async def disable(people: People) -> Callable[[], Awaitable[object]]:
    await a_user(people)
    return lambda: people.accounts.disable("alice", actor=BY)


async def enable(people: People) -> Callable[[], Awaitable[object]]:
    await (await disable(people))()
    return lambda: people.accounts.enable("alice", actor=BY)


async def set_admin(people: People) -> Callable[[], Awaitable[object]]:
    await a_user(people)
    return lambda: people.accounts.set_admin("alice", is_admin=True, actor=BY)


async def remove_user(people: People) -> Callable[[], Awaitable[object]]:
    await a_user(people)
    return lambda: people.accounts.remove("alice", actor=BY)


async def join(people: People) -> Callable[[], Awaitable[object]]:
    await a_user(people)
    return lambda: people.accounts.join("Domain Users", "alice", actor=BY)


async def leave(people: People) -> Callable[[], Awaitable[object]]:
    await (await join(people))()
    return lambda: people.accounts.leave("Domain Users", "alice", actor=BY)


async def make_for_account(people: People) -> Callable[[], Awaitable[object]]:
    await a_project(people)
    account = await people.service_accounts.find("team", "builder")
    return lambda: people.credentials.make_for_account(account, actor=BY)


async def make_personal(people: People) -> Callable[[], Awaitable[object]]:
    await a_user(people)
    user = await people.accounts.find("alice")
    return lambda: people.credentials.make_personal(user, actor=BY)


async def make_session(people: People) -> Callable[[], Awaitable[object]]:
    await a_user(people)
    user = await people.accounts.find("alice")
    return lambda: people.credentials.make_session(user, expires_s=60, actor=BY)


async def revoke_token(people: People) -> Callable[[], Awaitable[object]]:
    await a_user(people)
    made = await people.credentials.make_personal(await people.accounts.find("alice"), actor=BY)
    return lambda: people.credentials.revoke(made.credential.id, actor=BY)


async def revoke_all(people: People) -> Callable[[], Awaitable[object]]:
    await revoke_token(people)
    return lambda: people.credentials.revoke_all(actor=BY)


async def grant(people: People) -> Callable[[], Awaitable[object]]:
    await a_project(people)
    return lambda: people.granting.grant(GRANT, actor=BY)


async def revoke(people: People) -> Callable[[], Awaitable[object]]:
    await (await grant(people))()
    return lambda: people.granting.revoke(GRANT, actor=BY)


async def add_role(people: People) -> Callable[[], Awaitable[object]]:
    return lambda: people.granting.add_role("releaser", ["pull", "overwrite"], actor=BY)


async def remove_role(people: People) -> Callable[[], Awaitable[object]]:
    await (await add_role(people))()
    return lambda: people.granting.remove_role("releaser", actor=BY)


async def add_rule(people: People) -> Callable[[], Awaitable[object]]:
    await a_project(people)
    return lambda: people.granting.add_rule(RULE, actor=BY)


async def remove_rule(people: People) -> Callable[[], Awaitable[object]]:
    await a_project(people)
    rule = await people.granting.add_rule(RULE, actor=BY)
    return lambda: people.granting.remove_rule("team", rule, actor=BY)


async def add_project(people: People) -> Callable[[], Awaitable[object]]:
    return lambda: people.projects.add("team", actor=BY)


async def set_public(people: People) -> Callable[[], Awaitable[object]]:
    await a_project(people)
    return lambda: people.projects.set_public("team", is_public=True, actor=BY)


async def remove_project(people: People) -> Callable[[], Awaitable[object]]:
    await a_project(people)
    return lambda: people.projects.remove("team", actor=BY)


async def add_account(people: People) -> Callable[[], Awaitable[object]]:
    await a_project(people)
    return lambda: people.service_accounts.add("team", "robot", actor=BY)


async def disable_account(people: People) -> Callable[[], Awaitable[object]]:
    await a_project(people)
    return lambda: people.service_accounts.disable("team", "builder", actor=BY)


async def enable_account(people: People) -> Callable[[], Awaitable[object]]:
    await (await disable_account(people))()
    return lambda: people.service_accounts.enable("team", "builder", actor=BY)


async def remove_account(people: People) -> Callable[[], Awaitable[object]]:
    await a_project(people)
    return lambda: people.service_accounts.remove("team", "builder", actor=BY)


async def lock(people: People) -> Callable[[], Awaitable[object]]:
    digest = await Tagged(people.database).push("team/app", "v1")
    return lambda: Locks(people.database).lock(APP, digest, reason="released", actor=BY)


async def unlock(people: People) -> Callable[[], Awaitable[object]]:
    digest = await Tagged(people.database).push("team/app", "v1")
    await Locks(people.database).lock(APP, digest, reason="released", actor=BY)
    return lambda: Locks(people.database).unlock(APP, digest, actor=BY)


async def add_policy(people: People) -> Callable[[], Awaitable[object]]:
    rules = [{"template": "always"}]
    return lambda: RetentionPolicies(people.database).add("", "all", rules=rules, schedule="@daily", actor=BY)


async def change_policy(people: People) -> Callable[[], Awaitable[object]]:
    await (await add_policy(people))()
    return lambda: RetentionPolicies(people.database).change("", "all", is_enabled=False, actor=BY)


async def remove_policy(people: People) -> Callable[[], Awaitable[object]]:
    await (await add_policy(people))()
    return lambda: RetentionPolicies(people.database).remove("", "all", actor=BY)


def hooks(people: People) -> Webhooks:
    return Webhooks(people.database, VAULT, networks=(), most=1)


async def add_hook(people: People) -> Callable[[], Awaitable[object]]:
    return lambda: hooks(people).add("", "ci", HOOK, actor=BY)


async def change_hook(people: People) -> Callable[[], Awaitable[object]]:
    await (await add_hook(people))()
    changed = replace(HOOK, format="slack")
    return lambda: hooks(people).change("", "ci", lambda _: changed, actor=BY)


async def remove_hook(people: People) -> Callable[[], Awaitable[object]]:
    await (await add_hook(people))()
    return lambda: hooks(people).remove("", "ci", actor=BY)


async def pause_hook(people: People) -> Callable[[], Awaitable[object]]:
    await (await add_hook(people))()
    return lambda: hooks(people).pause("", "ci", actor=BY)


async def resume_hook(people: People) -> Callable[[], Awaitable[object]]:
    await (await pause_hook(people))()
    return lambda: hooks(people).resume("", "ci", actor=BY)


async def try_hook(people: People) -> Callable[[], Awaitable[object]]:
    await (await add_hook(people))()
    return lambda: hooks(people).test("", "ci", Endpoints(VAULT), public_url="", actor=BY)


CHANGES: dict[str, tuple[Prepare, str]] = {
    "Accounts.add": (add_user, "user.add"),
    "Accounts.set_password": (set_password, "user.password"),
    "Accounts.disable": (disable, "user.disable"),
    "Accounts.enable": (enable, "user.enable"),
    "Accounts.set_admin": (set_admin, "user.admin"),
    "Accounts.remove": (remove_user, "user.remove"),
    "Accounts.join": (join, "group.join"),
    "Accounts.leave": (leave, "group.leave"),
    "Credentials.make_for_account": (make_for_account, "token.add"),
    "Credentials.make_personal": (make_personal, "token.add"),
    "Credentials.make_session": (make_session, "token.add"),
    "Credentials.revoke": (revoke_token, "token.revoke"),
    "Credentials.revoke_all": (revoke_all, "token.revoke-all"),
    "Granting.grant": (grant, "grant.add"),
    "Granting.revoke": (revoke, "grant.remove"),
    "Granting.add_role": (add_role, "role.add"),
    "Granting.remove_role": (remove_role, "role.remove"),
    "Granting.add_rule": (add_rule, "rule.add"),
    "Granting.remove_rule": (remove_rule, "rule.remove"),
    "Locks.lock": (lock, "lock.add"),
    "Locks.unlock": (unlock, "lock.remove"),
    "Projects.add": (add_project, "project.add"),
    "Projects.set_public": (set_public, "project.public"),
    "Projects.remove": (remove_project, "project.remove"),
    "RetentionPolicies.add": (add_policy, "retention.add"),
    "RetentionPolicies.change": (change_policy, "retention.change"),
    "RetentionPolicies.remove": (remove_policy, "retention.remove"),
    "ServiceAccounts.add": (add_account, "serviceaccount.add"),
    "ServiceAccounts.disable": (disable_account, "serviceaccount.disable"),
    "ServiceAccounts.enable": (enable_account, "serviceaccount.enable"),
    "ServiceAccounts.remove": (remove_account, "serviceaccount.remove"),
    "Webhooks.add": (add_hook, "webhook.add"),
    "Webhooks.change": (change_hook, "webhook.change"),
    "Webhooks.remove": (remove_hook, "webhook.remove"),
    "Webhooks.pause": (pause_hook, "webhook.pause"),
    "Webhooks.resume": (resume_hook, "webhook.resume"),
    "Webhooks.test": (try_hook, "webhook.test"),
}
"""Every change by the method that makes it, and what the log calls it."""


def methods() -> Iterator[str]:
    """Yield the methods of all services that are told who does it."""
    for found in pkgutil.iter_modules(registry.services.__path__):
        module = importlib.import_module(f"registry.services.{found.name}")
        for name, kind in vars(module).items():
            if not inspect.isclass(kind) or kind.__module__ != module.__name__:
                continue
            for method, function in vars(kind).items():
                if inspect.isfunction(function) and "actor" in inspect.signature(function).parameters:
                    yield f"{name}.{method}"


@pytest.fixture
async def sqlite(new_data: Path, tmp_path: Path) -> AsyncIterator[Database]:
    """One is enough: how entries are written is another test's business."""
    opened = SqliteDatabase(Path(shutil.copy(new_data / "stowage.sqlite3", tmp_path / "db")))
    await opened.start()
    yield opened
    await opened.stop()


def test_every_change_that_somebody_makes_is_here() -> None:
    assert {name for name in methods() if not name.partition(".")[2].startswith("_")} == {*CHANGES, *OTHERWISE}


def test_every_action_is_documented() -> None:
    text = (Path(__file__).parents[3] / "docs/audit.md").read_text()
    table = text[text.index("## Actions") : text.index("## To other places")]
    documented = set(re.findall(r"`([a-z.-]+)`", table))
    words = set(events.ACTIONS) - {events.CREATE, events.QUOTA}  # of which the log has the push
    assert words | {action for _, action in CHANGES.values()} | {audit.LOGIN, audit.ISSUE, audit.PULL} <= documented


async def entries(database: Database) -> list[Entry]:
    return await rows.page(database, Filter(), before=2**62, limit=100)


@pytest.mark.parametrize("name", CHANGES)
async def test_a_change_is_written_down_with_who_and_where(sqlite: Database, name: str) -> None:
    prepare, action = CHANGES[name]
    change = await prepare(People(sqlite))
    before = len(await entries(sqlite))
    with audit.on_behalf_of(HERE):
        await change()
    entry, *others = await entries(sqlite)
    assert len(others) == before
    assert (entry.action, entry.outcome, entry.principal, entry.count) == (action, "done", BY, 1)
    assert (entry.address, entry.request_id) == (HERE.address, HERE.request_id)
    assert PASSWORD not in entry.detail and "another password" not in entry.detail and "stw_" not in entry.detail


async def test_what_is_told_can_be_read_by_programs(sqlite: Database, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "stowage.rights")
    await (await add_role(People(sqlite)))()
    [entry] = await entries(sqlite)
    assert json.loads(entry.detail) == {"role": "releaser", "actions": ["overwrite", "pull"]}
    assert "<Action" not in caplog.text and "'overwrite'" in caplog.text


async def test_what_was_so_already_or_comes_to_nothing_is_not_told(sqlite: Database) -> None:
    async def nothing(transaction: Transaction) -> bool:
        return False

    async def refused(transaction: Transaction) -> None:
        raise KeyError

    assert not await changed(sqlite, Change("grant.add", BY), nothing)
    with pytest.raises(KeyError):
        await changed(sqlite, Change("grant.add", BY), refused)
    assert await entries(sqlite) == []
