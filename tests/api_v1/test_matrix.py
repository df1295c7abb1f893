"""Everybody at every operation of the document: who may, who may not, and to whom it is not there.

What is expected is written down here in words. An operation without a row fails.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from registry.api.paths import PREFIX
from tests.api_v1.callers import IMAGE, INDEX, PASSWORD, PROJECT, Callers, made, name_of, new, shown
from tests.factories import digest_of

CALLERS = (
    *("nobody", "wrong", "docker", "scoped"),
    *("stranger", "other boss", "auditor", "viewer", "editor", "builder", "boss", "robot", "root"),
)
PEOPLE = {"stranger", "other boss", "auditor", "viewer", "editor", "boss", "root"}
SEEING = {"auditor", "viewer", "editor", "builder", "boss", "robot", "root"}
"""Those whom a grant names in `team`, or in the whole registry."""
ADMINISTERING = {"boss", "robot", "root"}

Prepare = Callable[[httpx.Client, str], tuple[str, object]]
"""Makes what a request is about, as the system admin, and returns the request's path and body. `str`: the caller."""


@dataclass(frozen=True)
class Row:
    """An operation. `done`: the status for those who may."""

    needs: str
    done: int
    prepare: Prepare


def at(path: str, body: object = None) -> Prepare:
    return lambda root, caller: (path, body)


def user(root: httpx.Client) -> str:
    return str(made(root, "/users", {"name": new("user"), "password": PASSWORD})["name"])


def account(root: httpx.Client) -> str:
    return str(made(root, f"{TEAM}/service-accounts", {"name": new("account")})["name"])


def group_member(root: httpx.Client, caller: str) -> tuple[str, object]:
    path = f"/groups/{new('group')}/members/stranger"
    assert root.put(path).status_code == 204
    return path, None


def token_of_account(root: httpx.Client, caller: str) -> tuple[str, object]:
    return f"/tokens/{made(root, f'{TEAM}/service-accounts/{account(root)}/tokens', {})['id']}", None


TEAM = f"/projects/{PROJECT}"
LOCK = {"repository": f"{PROJECT}/app", "digest": digest_of(INDEX)}


def new_grant(root: httpx.Client, caller: str) -> dict[str, object]:
    return {"role": "registry-viewer", "subject": f"user:{new('somebody')}"}


def given(collection: str) -> Prepare:
    return lambda root, caller: (
        f"{collection}/{made(root, collection, new_grant(root, caller))['id']}",
        None,
    )


def ruled(collection: str) -> Prepare:
    return lambda root, caller: (f"{collection}/{made(root, collection, {'tag': 'x', 'deny': ['push']})['id']}", None)


def limited(root: httpx.Client, caller: str) -> tuple[str, object]:
    assert root.patch(f"{TEAM}/quota", json={"bytes": 2**40}).status_code == 200
    return f"{TEAM}/quota/count", {}


def role(root: httpx.Client, caller: str) -> tuple[str, object]:
    return f"/roles/{made(root, '/roles', {'name': new('role'), 'actions': ['pull']})['name']}", None


def locked(root: httpx.Client, caller: str) -> tuple[str, object]:
    assert root.post("/locks", json=LOCK).status_code in {201, 409}
    return f"/locks?repository={LOCK['repository']}&digest={LOCK['digest']}", None


def unlocked(root: httpx.Client, caller: str) -> tuple[str, object]:
    assert root.delete(locked(root, caller)[0]).status_code == 204
    return "/locks", LOCK


def kept(collection: str, below: str = "", body: object = None) -> Prepare:
    return lambda root, caller: (
        f"{collection}/{made(root, collection, new_policy(root, caller))['name']}{below}",
        body,
    )


def new_policy(root: httpx.Client, caller: str) -> dict[str, object]:
    return {"name": new("policy"), "rules": [{"template": "always"}]}


def retention(collection: str, needs: str, prefix: str = "") -> dict[tuple[str, str], "Row"]:
    """Return the rows of policies. Who administers may change settings, and delete."""
    one = f"{prefix}/retention/{{policy}}"
    return {
        ("GET", f"{prefix}/retention"): Row(needs, 200, at(collection)),
        ("POST", f"{prefix}/retention"): Row(needs, 201, lambda r, c: (collection, new_policy(r, c))),
        ("GET", one): Row(needs, 200, kept(collection)),
        ("PATCH", one): Row(needs, 200, kept(collection, body={"enabled": False})),
        ("DELETE", one): Row(needs, 204, kept(collection)),
        ("GET", f"{one}/preview"): Row(needs, 200, kept(collection, "/preview")),
        ("GET", f"{one}/runs"): Row(needs, 200, kept(collection, "/runs")),
        ("POST", f"{one}/runs"): Row(needs, 201, kept(collection, "/runs", {})),
    }


