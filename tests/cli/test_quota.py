"""`stowage quota`: what clients are told who push too much, what is left of it, and what operators see."""

import json
from pathlib import Path

import httpx
import pytest

from storage.digest import digest_bytes
from tests.cli.commands import printed, refused
from tests.cli.ways import Way
from tests.factories import OCI_MANIFEST, assert_error, push_blob, push_image
from tests.support.databases import sql_on_file
from tests.support.server import Connect, Server, ServerFactory


def add_project(data: Path, name: str) -> None:
    sql_on_file(
        data / "stowage.sqlite3", f"INSERT INTO projects (name, created_at, created_by) VALUES ('{name}', 1, 'test')"
    )


def shown(server: Server, project: str) -> tuple[int, int]:
    [found] = json.loads(printed("quota", "show", project, "--json", "--data", str(server.data)))
    assert found["counted"]
    return found["bytes"]["used"], found["tags"]["used"]


def stored(server: Server) -> set[str]:
    return {file.name for file in (server.data / "storage").rglob("*") if file.is_file()}


def denied(answer: httpx.Response) -> dict[str, object]:
    assert_error(answer, 403, "DENIED")
    [error] = answer.json()["errors"]
    detail: dict[str, object] = error["detail"]
    assert "team has a quota of" in error["message"]
    return detail


def test_pushing_too_much_is_denied_with_the_limit_and_leaves_nothing(
    fresh_server: ServerFactory, connect: Connect
) -> None:
    server = fresh_server("--workers", "2", STOWAGE_AUDIT__ENABLED="true")
    data, client = ("--data", str(server.data)), connect(server)
    add_project(server.data, "team")
    image = push_image(client, "team/app", tag="one")
    text = printed("quota", "set", "team", "--bytes", "1MiB", "--tags", "1", *data)
    used, tags = shown(server, "team")
    assert tags == 1
    assert used == len(image.manifest) + len(image.config) + sum(map(len, image.layers))
    assert text.endswith("and 1 of 1 tags")
    before = stored(server)

    large = b"x" * (1024**2 - used + 1)
    digest = digest_bytes(large)
    expected = {"project": "team", "quota": "bytes", "limit": 1024**2, "used": used, "needed": len(large)}
    whole = client.post("/v2/team/other/blobs/uploads/", params={"digest": digest}, content=large)
    assert denied(whole) == expected
    location = client.post("/v2/team/other/blobs/uploads/").headers["location"]
    assert client.patch(location, content=large).status_code == 202
    assert denied(client.put(location, params={"digest": digest})) == expected
    assert client.get(location).status_code == 404
    push_blob(client, "free/app", large)
    elsewhere = stored(server) - before
    mount = client.post("/v2/team/other/blobs/uploads/", params={"mount": digest, "from": "free/app"})
    assert denied(mount) == expected
    assert stored(server) == before | elsewhere and len(elsewhere) == 1
    assert client.get("/v2/_catalog").json()["repositories"] == ["free/app", "team/app"]
    assert shown(server, "team") == (used, 1)

    url = "/v2/team/app/manifests/two"
    answer = client.put(url, content=image.manifest, headers={"content-type": OCI_MANIFEST})
    assert denied(answer) == {"project": "team", "quota": "tags", "limit": 1, "used": 1, "needed": 1}
    assert client.get("/v2/team/app/tags/list").json()["tags"] == ["one"]
    metrics = client.get("/metrics").text
    assert 'stowage_quota_refusals_total{quota="tags"} 1.0' in metrics

    printed("quota", "set", "team", "--tags", "none", "--bytes", "2MiB", *data)
    push_blob(client, "team/app", large)
    assert client.put(url, content=image.manifest, headers={"content-type": OCI_MANIFEST}).status_code == 201
    assert shown(server, "team") == (used + len(large), 2)
    printed("quota", "set", "team", "--bytes", "1", *data)
    full = client.post("/v2/team/app/blobs/uploads/")
    assert denied(full)["used"] == used + len(large)
    assert client.delete(f"/v2/team/app/manifests/{digest_bytes(image.manifest)}").status_code == 202
    assert shown(server, "team") == (len(large), 0)
    assert "repaired" not in printed("quota", "check", *data)
    sql_on_file(server.data / "stowage.sqlite3", "UPDATE projects SET used_bytes = 1")
    assert "repaired" in printed("quota", "check", "team", *data)
    assert shown(server, "team") == (len(large), 0)
    assert printed("quota", "clear", "team", *data) == "team has no quota now"
    push_blob(client, "team/app", b"y" * 2048)
    assert printed("quota", "show", *data) == "no project has a quota"

    server.stop()  # which writes down what was refused
    listed = printed("audit", "list", "--outcome", "denied", "--project", "team", "--json", *data)
    [entry] = [json.loads(line) for line in listed.splitlines()][-1:]
    assert (entry["action"], entry["outcome"]) == ("push", "denied")
    assert {"quota", "limit", "used", "needed"} <= entry["detail"].keys()


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("set", "team"), 2, "--bytes"),
        (("set", "team", "--bytes", "lots"), 2, "10GiB"),
        (("set", "team", "--tags", "-1"), 2, "number"),
        (("set", "team", "--tags", "99999999999999999999"), 2, "at most"),
        (("set", "team", "--bytes", "none"), 1, "quota clear team"),
        (("set", "nobody", "--bytes", "1"), 1, "there is no project nobody"),
        (("show", "nobody"), 1, "there is no project nobody"),
        (("clear", "nobody"), 1, "there is no project nobody"),
        (("check", "team"), 1, "team has no quota"),
    ],
)
def test_what_makes_no_sense_is_said(
    tmp_path: Path, new_data: Path, arguments: tuple[str, ...], status: int, said: str
) -> None:
    (tmp_path / "stowage.sqlite3").write_bytes((new_data / "stowage.sqlite3").read_bytes())
    add_project(tmp_path, "team")
    assert said in refused("quota", *arguments, "--data", str(tmp_path), status=status)


