"""Errors that no handler sees, pages, and changes that are made only to what was seen."""

import re
import socket
import subprocess
import sys
import threading

import httpx
import pytest

from registry.api.mounting import LARGEST_BODY
from registry.api.paths import PREFIX, ROUTES
from tests.api_v1.callers import PASSWORD, PROJECT, Callers, assert_problem, made, new, shown
from tests.cli.commands import printed
from tests.support.people import asking, settings_for
from tests.support.served import eventually
from tests.support.server import ROOT, Server, ServerFactory


@pytest.mark.parametrize("path", ["/", "/none", "/users/a/b/c", "/me/", "/users/"])
def test_a_path_that_is_none(root: httpx.Client, callers: Callers, path: str) -> None:
    assert_problem(root.get(path), 404, "endpoint-unknown")
    assert_problem(callers["nobody"].get(path), 401, "unauthenticated")


def test_outside_of_the_api_nothing_has_changed(callers: Callers) -> None:
    with asking(callers.server) as client:
        for path in ("/api", "/api/v2", "/api/v1x", "/"):
            assert client.get(path).status_code == 404
            assert client.get(path).headers["Content-Type"].startswith("text/plain")
        assert_problem(client.get(PREFIX), 401, "unauthenticated")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/me", "GET, HEAD"),
        ("POST", "/users/a", "DELETE, GET, HEAD, PATCH"),
        ("DELETE", "/openapi.json", "GET, HEAD"),
        ("GET", "/session", "DELETE, POST"),
        ("OPTIONS", "/users", "GET, HEAD, POST"),
    ],
)
def test_a_method_that_a_path_has_not(root: httpx.Client, method: str, path: str, allowed: str) -> None:
    answer = root.request(method, path, json={})
    assert_problem(answer, 405, "method-not-allowed")
    assert answer.headers["Allow"] == allowed


@pytest.mark.parametrize(
    ("content", "kind", "status", "code"),
    [
        (b"{", "application/json", 400, "body-unreadable"),
        (b"", "application/json", 422, "value-invalid"),
        (b"\xff\xfe", "application/json", 400, "body-unreadable"),
        (b"[" * 60000, "application/json", 400, "body-unreadable"),
        (b"[]", "application/json", 422, "value-invalid"),
        (b"null", "application/json", 422, "value-invalid"),
        (b'{"name":"x","name":1}', "application/json", 422, "value-invalid"),
        (b'{"name":"\\ud800","password":"aaaaaaaaaaa"}', "application/json", 422, "value-invalid"),
        (b'{"name":"a\\u0000b","password":"aaaaaaaaaaa"}', "application/json", 422, "value-invalid"),
        (b'{"name":"ab","password":"aaaaaaaaa\\ud800"}', "application/json", 422, "value-invalid"),
        (b'{"name":"ab","password":"aaaaaaaaa","x":1}', "application/json", 422, "value-invalid"),
        (b'{"name":"ab","password":"aaaaaaaaa","admin":"yes"}', "application/json", 422, "value-invalid"),
        (b'{"name":"ab","password":"aaaaaaaaa","admin":1}', "application/json", 422, "value-invalid"),
        (b'{"name":NaN,"password":"aaaaaaaaa"}', "application/json", 422, "value-invalid"),
        (b'{"name":' + b"9" * 5000 + b"}", "application/json", 400, "body-unreadable"),
        (b"{}", "text/plain", 415, "media-type-unsupported"),
        (b"name=x", "application/x-www-form-urlencoded", 415, "media-type-unsupported"),
        (b"{}", "", 415, "media-type-unsupported"),
        (b" " * (LARGEST_BODY + 1), "application/json", 413, "body-too-large"),
    ],
)
def test_a_body_that_can_not_be_taken(root: httpx.Client, content: bytes, kind: str, status: int, code: str) -> None:
    answer = root.post("/users", content=content, headers={"Content-Type": kind} if kind else {})
    assert_problem(answer, status, code)
    assert_problem(root.post("/users", content=iter([content]), headers={"Content-Type": kind}), status, code)