def new_webhook(**more: object) -> dict[str, object]:
    return {"name": new("hook"), "url": "https://192.0.2.1/", "paused": True, **more}


def hooked(collection: str, rest: str = "", body: object = None) -> Prepare:
    return lambda root, caller: (f"{collection}/{made(root, collection, new_webhook())['name']}{rest}", body)


def hooks(collection: str, needs: str) -> dict[tuple[str, str], Row]:
    """The rows of webhooks, of a project or of the whole registry."""
    of = collection.replace(f"/{PROJECT}/", "/{project}/")
    one = f"{of}/{{webhook}}"
    return {
        ("GET", of): Row(needs, 200, at(collection)),
        ("POST", of): Row(needs, 201, lambda r, c: (collection, new_webhook())),
        ("GET", one): Row(needs, 200, hooked(collection)),
        ("PATCH", one): Row(needs, 200, hooked(collection, body={"events": ["push"]})),
        ("DELETE", one): Row(needs, 204, hooked(collection)),
        ("GET", f"{one}/deliveries"): Row(needs, 200, hooked(collection, "/deliveries")),
        ("POST", f"{one}/replay"): Row(needs, 200, hooked(collection, "/replay", {})),
        ("POST", f"{one}/test"): Row(needs, 200, hooked(collection, "/test", {})),
    }


