"""`stowage audit`: what requests did, as operators see it, and whether that is all of it and nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest

from storage.digest import digest_bytes
from tests.cli.commands import printed, refused, stowage
from tests.cli.ways import Way
from tests.factories import OCI_MANIFEST, push_image
from tests.support.databases import sql_on_file
from tests.support.served import eventually
from tests.support.server import Connect, ServerFactory


def entries(data: Path, *filters: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in printed("audit", "list", "--json", *filters, "--data", str(data)).splitlines()]


def test_requests_are_told_with_who_where_and_their_id(fresh_server: ServerFactory, connect: Connect) -> None:
    server = fresh_server(STOWAGE_AUDIT__ENABLED="true", STOWAGE_AUDIT__PULLS="1")
    client = connect(server)
    image = push_image(client, "team/app", tag="one")
    digest = digest_bytes(image.manifest)
    pushed = client.put("/v2/team/app/manifests/two", content=image.manifest, headers={"content-type": OCI_MANIFEST})
    assert client.put("/v2/team/app/manifests/bad", content=b"{}").status_code == 400
    for _ in range(3):
        assert client.get("/v2/team/app/manifests/two").status_code == 200
    assert client.delete("/v2/team/app/manifests/two").status_code == 202
    assert client.delete(f"/v2/team/app/manifests/{digest}").status_code == 202

    found = entries(server.data)
    assert [one["action"] for one in found[:4]] == ["delete", "untag", "untag", "tag"]
    assert {one["outcome"] for one in found} == {"done"}
    assert {(one["principal"], one["project"], one["repository"]) for one in found} == {
        ("system:anonymous", "team", "team/app")
    }
    [tag] = [one for one in found if one["action"] == "tag" and one["detail"]["tag"] == "two"]
    assert (tag["address"], tag["requestId"]) == ("127.0.0.1", pushed.headers["x-request-id"])
    assert tag["detail"]["digest"] == digest
    assert not [one for one in found if one["detail"].get("tag") == "bad"]
    blobs = {one["detail"]["digest"] for one in found if one["action"] == "push"}
    assert {digest, digest_bytes(image.config), *map(digest_bytes, image.layers)} == blobs
    assert [one["action"] for one in entries(server.data, "--limit", "1")] == ["delete"]
    assert entries(server.data, "--before", str(found[0]["id"]), "--limit", "2") == found[1:3]
    assert entries(server.data, "--since", "1h", "--action", "untag") == found[1:3]
    assert entries(server.data, "--until", "2020-01-01") == []
    text = printed("audit", "list", "--action", "delete", "--data", str(server.data))
    assert "done delete system:anonymous team/app 127.0.0.1 {" in text and digest in text

    server.stop()  # which writes down what was pulled
    [pull] = entries(server.data, "--action", "pull")
    assert (pull["count"], pull["repository"], pull["detail"]) == (3, "team/app", {"digest": digest})


def test_without_logins_nothing_is_told_unless_asked(fresh_server: ServerFactory, connect: Connect) -> None:
    server = fresh_server()
    push_image(connect(server), "team/app", tag="one")
    server.stop()
    assert entries(server.data) == []


def test_a_server_seals_what_it_recorded_and_a_change_is_found(
    fresh_server: ServerFactory, connect: Connect, tmp_path: Path
) -> None:
    lines = tmp_path / "audit.jsonl"
    server = fresh_server(STOWAGE_AUDIT__ENABLED="true", STOWAGE_AUDIT__FILE=str(lines))
    push_image(connect(server), "team/app", tag="one")
    data = ("--data", str(server.data))
    assert "too new" in printed("audit", "verify", *data)
    server.stop()
    database = server.data / "stowage.sqlite3"
    sql_on_file(database, "UPDATE audit_entries SET at = at - 600000000; UPDATE jobs SET due_at = 0, lease_until = 0")
    server.start()
    eventually(lambda: "0 seals" not in printed("audit", "verify", *data))
    anchor = printed("audit", "verify", *data).splitlines()[-1]
    told_of = f"the audit log is sealed up to entry {anchor.replace(':', ': ')}"
    eventually(lambda: told_of in server.log_tail(1000))
    eventually(lambda: lines.exists() and '"seal"' in lines.read_text())
    told = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [one["id"] for one in reversed(told) if "id" in one] == [one["id"] for one in entries(server.data)]
    assert told[-1]["seal"]["hash"] == anchor.partition(":")[2]
    printed("audit", "verify", "--seal", anchor, *data)

    sql_on_file(database, "UPDATE audit_entries SET principal = 'user:mallory' WHERE id = 2")
    assert "not what was sealed" in refused("audit", "verify", *data)
    found = stowage("audit", "verify", "--json", *data)
    assert (found.returncode, json.loads(found.stdout)["right"]) == (1, False)
    sql_on_file(database, "DELETE FROM audit_entries; DELETE FROM audit_seals")
    printed("audit", "verify", *data)
    assert "seals were removed" in refused("audit", "verify", "--seal", anchor, *data)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("list", "--since", "yesterday"), "2024-05-01"),
        (("list", "--limit", "-1"), "limit"),
        (("verify", "--seal", "1:zz"), "ENTRY:HASH"),
    ],
)
def test_what_makes_no_sense_is_said(new_data: Path, arguments: tuple[str, ...], said: str) -> None:
    assert said in refused("audit", *arguments, "--data", str(new_data), status=2)


def test_what_clients_chose_can_not_reach_a_terminal(tmp_path: Path, new_data: Path) -> None:
    (tmp_path / "stowage.sqlite3").write_bytes((new_data / "stowage.sqlite3").read_bytes())
    sql_on_file(
        tmp_path / "stowage.sqlite3",
        "INSERT INTO audit_entries (at, action, outcome, principal, project, repository, address, request_id, detail)"
        " VALUES (1, 'login', 'failed', 'user:' || char(27) || '[2J' || char(10), '', '', '', '', '{}')",
    )
    assert printed("audit", "list", "--data", str(tmp_path)) == "1 1970-01-01T00:00:00Z failed login user:?[2J?"


def test_a_long_log_here_and_elsewhere(way: Way) -> None:
    project = way.new("team")
    values = ", ".join(
        f"({number}, 'tested', 'done', 'user:tester', '{project}', '', '', '', '{{}}')" for number in range(2500)
    )
    way.sql(
        "INSERT INTO audit_entries (at, action, outcome, principal, project, repository, address, request_id, detail)"
        f" VALUES {values}"
    )
    listed = ("audit", "list", "--project", project, "--json")
    found = [json.loads(line)["id"] for line in way.run(*listed, "--limit", "0").splitlines()]
    assert len(found) == 2500 and found == sorted(found, reverse=True)
    assert [json.loads(line)["id"] for line in way.run(*listed).splitlines()] == found[:100]
    some = way.run(*listed, "--limit", "1200", "--before", str(found[10]))
    assert [json.loads(line)["id"] for line in some.splitlines()] == found[11:1211]
    assert way.run("audit", "list", "--project", project, "--since", "1h") == ""
    assert way.run("audit", "verify").startswith("the audit log is as it was sealed")
    known = "1:" + "0" * 64
    assert "seals were removed" in way.refuse("audit", "verify", "--seal", known)
    status, output, said = way.done("audit", "verify", "--seal", known, "--json")
    assert (status, json.loads(output)["right"], said) == (1, False, "")
