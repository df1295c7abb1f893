"""Every operation that changes something is in the audit log, with who asked, from where, and in which request."""

import httpx
import pytest

from registry.event import ACTIONS
from registry.services.audit import OPERATOR
from tests.api_v1.callers import PASSWORD, PROJECT, Callers, made, new
from tests.api_v1.test_matrix import ROWS, Prepare, at
from tests.factories import image_manifest, push_blob, push_manifest
from tests.support.people import ADMIN, asking
from tests.support.server import Server

CHANGES = sorted(one for one in ROWS if one[0] != "GET")


def own_user(root: httpx.Client) -> str:
    return str(made(root, "/users", {"name": new("user"), "password": PASSWORD})["name"])


def empty_project(root: httpx.Client, caller: str) -> tuple[str, object]:
    return f"/projects/{made(root, '/projects', {'name': new('project')})['name']}", None


def private_project(root: httpx.Client, caller: str) -> tuple[str, object]:
    return f"/projects/{made(root, '/projects', {'name': new('project')})['name']}", {"public": True}


def new_member(root: httpx.Client, caller: str) -> tuple[str, object]:
    return f"/groups/{new('group')}/members/{own_user(root)}", None


def limited_project(root: httpx.Client, caller: str) -> tuple[str, object]:
    path, _ = empty_project(root, caller)
    assert root.patch(f"{path}/quota", json={"bytes": 2**40}).status_code == 200
    return f"{path}/quota", None


def pushed(root: httpx.Client, *configs: bytes, tag: str | None = "v1") -> tuple[str, list[str]]:
    """Push images, one after the other, by one tag or none; return the repository, and their digests."""
    repository = f"{PROJECT}/{new('repository')}"
    with httpx.Client(base_url=root.base_url.copy_with(path="/"), auth=root.auth) as client:
        digests = []
        for config in configs:
            push_blob(client, repository, config)
            digests.append(push_manifest(client, repository, image_manifest(config), tag))
    return repository, digests


def moved_tag(root: httpx.Client, caller: str) -> tuple[str, object]:
    repository, _ = pushed(root, b"{}", b"{ }")
    return "/rollbacks", {"repository": repository, "tag": "v1", "to": "previous"}


def deleted_image(root: httpx.Client, caller: str) -> tuple[str, object]:
    repository, [digest] = pushed(root, b"{}")
    path = root.base_url.copy_with(path=f"/v2/{repository}/manifests/{digest}")
    assert root.delete(path).status_code == 202
    return "/undeletions", {"repository": repository, "digest": digest}


def untagged_image(root: httpx.Client, caller: str) -> tuple[str, object]:
    repository, [digest] = pushed(root, b"{}", tag=None)
    return "/purges", {"repository": repository, "digest": digest}


DONE: dict[tuple[str, str], Prepare] = {
    ("PATCH", "/projects/{project}"): private_project,
    ("DELETE", "/projects/{project}"): empty_project,
    ("DELETE", "/projects/{project}/quota"): limited_project,
    ("PUT", "/groups/{group}/members/{user}"): new_member,
    ("PUT", "/me/password"): at("/me/password", {"currentPassword": PASSWORD, "newPassword": "a new one to keep"}),
    ("DELETE", "/session"): at("/session"),
    ("POST", "/rollbacks"): moved_tag,
    ("POST", "/undeletions"): deleted_image,
    ("POST", "/purges"): untagged_image,
}
"""Where the matrix changes nothing: how the same operation does."""


def client_of(callers: Callers, operation: tuple[str, str]) -> httpx.Client:
    """Return a client of somebody who may: the system admin, but not for the two that are about oneself."""
    if operation not in {("PUT", "/me/password"), ("DELETE", "/session")}:
        return asking(callers.server, ADMIN)
    who = own_user(callers["root"]), PASSWORD
    if operation == ("PUT", "/me/password"):
        return asking(callers.server, who)
    with asking(callers.server, who) as client:
        return asking(callers.server, bearer=made(client, "/api/v1/session", {})["secret"])


def give_up(server: Server, webhook: str) -> None:
    """Have something that can be replayed."""
    server.sql(
        "INSERT INTO deliveries (webhook_id, position, event_id, repository, action, subject, state, attempts, faults,"
        " created_at, done_at) SELECT id, 1, 'x-1', 'team/app', 'push', 'team/app:v1', 2, 20, 20, 1, 1"
        f" FROM webhooks WHERE name = '{webhook}'"
    )


@pytest.mark.parametrize("operation", CHANGES, ids=" ".join)
def test_a_change_is_told_with_who_and_the_request(callers: Callers, operation: tuple[str, str]) -> None:
    path, body = DONE.get(operation, ROWS[operation].prepare)(callers["root"], "admin")
    if operation[1].endswith("/replay"):
        give_up(callers.server, path.split("/")[-2])
    with client_of(callers, operation) as client:
        given = new("request-of-a-change")
        answer = client.request(operation[0], f"/api/v1{path}", json=body, headers={"X-Request-Id": given})
    assert answer.status_code < 300, answer.text
    found = callers.server.sql(
        "SELECT action, outcome, principal, address, detail FROM audit_entries"
        f" WHERE action <> 'login' AND request_id = '{given}'"
    )
    assert found, "nothing was recorded"
    for action, outcome, principal, address, detail in found:
        assert ("." in action or action in {*ACTIONS, "rollback"}) and outcome == "done"
        assert principal.startswith("user:") and principal != OPERATOR
        assert address == "127.0.0.1"
        assert PASSWORD not in detail and "stw_" not in detail


def test_reading_is_no_change(callers: Callers) -> None:
    with asking(callers.server, ADMIN) as client:
        for method, path in ROWS:
            if method == "GET":
                where, _ = ROWS[method, path].prepare(callers["root"], "admin")
                client.get(f"/api/v1{where}", headers={"X-Request-Id": "request-that-reads"})
    found = callers.server.sql("SELECT action FROM audit_entries WHERE request_id = 'request-that-reads'")
    assert {action for (action,) in found} <= {"login", "token.issue"}
