"""Projects, their service accounts, grants and rules; roles; and why somebody may."""

import base64
import json
from typing import get_args

import httpx

from auth.roles import GRANTABLE
from registry.api.roles import ActionName
from registry.api.rules import DeniedName
from registry.services.granting import RULED
from tests.api_v1.callers import PASSWORD, PROJECT, Callers, assert_problem, made, new, shown
from tests.support.people import asking, settings_for
from tests.support.server import ServerFactory


def test_a_project(callers: Callers, root: httpx.Client, stranger: httpx.Client) -> None:
    name = new("project")
    project = made(root, "/projects", {"name": name})
    assert (project["name"], project["public"], project["createdBy"]) == (name, False, "user:admin")
    assert project["serviceAccounts"] == ["builder", "default", "deployer"]
    assert_problem(root.post("/projects", json={"name": name}), 409, "exists")
    assert_problem(root.post("/projects", json={"name": "UPPER"}), 422, "value-invalid")
    assert name not in names(stranger, "/projects")
    assert root.patch(f"/projects/{name}", json={"public": True}).json()["public"] is True
    assert name in names(stranger, "/projects")
    assert shown(stranger, f"/projects/{name}")["public"] is True
    assert root.patch(f"/projects/{name}", json={"public": False}).json()["public"] is False
    assert_problem(stranger.get(f"/projects/{name}"), 404, "unknown")
    assert root.delete(f"/projects/{name}").status_code == 204
    assert_problem(root.get(f"/projects/{name}"), 404, "unknown")


def names(client: httpx.Client, path: str) -> list[str]:
    return [one["name"] for one in shown(client, f"{path}?limit=1000")["items"]]


def test_everybody_sees_their_projects(callers: Callers, root: httpx.Client, boss: httpx.Client) -> None:
    assert PROJECT in names(boss, "/projects") and "other" not in names(boss, "/projects")
    assert {"other", "team"} <= set(names(root, "/projects")) & set(names(callers["auditor"], "/projects"))
    project = made(root, "/projects", {"name": new("by-pattern")})["name"]
    grant = {"role": "registry-viewer", "subject": "user:viewer", "repositories": f"{project}/app/**"}
    made(root, f"/projects/{project}/grants", grant)
    assert project in names(callers["viewer"], "/projects")


def test_who_may_make_projects_by_pushing_may_make_them_here(fresh_server: ServerFactory) -> None:
    server = fresh_server(**settings_for({}), STOWAGE_AUTH__CREATE_PROJECTS="users")
    with Callers(server) as callers:
        project = made(callers["stranger"], "/projects", {"name": "mine"})
        assert project["createdBy"] == "user:stranger"
        grants = shown(callers["stranger"], "/projects/mine/grants")["items"]
        assert ("registry-admin", "user:stranger") in {(one["role"], one["subject"]) for one in grants}
        assert_problem(callers["robot"].post("/projects", json={"name": "robots"}), 403, "denied")
        assert_problem(callers["stranger"].post("/projects", json={"name": "other"}), 403, "denied")
        assert_problem(callers["stranger"].delete("/projects/mine"), 403, "denied")  # a quota would go with it


def test_a_service_account(callers: Callers, boss: httpx.Client) -> None:
    accounts = f"/projects/{PROJECT}/service-accounts"
    account = made(boss, accounts, {"name": new("account"), "role": "registry-editor"})
    path = f"{accounts}/{account['name']}"
    assert account["principal"] == f"serviceaccount:{PROJECT}/{account['name']}"
    assert_problem(boss.post(accounts, json={"name": account["name"]}), 409, "exists")
    assert account["name"] in names(boss, accounts)
    token = made(boss, f"{path}/tokens", {"name": "ci"})
    with asking(callers.server, ("anything", token["secret"])) as client:
        assert client.post(f"/v2/{PROJECT}/app/blobs/uploads/").status_code == 202
        assert boss.patch(path, json={"disabled": True}).json()["disabled"] is True
        assert client.get("/v2/").status_code == 401
        assert boss.patch(path, json={"disabled": False}).json()["disabled"] is False
        assert client.get("/v2/").status_code == 200
        [listed] = shown(boss, f"{path}/tokens")["items"]
        assert (listed["id"], listed["owner"]) == (token["id"], account["principal"])
        assert boss.delete(path).status_code == 204
        assert client.get("/v2/").status_code == 401
    assert_problem(boss.get(path), 404, "unknown")