ROWS: dict[tuple[str, str], Row] = {
    **hooks("/webhooks", "system"),
    **hooks(f"{TEAM}/webhooks", "administer"),
    ("GET", "/openapi.json"): Row("nothing", 200, at("/openapi.json")),
    ("GET", "/me"): Row("login", 200, at("/me")),
    ("PUT", "/me/password"): Row(
        "person",
        422,  # the new one is too short, so that nobody's changes
        lambda root, caller: ("/me/password", {"currentPassword": password(caller), "newPassword": "short"}),
    ),
    ("GET", "/me/tokens"): Row("person", 200, at("/me/tokens")),
    ("POST", "/me/tokens"): Row("person", 201, at("/me/tokens", {})),
    ("POST", "/session"): Row("person", 201, at("/session", {})),
    ("DELETE", "/session"): Row("person", 422, at("/session")),  # there is none: they come with a password
    ("GET", "/users"): Row("system", 200, at("/users")),
    ("POST", "/users"): Row("system", 201, lambda r, c: ("/users", {"name": new("user"), "password": PASSWORD})),
    ("GET", "/users/{user}"): Row("system", 200, at("/users/viewer")),
    ("PATCH", "/users/{user}"): Row("system", 200, lambda r, c: (f"/users/{user(r)}", {"disabled": True})),
    ("DELETE", "/users/{user}"): Row("system", 204, lambda r, c: (f"/users/{user(r)}", None)),
    ("PUT", "/users/{user}/password"): Row(
        "system", 204, lambda r, c: (f"/users/{user(r)}/password", {"password": "another password"})
    ),
    ("GET", "/users/{user}/tokens"): Row("viewer or system", 200, at("/users/viewer/tokens")),
    ("POST", "/users/{user}/tokens"): Row("viewer or system", 201, at("/users/viewer/tokens", {})),
    ("GET", "/groups"): Row("system", 200, at("/groups")),
    ("GET", "/groups/{group}/members"): Row("system", 200, at("/groups/some/members")),
    ("PUT", "/groups/{group}/members/{user}"): Row("system", 204, at("/groups/some/members/stranger")),
    ("DELETE", "/groups/{group}/members/{user}"): Row("system", 204, group_member),
    ("GET", "/projects"): Row("login", 200, at("/projects")),
    ("POST", "/projects"): Row("system", 201, lambda r, c: ("/projects", {"name": new("project")})),
    ("GET", "/projects/{project}"): Row("see", 200, at(TEAM)),
    ("PATCH", "/projects/{project}"): Row("administer", 200, at(TEAM, {"public": False})),
    ("DELETE", "/projects/{project}"): Row("see, system", 409, at("/projects/team")),  # it has a repository
    ("GET", "/projects/{project}/service-accounts"): Row("administer", 200, at(f"{TEAM}/service-accounts")),
    ("POST", "/projects/{project}/service-accounts"): Row(
        "administer", 201, lambda r, c: (f"{TEAM}/service-accounts", {"name": new("account"), "role": "registry-admin"})
    ),
    ("GET", "/projects/{project}/service-accounts/{account}"): Row(
        "administer", 200, at(f"{TEAM}/service-accounts/builder")
    ),
    ("PATCH", "/projects/{project}/service-accounts/{account}"): Row(
        "administer", 200, lambda r, c: (f"{TEAM}/service-accounts/{account(r)}", {"disabled": True})
    ),
    ("DELETE", "/projects/{project}/service-accounts/{account}"): Row(
        "administer", 204, lambda r, c: (f"{TEAM}/service-accounts/{account(r)}", None)
    ),
    ("GET", "/projects/{project}/service-accounts/{account}/tokens"): Row(
        "administer", 200, at(f"{TEAM}/service-accounts/builder/tokens")
    ),
    ("POST", "/projects/{project}/service-accounts/{account}/tokens"): Row(
        "administer", 201, at(f"{TEAM}/service-accounts/builder/tokens", {})
    ),
    ("POST", "/projects/{project}/service-accounts/{account}/pull-secret"): Row(
        "administer", 201, at(f"{TEAM}/service-accounts/deployer/pull-secret", {"host": "registry.example.org"})
    ),
    ("GET", "/grants"): Row("system", 200, at("/grants")),
    ("POST", "/grants"): Row("system", 201, lambda r, c: ("/grants", new_grant(r, c))),
    ("GET", "/grants/{grant}"): Row("system", 200, given("/grants")),
    ("DELETE", "/grants/{grant}"): Row("system", 204, given("/grants")),
    ("GET", "/projects/{project}/grants"): Row("administer", 200, at(f"{TEAM}/grants")),
    ("POST", "/projects/{project}/grants"): Row("administer", 201, lambda r, c: (f"{TEAM}/grants", new_grant(r, c))),
    ("GET", "/projects/{project}/grants/{grant}"): Row("administer", 200, given(f"{TEAM}/grants")),
    ("DELETE", "/projects/{project}/grants/{grant}"): Row("administer", 204, given(f"{TEAM}/grants")),
    ("GET", "/roles"): Row("login", 200, at("/roles")),
    ("POST", "/roles"): Row("system", 201, lambda r, c: ("/roles", {"name": new("role"), "actions": ["pull"]})),
    ("GET", "/roles/{role}"): Row("login", 200, at("/roles/registry-viewer")),
    ("DELETE", "/roles/{role}"): Row("system", 204, role),
    ("GET", "/rules"): Row("system", 200, at("/rules")),
    ("POST", "/rules"): Row("system", 201, at("/rules", {"tag": "no-such-tag", "deny": ["push"]})),
    ("GET", "/rules/{rule}"): Row("system", 200, ruled("/rules")),
    ("DELETE", "/rules/{rule}"): Row("system", 204, ruled("/rules")),
    ("GET", "/projects/{project}/rules"): Row("administer", 200, at(f"{TEAM}/rules")),
    ("POST", "/projects/{project}/rules"): Row("administer", 201, at(f"{TEAM}/rules", {"tag": "x", "deny": ["push"]})),
    ("GET", "/projects/{project}/rules/{rule}"): Row("administer", 200, ruled(f"{TEAM}/rules")),
    ("DELETE", "/projects/{project}/rules/{rule}"): Row("administer", 204, ruled(f"{TEAM}/rules")),
    ("GET", "/tokens/{token}"): Row("token of team", 200, token_of_account),
    ("DELETE", "/tokens/{token}"): Row("token of team", 204, token_of_account),
    ("DELETE", "/tokens"): Row("system", 200, at("/tokens")),
    ("GET", "/quotas"): Row("login", 200, at("/quotas")),
    ("GET", "/projects/{project}/quota"): Row("see", 200, at(f"{TEAM}/quota")),
    ("PATCH", "/projects/{project}/quota"): Row("see, system", 200, at(f"{TEAM}/quota", {"bytes": 2**40})),
    ("DELETE", "/projects/{project}/quota"): Row("see, system", 204, at(f"{TEAM}/quota")),
    ("POST", "/projects/{project}/quota/count"): Row("see, system", 200, limited),
    ("GET", "/audit"): Row("audit", 200, at("/audit")),
    ("GET", "/audit/verification"): Row("audit", 200, at("/audit/verification")),
    ("GET", "/events"): Row("login", 200, at("/events")),
    ("GET", "/watch"): Row("login", 200, at("/watch?seconds=0")),
    ("GET", "/history"): Row("pull", 200, at("/history?repository=team/app")),
    ("GET", "/history/deleted"): Row("pull", 200, at("/history/deleted?repository=team/app")),
    ("POST", "/rollbacks"): Row("push", 200, at("/rollbacks", {"repository": "team/app", "to": "1s", "dryRun": True})),
    ("POST", "/undeletions"): Row("push", 200, at("/undeletions", {"repository": "team/app", "digest": IMAGE})),
    ("POST", "/purges"): Row("administer", 409, at("/purges", {"repository": "team/app", "digest": IMAGE})),  # tagged
    ("GET", "/locks"): Row("administer", 200, at("/locks?repository=team/app")),
    ("POST", "/locks"): Row("administer", 201, unlocked),
    ("DELETE", "/locks"): Row("administer", 204, locked),
    **retention("/retention", "system"),
    **retention(f"{TEAM}/retention", "administer", "/projects/{project}"),
    ("GET", "/can-i"): Row("login", 200, at("/can-i?action=pull&repository=team/app")),
}