def test_a_quota_here_and_elsewhere(way: Way) -> None:
    team = way.new("team")
    way.run("project", "add", team)
    assert way.run("quota", "show", team) == f"{team} has no quota"
    assert way.run("quota", "clear", team) == f"{team} had no quota"
    assert way.run("quota", "set", team, "--bytes", "10GiB") == f"{team} uses 0 B of 10.0 GiB, and 0 of any tags"
    text = way.run("quota", "set", team, "--tags", "5", "--count", "all")
    assert text == f"{team} uses 0 B of 10.0 GiB, and 0 of 5 tags (counts: all)"
    assert text in way.run("quota", "show").splitlines()
    assert way.read("quota", "set", team, "--bytes", "none") == {
        "project": team,
        "bytes": {"limit": None, "used": 0},
        "tags": {"limit": 5, "used": 0},
        "counts": "all",
        "counted": True,
    }
    assert "quota clear" in way.refuse("quota", "set", team, "--tags", "none")
    way.sql(f"UPDATE projects SET used_tags = 3 WHERE name = '{team}'")
    [found] = way.read("quota", "check", team)
    assert (found["right"], found["tags"]) == (False, {"was": 3, "is": 0})
    assert f"{team} uses 0 B and 0 tags" in way.run("quota", "check")
    assert way.run("quota", "clear", team) == f"{team} has no quota now"
    assert "has no quota" in way.refuse("quota", "check", team)
    assert "no project none" in way.refuse("quota", "show", "none")
    [entry] = [json.loads(line) for line in way.run("audit", "list", "--action", "quota.clear", "--json").splitlines()]
    assert (entry["project"], entry["principal"]) == (
        team,
        "user:admin" if "STOWAGE_SERVER" in way.settings else "system:operator",
    )