def test_a_pull_secret(callers: Callers, boss: httpx.Client) -> None:
    path = f"/projects/{PROJECT}/service-accounts/deployer/pull-secret"
    secret = made(boss, path, {"host": "registry.example.org", "format": "kubernetes", "expiresInSeconds": 60})
    inside = json.loads(base64.b64decode(json.loads(secret["content"])["data"][".dockerconfigjson"]))
    entry = inside["auths"]["registry.example.org"]
    with asking(callers.server, (entry["username"], entry["password"])) as client:
        assert client.get("/v2/").status_code == 200
    assert shown(boss, f"/tokens/{secret['token']}")["name"] == "pull secret for registry.example.org"
    assert_problem(boss.post(path, json={}), 422, "value-invalid")  # http.public_url is not set
    assert_problem(boss.post(path, json={"host": "https://x"}), 422, "value-invalid")
    assert_problem(boss.post(path, json={"host": "x", "format": "xml"}), 422, "value-invalid")


def test_grants(callers: Callers, root: httpx.Client, boss: httpx.Client) -> None:
    grants = f"/projects/{PROJECT}/grants"
    given = {"role": "registry-viewer", "subject": "group:readers", "repositories": f"{PROJECT}/docs/**"}
    grant = made(boss, grants, given)
    assert {name: grant[name] for name in given} == given
    assert (grant["project"], grant["createdBy"]) == (PROJECT, "user:boss")
    again = boss.post(grants, json=given)
    assert (again.status_code, again.json()) == (200, grant)
    assert grant.pop("subjectKnown") is False
    assert shown(root, "/grants?subject=group:readers")["items"] == [grant]
    assert shown(boss, f"{grants}?subject=group:readers")["items"] == [grant]
    assert shown(boss, f"{grants}?subject=group:writers")["items"] == []
    assert_problem(boss.get(f"/grants/{grant['id']}"), 403, "denied")
    assert_problem(root.get(f"/grants/{grant['id']}"), 404, "unknown")
    assert_problem(root.delete(f"/projects/other/grants/{grant['id']}"), 404, "unknown")
    assert boss.delete(f"{grants}/{grant['id']}").status_code == 204
    assert_problem(boss.delete(f"{grants}/{grant['id']}"), 404, "unknown")
    for wrong in ({"subject": "readers"}, {"repositories": "elsewhere/**"}):
        assert_problem(boss.post(grants, json={**given, **wrong}), 422, "value-invalid")
    assert_problem(boss.post(grants, json={**given, "role": "none"}), 404, "unknown")


def test_nobody_gets_more_by_what_they_may_give(callers: Callers, root: httpx.Client) -> None:
    role = made(root, "/roles", {"name": new("granter"), "actions": ["pull", "grant", "settings"]})["name"]
    project = made(root, "/projects", {"name": new("project")})["name"]
    name = made(root, "/users", {"name": new("user"), "password": PASSWORD})["name"]
    made(root, f"/projects/{project}/grants", {"role": role, "subject": f"user:{name}"})
    made(root, f"/projects/{project}/grants", {"role": "registry-viewer", "subject": "user:viewer"})
    with asking(callers.server, (name, PASSWORD)) as granter:
        granter.base_url = granter.base_url.join("/api/v1/")
        base = f"/projects/{project}"
        made(granter, f"{base}/grants", {"role": "registry-viewer", "subject": "user:stranger"})
        more = {"role": "registry-editor", "subject": f"user:{name}"}
        assert_problem(granter.post(f"{base}/grants", json=more), 403, "denied")
        account = {"name": "mine", "role": "registry-editor"}
        assert_problem(granter.post(f"{base}/service-accounts", json=account), 403, "denied")
        # The builder pushes, which this one may not: so its tokens and pull secrets are not for it to make.
        assert_problem(granter.post(f"{base}/service-accounts/builder/tokens", json={}), 403, "denied")
        secret = {"host": "registry.example.org"}
        assert_problem(granter.post(f"{base}/service-accounts/builder/pull-secret", json=secret), 403, "denied")
        made(granter, f"{base}/service-accounts/deployer/tokens", {})
        editors = [one for one in shown(granter, f"{base}/grants")["items"] if one["role"] == "registry-editor"]
        assert_problem(granter.delete(f"{base}/grants/{editors[0]['id']}"), 403, "denied")
        assert granter.patch(base, json={"public": True}).status_code == 200
    assert_problem(callers["viewer"].patch(f"/projects/{project}", json={"public": False}), 403, "denied")