def test_where_a_value_is_wrong_is_said(root: httpx.Client) -> None:
    problem = assert_problem(root.post("/roles", json={"name": "x", "actions": ["pull", "fly"]}), 422, "value-invalid")
    [wrong] = problem["errors"]
    assert (wrong["in"], wrong["pointer"]) == ("body", "/actions/1")
    problem = assert_problem(root.get("/users?limit=0"), 422, "value-invalid")
    assert (problem["errors"][0]["in"], problem["errors"][0]["pointer"]) == ("query", "/limit")


@pytest.mark.parametrize("path", ["/users/a%0Ab", "/projects/%7F", "/tokens/x", "/tokens/0", "/grants/-1"])
def test_a_path_with_what_nothing_is_called(root: httpx.Client, path: str) -> None:
    assert_problem(root.get(path), 422, "value-invalid")


def test_head_is_a_get_without_its_body(root: httpx.Client) -> None:
    full, head = root.get("/users/admin"), root.head("/users/admin")
    assert (head.status_code, head.content) == (200, b"")
    assert (head.headers["Content-Length"], head.headers["ETag"]) == (
        full.headers["Content-Length"],
        full.headers["ETag"],
    )


def test_pages_show_everything_once(root: httpx.Client) -> None:
    project = made(root, "/projects", {"name": new("pages")})["name"]
    path = f"/projects/{project}"
    for number in range(5):
        made(root, f"{path}/rules", {"tag": f"v{number}", "deny": ["push"]})
        made(root, f"{path}/grants", {"role": "registry-viewer", "subject": f"user:somebody-{number}"})
        made(root, f"{path}/service-accounts", {"name": f"account-{number}"})
        made(root, f"{path}/service-accounts/account-0/tokens", {})
        assert root.put(f"/groups/{project}-{number % 2}/members/{root_user(root)}").status_code == 204
    for listing in (
        "/users",
        "/groups",
        "/projects",
        "/roles",
        f"{path}/rules",
        f"{path}/grants",
        f"{path}/service-accounts",
        f"{path}/service-accounts/account-0/tokens",
        f"/groups/{project}-0/members",
        "/grants?subject=user:viewer",
    ):
        whole = shown(root, f"{listing}{'&' if '?' in listing else '?'}limit=1000")
        assert whole["next"] is None
        for limit in (1, 2):
            answer = root.get(listing, params={**dict(httpx.URL(listing).params), "limit": limit})
            found = list(answer.json()["items"])
            while answer.json()["next"] is not None:
                assert len(answer.json()["items"]) == limit
                answer = root.get(answer.links["next"]["url"].removeprefix(PREFIX))
                found += answer.json()["items"]
            assert "link" not in answer.headers
            assert found == whole["items"]


def root_user(root: httpx.Client) -> str:
    return str(made(root, "/users", {"name": new("member"), "password": PASSWORD})["name"])


@pytest.mark.parametrize("listing", ["/me/tokens", "/grants", "/rules"])
@pytest.mark.parametrize("after", ["x", "-1", "9" * 40, "\u0661"])
def test_a_page_that_nobody_was_told_of(root: httpx.Client, listing: str, after: str) -> None:
    assert_problem(root.get(listing, params={"after": after}), 400, "query-unreadable")


def things(root: httpx.Client) -> list[tuple[str, dict[str, bool], dict[str, bool]]]:
    """Everything that can be changed, and two changes."""
    user = made(root, "/users", {"name": new("user"), "password": PASSWORD})["name"]
    project = made(root, "/projects", {"name": new("project")})["name"]
    return [
        (f"/users/{user}", {"disabled": True}, {"disabled": False}),
        (f"/projects/{project}/service-accounts/default", {"disabled": True}, {"disabled": False}),
        (f"/projects/{project}", {"public": True}, {"public": False}),
    ]


def test_what_has_changed_since_is_not_changed(root: httpx.Client) -> None:
    for path, one, other in things(root):
        seen = root.get(path).headers["ETag"]
        assert root.get(path).headers["ETag"] == seen
        changed = root.patch(path, json=one, headers={"If-Match": seen})
        assert changed.status_code == 200 and changed.headers["ETag"] != seen
        assert root.get(path).headers["ETag"] == changed.headers["ETag"]
        assert_problem(root.patch(path, json=other, headers={"If-Match": seen}), 412, "precondition-failed")
        assert_problem(root.delete(path, headers={"If-Match": f'"x", W/{seen}'}), 412, "precondition-failed")
        assert root.get(path).json() == changed.json()
        assert root.patch(path, json=other, headers={"If-Match": "*"}).status_code == 200
        now = root.get(path).headers["ETag"]
        assert root.delete(path, headers={"If-Match": f'"x", {now}'}).status_code == 204
        assert_problem(root.patch(path, json=one, headers={"If-Match": "*"}), 404, "unknown")


