"""Users and groups, from the first day to the last."""

import httpx

from tests.api_v1.callers import PASSWORD, Callers, assert_problem, made, new, shown
from tests.support.people import asking


def test_a_user(callers: Callers, root: httpx.Client) -> None:
    name = new("user")
    one = made(root, "/users", {"name": name, "password": PASSWORD})
    assert (one["name"], one["source"], one["admin"], one["disabled"], one["groups"]) == (
        name,
        "local",
        False,
        False,
        [],
    )
    assert one["createdAt"].endswith("Z") and one["lastLoginAt"] is None
    assert_problem(root.post("/users", json={"name": name, "password": PASSWORD}), 409, "exists")
    with asking(callers.server, (name, PASSWORD)) as client:
        assert client.get("/v2/").status_code == 200
        assert root.patch(f"/users/{name}", json={"disabled": True}).json()["disabled"] is True
        assert client.get("/v2/").status_code == 401
        assert root.patch(f"/users/{name}", json={"disabled": False, "admin": True}).json()["admin"] is True
        assert client.get("/api/v1/users").status_code == 200
        assert root.patch(f"/users/{name}", json={"admin": False}).status_code == 200
        assert_problem(client.get("/api/v1/users"), 403, "denied")
    assert root.put(f"/users/{name}/password", json={"password": "quite another one"}).status_code == 204
    with asking(callers.server, (name, "quite another one")) as client:
        assert client.get("/v2/").status_code == 200
        assert shown(root, f"/users/{name}")["lastLoginAt"] is not None
    assert root.delete(f"/users/{name}").status_code == 204
    assert_problem(root.get(f"/users/{name}"), 404, "unknown")
    assert_problem(root.delete(f"/users/{name}"), 404, "unknown")


def test_passwords_are_nowhere_to_be_seen(callers: Callers, root: httpx.Client) -> None:
    secret = "a secret that is refused\n"
    answer = root.post("/users", json={"name": new("user"), "password": secret})
    assert_problem(answer, 422, "value-invalid")
    assert "refused" not in answer.text
    answer = root.post("/users", json={"name": new("user"), "password": ["hidden-in-a-list"]})
    assert_problem(answer, 422, "value-invalid")
    assert "hidden-in-a-list" not in answer.text
    name = new("user")
    answer = root.post("/users", json={"name": name, "password": "a-password-not-to-be-logged"})
    assert "a-password-not-to-be-logged" not in answer.text
    assert "password" not in shown(root, f"/users/{name}")
    log = callers.server.log_file.read_text()
    assert "a-password-not-to-be-logged" not in log and "hidden-in-a-list" not in log


def test_the_last_admin_stays(root: httpx.Client) -> None:
    for change in ({"admin": False}, {"disabled": True}):
        problem = assert_problem(root.patch("/users/admin", json=change), 409, "in-use")
        assert "last system admin" in problem["detail"]
    assert_problem(root.delete("/users/admin"), 409, "in-use")


def test_a_change_is_made_whole_or_not_at_all(root: httpx.Client) -> None:
    name = made(root, "/users", {"name": new("user"), "password": PASSWORD})["name"]
    assert root.patch("/users/admin", json={"admin": True, "disabled": True}).status_code == 409
    both = root.patch(f"/users/{name}", json={"admin": True, "disabled": True}).json()
    assert both["admin"] and both["disabled"]
    # Letting an admin in again who is one no more would leave the other as the last: nothing of it happens.
    assert root.patch(f"/users/{name}", json={"admin": False, "disabled": False}).json()["disabled"] is False
    assert_problem(root.patch("/users/admin", json={"disabled": False, "admin": False}), 409, "in-use")
    assert shown(root, "/users/admin")["admin"] is True


def test_groups(root: httpx.Client) -> None:
    group = f"{new('cn=developers,ou')}/and/more"
    one, other = (made(root, "/users", {"name": new("user"), "password": PASSWORD})["name"] for _ in range(2))
    for user in (one, other, one):
        assert root.put(f"/groups/{group}/members/{user}").status_code == 204
    assert {"name": group, "members": 2} in shown(root, "/groups?limit=1000")["items"]
    members = shown(root, f"/groups/{group}/members")["items"]
    assert members == [{"user": one, "sources": ["local"]}, {"user": other, "sources": ["local"]}]
    assert shown(root, f"/users/{one}")["groups"] == [{"name": group, "source": "local"}]
    assert root.delete(f"/groups/{group}/members/{one}").status_code == 204
    assert_problem(root.delete(f"/groups/{group}/members/{one}"), 404, "unknown")
    assert_problem(root.put(f"/groups/{group}/members/{new('nobody')}"), 404, "unknown")
    assert_problem(root.put(f"/groups/a%09b/members/{one}"), 422, "value-invalid")
    assert shown(root, "/groups/none/members") == {"items": [], "next": None}


def test_what_a_group_may_counts_at_once(callers: Callers, root: httpx.Client) -> None:
    group, project = new("group"), made(root, "/projects", {"name": new("project")})["name"]
    name = made(root, "/users", {"name": new("user"), "password": PASSWORD})["name"]
    with asking(callers.server, (name, PASSWORD)) as client:
        path = f"/api/v1/projects/{project}"
        assert_problem(client.get(path), 404, "unknown")
        made(root, f"/projects/{project}/grants", {"role": "registry-viewer", "subject": f"group:{group}"})
        assert root.put(f"/groups/{group}/members/{name}").status_code == 204
        assert client.get(path).status_code == 200
        assert root.delete(f"/groups/{group}/members/{name}").status_code == 204
        assert_problem(client.get(path), 404, "unknown")