def test_roles(root: httpx.Client, stranger: httpx.Client) -> None:
    name = new("role")
    role = made(root, "/roles", {"name": name, "actions": ["push", "pull"]})
    assert role == {"name": name, "actions": ["pull", "push"], "builtIn": False}
    assert shown(stranger, f"/roles/{name}") == role
    assert shown(stranger, "/roles/registry-admin")["builtIn"] is True
    assert_problem(root.post("/roles", json={"name": name, "actions": ["pull"]}), 409, "exists")
    assert_problem(root.post("/roles", json={"name": "registry-x", "actions": ["pull"]}), 422, "value-invalid")
    assert_problem(root.post("/roles", json={"name": new("role"), "actions": []}), 422, "value-invalid")
    assert_problem(root.post("/roles", json={"name": new("role"), "actions": ["fly"]}), 422, "value-invalid")
    assert_problem(root.delete("/roles/registry-admin"), 422, "value-invalid")
    grant = made(root, "/grants", {"role": name, "subject": "user:viewer"})
    assert_problem(root.delete(f"/roles/{name}"), 409, "in-use")
    assert root.delete(f"/grants/{grant['id']}").status_code == 204
    assert root.delete(f"/roles/{name}").status_code == 204
    assert_problem(root.get(f"/roles/{name}"), 404, "unknown")


def test_rules(callers: Callers, root: httpx.Client, boss: httpx.Client) -> None:
    rules = f"/projects/{PROJECT}/rules"
    asked = {"tag": "v*", "deny": ["overwrite", "delete"], "except": ["user:editor"], "repositories": f"{PROJECT}/x"}
    rule = made(boss, rules, asked)
    more = {"id": rule["id"], "project": PROJECT, "deny": ["delete", "overwrite"], "immutable": False}
    assert rule == {**asked, **more}
    assert rule in shown(boss, rules)["items"]
    assert shown(boss, f"{rules}/{rule['id']}") == rule
    assert_problem(root.get(f"/rules/{rule['id']}"), 404, "unknown")
    for wrong in ({"deny": ["pull"]}, {"tag": "a b"}, {"except": ["editor"]}, {"repositories": "elsewhere"}):
        assert_problem(boss.post(rules, json={**asked, **wrong}), 422, "value-invalid")
    assert boss.delete(f"{rules}/{rule['id']}").status_code == 204
    assert_problem(boss.delete(f"{rules}/{rule['id']}"), 404, "unknown")


def test_the_document_names_the_actions_that_there_are() -> None:
    assert set(get_args(ActionName)) == {str(action) for action in GRANTABLE}
    assert set(get_args(DeniedName)) == {str(action) for action in RULED}


def test_why_somebody_may(callers: Callers, root: httpx.Client, boss: httpx.Client, stranger: httpx.Client) -> None:
    own = shown(boss, f"/can-i?action=delete&repository={PROJECT}/app")
    assert (own["subject"], own["allowed"]) == ("user:boss", True)
    assert own["reason"] == f"registry-admin for user:boss in {PROJECT}"
    other = shown(boss, f"/can-i?action=push&repository={PROJECT}/app&subject=user:viewer")
    assert not other["allowed"] and "registry-editor" in other["roles"]
    assert shown(root, "/can-i?action=audit&subject=user:auditor")["allowed"] is True
    assert_problem(boss.get("/can-i?action=audit&subject=user:auditor"), 403, "denied")
    viewer = callers["viewer"]
    assert_problem(viewer.get(f"/can-i?action=pull&repository={PROJECT}/app&subject=user:boss"), 403, "denied")
    assert_problem(stranger.get(f"/can-i?action=pull&repository={PROJECT}/app&subject=user:boss"), 404, "unknown")
    there, missing = (
        shown(stranger, f"/can-i?action=pull&repository={project}/app") for project in (PROJECT, "missing")
    )
    assert there == missing
    for wrong in ("action=fly", "", "action=pull&repository=UPPER", "action=pull&repository=a&tag=a%20b"):
        assert_problem(root.get(f"/can-i?{wrong}"), 422, "value-invalid")