def test_of_many_who_saw_the_same_one_changes_it(callers: Callers, root: httpx.Client) -> None:
    for path, one, _ in things(root):
        statuses: list[int] = []
        seen = root.get(path).headers["ETag"]

        def change(path: str = path, one: object = one, seen: str = seen, statuses: list[int] = statuses) -> None:
            with asking(callers.server, ("admin", "a password of the admin's")) as client:
                answer = client.patch(f"{PREFIX}{path}", json=one, headers={"If-Match": seen})
                statuses.append(answer.status_code)

        threads = [threading.Thread(target=change) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(statuses) == [200, 412, 412, 412, 412, 412]


def test_logging_in_does_not_change_a_user(callers: Callers, root: httpx.Client) -> None:
    name = made(root, "/users", {"name": new("user"), "password": PASSWORD})["name"]
    seen = root.get(f"/users/{name}").headers["ETag"]
    with asking(callers.server, (name, PASSWORD)) as client:
        assert client.get("/v2/").status_code == 200
    assert shown(root, f"/users/{name}")["lastLoginAt"] is not None
    assert root.get(f"/users/{name}").headers["ETag"] == seen


def test_while_the_registry_is_read_only(fresh_server: ServerFactory) -> None:
    server = fresh_server("--workers", "1", **settings_for({}))
    with Callers(server) as callers:
        environment = server.backend()
        printed("maintenance", "on", "--retry-after", "7s", "--data", str(server.data), **environment)
        wait_for_read_only(callers["root"])
        answer = callers["root"].post("/roles", json={"name": "x", "actions": ["pull"]})
        assert_problem(answer, 503, "read-only")
        assert answer.headers["Retry-After"] == "7"
        assert callers["root"].get("/users").status_code == 200


def wait_for_read_only(client: httpx.Client) -> None:
    eventually(lambda: client.delete("/roles/none").status_code == 503)


def test_without_users_there_is_nothing_about_them(server: Server) -> None:
    with asking(server) as client:
        paths = {path.removeprefix(PREFIX).split("/")[1] for path in shown(client, f"{PREFIX}/openapi.json")["paths"]}
        assert not paths & {"users", "groups", "me", "session", "tokens", "grants", "roles", "rules", "projects"}
        assert client.get(f"{PREFIX}/users").status_code == 404


def test_nothing_of_it_is_imported_before_somebody_asks() -> None:
    program = "import sys, registry.main, registry.identity; print('fastapi' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_figures_and_logs_know_the_routes_by_few_names(callers: Callers, root: httpx.Client) -> None:
    assert root.get(f"/users/{new('unheard-of')}").status_code == 404
    assert root.get(f"/{new('unheard-of')}").status_code == 404
    page = ""

    def are_counted() -> bool:
        nonlocal page
        with asking(callers.server) as client:
            page = client.get("/metrics").text
        counted = r'stowage_http_requests_total{{[^}}]*code="404"[^}}]*route="{}"'
        return all(re.search(counted.format(route), page) for route in ("api.users", "api.other"))

    eventually(are_counted)
    routes = {line.partition('route="')[2].partition('"')[0] for line in page.splitlines() if 'route="api' in line}
    assert routes <= set(ROUTES)
    assert any('"user:admin"' in line and "unheard-of" in line for line in access_lines(callers.server))


def access_lines(server: Server) -> list[str]:
    """What the access log has, which is written a little later."""

    def lines() -> list[str]:
        return [line for line in server.log_file.read_text().splitlines() if "stowage.access" in line]

    eventually(lambda: any("unheard-of" in line for line in lines()))
    return lines()


def test_a_client_that_leaves_in_its_body_harms_nobody(callers: Callers, root: httpx.Client) -> None:
    server = callers.server
    with socket.create_connection((server.host, server.port)) as connection:
        head = (
            f"POST {PREFIX}/users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{{"
        )
        connection.sendall(head.encode())
    assert root.get("/me").status_code == 200
    assert PROJECT in [one["name"] for one in shown(root, "/projects?limit=1000")["items"]]
