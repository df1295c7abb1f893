"""Quotas: set, changed as they were seen, counted again, taken away; who sees which."""

from typing import Any, get_args

import httpx

from registry.api.quotas import CountsName
from registry.db.quota_items import Counts
from tests.api_v1.callers import Callers, assert_problem, made, new, shown
from tests.factories import push_image
from tests.support.people import ADMIN, asking


def project(root: httpx.Client) -> str:
    return str(made(root, "/projects", {"name": new("limited")})["name"])


def items(client: httpx.Client, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = shown(client, path)["items"]
    return found


def test_a_quota_from_its_first_day_to_its_last(callers: Callers, root: httpx.Client) -> None:
    name = project(root)
    path = f"/projects/{name}/quota"
    none = {"limit": None, "used": 0}
    assert shown(root, path) == {"project": name, "bytes": none, "tags": none, "counts": None, "counted": False}
    with asking(callers.server, ADMIN) as client:
        image = push_image(client, f"{name}/app", tag="one")
        size = len(image.manifest) + len(image.config) + sum(map(len, image.layers))
        answer = root.patch(path, json={"bytes": 2**30, "tags": 1})
        assert (answer.json()["counts"], answer.json()["counted"]) == ("visible", False)
        assert root.post(f"{path}/count", json={}).json()["project"] == name
        held = shown(root, path)
        assert (held["bytes"], held["tags"]) == ({"limit": 2**30, "used": size}, {"limit": 1, "used": 1})
        assert held["counted"] is True
        content = {"content-type": "application/vnd.oci.image.manifest.v1+json"}
        more = client.put(f"/v2/{name}/app/manifests/two", content=image.manifest, headers=content)
        assert more.status_code == 403
        assert root.patch(path, json={"tags": None}).json()["tags"] == {"limit": None, "used": 1}
        more = client.put(f"/v2/{name}/app/manifests/two", content=image.manifest, headers=content)
        assert more.status_code == 201
    callers.server.sql(f"UPDATE projects SET used_bytes = 1 WHERE name = '{name}'")
    counted = root.post(f"{path}/count", json={}).json()
    assert (counted["right"], counted["bytes"], counted["tags"]) == (
        False,
        {"was": 1, "is": size},
        {"was": 2, "is": 2},
    )
    assert name in [one["project"] for one in items(root, "/quotas?limit=1000")]
    assert_problem(root.patch(path, json={"bytes": None}), 422, "value-invalid")
    for wrong in ({"bytes": -1}, {"tags": "1"}, {"counts": "most"}, {"size": 1}, {"bytes": 2**63}):
        assert_problem(root.patch(path, json=wrong), 422, "value-invalid")
    assert root.delete(path).status_code == 204
    assert root.delete(path).status_code == 204
    assert_problem(root.post(f"{path}/count", json={}), 404, "unknown")
    assert shown(root, path)["counts"] is None
    found = items(root, f"/audit?project={name}&action=quota.clear")
    assert [(one["principal"], one["outcome"], one["address"]) for one in found] == [
        ("user:admin", "done", "127.0.0.1")
    ]
    [was_set] = items(root, f"/audit?project={name}&action=quota.set")[-1:]
    assert was_set["detail"] == {"bytes": 2**30, "tags": 1, "counts": "visible"}
    assert was_set["requestId"]


def test_only_what_was_seen_is_changed(root: httpx.Client) -> None:
    path = f"/projects/{project(root)}/quota"
    first = root.patch(path, json={"bytes": 1000}).headers["ETag"]
    assert root.post(f"{path}/count", json={}).status_code == 200
    assert root.get(path).headers["ETag"] == first  # what is used is no part of it
    assert root.patch(path, json={"tags": 5}, headers={"If-Match": first}).status_code == 200
    assert_problem(root.patch(path, json={"tags": 6}, headers={"If-Match": first}), 412, "precondition-failed")
    assert_problem(root.delete(path, headers={"If-Match": first}), 412, "precondition-failed")
    assert shown(root, path)["tags"]["limit"] == 5


def test_everybody_sees_the_quotas_of_projects_that_they_see(callers: Callers, root: httpx.Client) -> None:
    names = sorted(project(root) for _ in range(3))
    for name in names:
        assert root.patch(f"/projects/{name}/quota", json={"tags": 10}).status_code == 200
    made(root, f"/projects/{names[1]}/grants", {"role": "registry-viewer", "subject": "user:stranger"})
    stranger = callers["stranger"]
    assert [one["project"] for one in items(stranger, "/quotas")] == [names[1]]
    assert shown(stranger, f"/projects/{names[1]}/quota")["tags"]["limit"] == 10
    found, path = [], "/quotas?limit=2"
    while path:
        answer = root.get(path)
        found += [one["project"] for one in answer.json()["items"]]
        path = answer.links["next"]["url"].removeprefix("/api/v1") if "next" in answer.links else ""
    assert found == sorted(found) and set(names) <= set(found)


def test_the_document_names_what_may_count() -> None:
    assert set(get_args(CountsName)) == {str(one) for one in Counts}