def password(caller: str) -> str:
    return "a password of the admin's" if caller == "root" else PASSWORD


def expected(row: Row, caller: str) -> int:
    """Say in which status a request ends."""
    if row.needs == "nothing":
        return row.done
    if caller in {"nobody", "wrong", "docker"}:
        return 401
    if caller == "scoped":
        return 403
    if row.needs == "token of team":
        return row.done if caller in ADMINISTERING else 404
    if row.needs in {"see", "see, system", "administer", "pull", "push"} and caller not in SEEING:
        return 404
    may = {
        "login": set(CALLERS),
        "person": PEOPLE,
        "system": {"root"},
        "viewer or system": {"viewer", "root"},
        "audit": {"auditor", "root"},
        "see": SEEING,
        "see, system": {"root"},
        "administer": ADMINISTERING,
        "pull": SEEING - {"auditor"},
        "push": SEEING - {"auditor", "viewer"},
    }
    return row.done if caller in may[row.needs] else 403


def test_every_operation_has_a_row(root: httpx.Client) -> None:
    document = shown(root, "/openapi.json")
    operations = {
        (method.upper(), path.removeprefix(PREFIX)) for path, item in document["paths"].items() for method in item
    }
    assert operations == set(ROWS)


@pytest.mark.parametrize(("method", "path"), list(ROWS))
def test_everybody(callers: Callers, method: str, path: str) -> None:
    row, root, wrong = ROWS[method, path], callers["root"], []
    for caller in CALLERS:
        where, body = row.prepare(root, name_of(caller) if caller != "root" else caller)
        client = callers[caller]
        answer = client.request(method, where, json=body) if body is not None else client.request(method, where)
        if answer.status_code != expected(row, caller):
            wrong.append(f"{caller}: {answer.status_code} in place of {expected(row, caller)}: {answer.text[:200]}")
        if answer.status_code >= 400:
            assert answer.headers["Content-Type"] == "application/problem+json"
        assert "Set-Cookie" not in answer.headers
        assert path == "/openapi.json" or answer.headers["Cache-Control"] == "no-store"
    assert not wrong


@pytest.mark.parametrize("path", sorted({path for _, path in ROWS if "{project}" in path}))
def test_a_project_that_is_not_there_looks_like_one_that_is_a_secret(callers: Callers, path: str) -> None:
    for method in [method for method, one in ROWS if one == path]:
        answers = []
        for name in ("other", "missing"):
            where, body = ROWS[method, path].prepare(callers["root"], "viewer")
            content: dict[str, Any] = {} if body is None else {"json": body}
            answer = callers["viewer"].request(method, where.replace(TEAM, f"/projects/{name}"), **content)
            answers.append((answer.status_code, answer.text.replace(name, "NAME")))
        assert answers[0] == answers[1]
        assert answers[0][0] == 404
