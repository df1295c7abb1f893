"""Which tags stay: by commands, beside a running server, here and elsewhere, and through a kill."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.commands import printed, refused
from tests.cli.ways import Way
from tests.factories import OCI_INDEX, assert_error, digest_of, index_manifest, push_image, put_manifest
from tests.support.scrape import Scrape
from tests.support.served import eventually
from tests.support.server import ROOT, Connect, Server, ServerFactory, new_client

PATIENCE = 60.0
NIGHTLY = """
schedule: 0 3 * * *
rules:
- template: latestPushedK
  count: 2
  tags:
    matches:
    - v*
    excludes:
    - v1-*
- template: lastXDays
  days: 0.5
  tags:
    regex: ^pr-[0-9]+$
"""


def test_a_policy_is_made_shown_changed_run_and_removed(way: Way, tmp_path: Path) -> None:
    project, file = way.new("team"), tmp_path / "nightly.yaml"
    way.run("project", "add", project)
    for where in (project, "*"):
        name = way.new("nightly")
        file.write_text(NIGHTLY)
        assert way.run("retention", "add", where, name, "--file", str(file)) == f"policy {name} was made"
        assert "already" in way.refuse("retention", "add", where, name, "--file", str(file))
        [shown] = [one for one in way.read("retention", "list", where) if one["name"] == name]
        assert (shown["schedule"], len(shown["rules"]), shown["dueAt"] is None) == ("0 3 * * *", 2, False)
        text = way.run("retention", "show", where, name)
        assert text.replace("enabled: true\n", "") == NIGHTLY.strip()
        way.run("retention", "set", where, name, "--disable")
        file.write_text(way.run("retention", "show", where, name))
        assert way.read("retention", "show", where, name)["dueAt"] is None
        way.run("retention", "set", where, name, "--file", str(file))
        assert "nothing would be changed" in way.refuse("retention", "set", where, name)
        assert way.run("retention", "run", where, name, "--dry-run") == ""
        assert way.run("retention", "run", where, name) == "0 tags removed, 0 kept"
        [run] = way.read("retention", "runs", where, name)
        assert (run["state"], run["dropped"], run["endedAt"] is None) == ("done", 0, False)
        way.run("retention", "remove", where, name)
        assert "no retention policy" in way.refuse("retention", "show", where, name)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rules: [{template: latestPushedK}]", "needs count"),
        ("rules: [{template: always, tags: {regex: '('}}]", "RE2"),
        ("rules: [{template: always, tag: v1}]", "rules/0/tag"),
        ("rules: [{template: always}]\nschedule: often", "five fields"),
        ("rules: [", "no YAML"),
        ("- template: always", "expected `rules:`"),
        ("rules: [{template: always, days: 2026-01-01}]", "YAML's dates"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(way: Way, tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(text)
    assert words in way.refuse("retention", "add", "*", "wrong", "--file", str(file))


def test_what_must_stay_stays_in_mode_open(fresh_server: ServerFactory, connect: Connect) -> None:
    server = fresh_server()
    client, data = connect(server), ("--data", str(server.data))
    image = push_image(client, "team/app", tag="v1")
    digest = digest_of(image.manifest)
    assert printed("rule", "add", "*", "v*", "--immutable", "--repositories", "**/app", *data) == "1"
    other = push_image(client, "team/app", tag="latest")
    for answer in (
        put_manifest(client, "team/app", "v1", other.manifest),
        client.delete("/v2/team/app/manifests/v1"),
        client.delete(f"/v2/team/app/manifests/{digest}"),
    ):
        assert_error(answer, 403, "DENIED")
        assert "rule 1: tags like v* in **/app are immutable" in answer.text
    assert put_manifest(client, "team/app", "v1", image.manifest).status_code == 201  # which it names already
    printed("rule", "remove", "*", "1", *data)
    printed("lock", f"team/app@{digest}", "--reason", "released", *data)
    answer = client.delete(f"/v2/team/app/manifests/{digest}")
    assert_error(answer, 403, "DENIED")
    assert "locked in team/app by system:operator: released" in answer.text
    [lock] = json.loads(printed("locks", "team/app", "--json", *data))
    assert (lock["digest"], lock["reason"]) == (digest, "released")
    assert "locked already" in refused("lock", f"team/app@{digest}", *data)
    assert "expected REPOSITORY@DIGEST" in refused("lock", "team/app", *data)
    assert client.delete("/v2/team/app/manifests/v1").status_code == 202
    printed("gc", "--now", "--grace", "0s", "--window", "0s", *data)
    assert client.get(f"/v2/team/app/manifests/{digest}").status_code == 200
    printed("unlock", f"team/app@{digest}", *data)
    assert "is not locked" in refused("unlock", f"team/app@{digest}", *data)
    assert client.delete(f"/v2/team/app/manifests/{digest}").status_code == 202


def test_a_policy_drops_what_it_said_and_the_server_what_is_due(
    fresh_server: ServerFactory, connect: Connect, tmp_path: Path
) -> None:
    server = fresh_server()
    client, data = connect(server), ("--data", str(server.data))
    images = {tag: push_image(client, "team/app", tag=tag) for tag in ("v1", "v2", "v3", "latest")}
    for tag, annotations in (("brief", {"quay.expires-after": "1s"}), ("long", {"quay.expires-after": "1w"})):
        index = index_manifest([], annotations=annotations)
        assert put_manifest(client, "team/app", tag, index, OCI_INDEX).status_code == 201
    file = tmp_path / "latest.json"
    file.write_text(json.dumps({"rules": [{"template": "latestPushedK", "count": 1, "tags": {"matches": "v*"}}]}))
    printed("retention", "add", "*", "latest", "--file", str(file), *data)
    lines = printed("retention", "run", "*", "latest", "--dry-run", *data).splitlines()
    assert lines == [
        "drop  team/app:v1  no rule keeps it",
        "drop  team/app:v2  no rule keeps it",
        "keep  team/app:v3  rule 1 keeps it: latestPushedK 1",
    ]
    policy = "UPDATE retention_policies SET due_at = 1; UPDATE jobs SET due_at = 0, lease_until = 0; SELECT 1"
    server.stop()
    server.sql(policy)
    server.start()

    def left() -> list[str]:
        found: list[str] = client.get("/v2/team/app/tags/list").json()["tags"]
        return found

    eventually(lambda: left() == ["latest", "long", "v3"], PATIENCE)
    [run] = json.loads(printed("retention", "runs", "*", "latest", "--json", *data))
    assert (run["by"], run["kept"], run["dropped"]) == ("system:retention", 1, 2)
    eventually(lambda: [dropped(server, by) for by in ("retention", "expiry")] == [2, 1], PATIENCE)
    # It was wrong: what went is had back.
    printed("rollback", "team/app:v1", "--to", digest_of(images["v1"].manifest), *data)
    assert client.get("/v2/team/app/manifests/v1").content == images["v1"].manifest


def dropped(server: Server, by: str) -> float:
    return Scrape.of(server.url).value("tags_dropped_total", by=by)


def test_a_run_that_is_killed_goes_on_where_it_was(fresh_server: ServerFactory, tmp_path: Path) -> None:
    server = fresh_server()
    many(server)
    data, file = ("--data", str(server.data)), tmp_path / "none.yaml"
    file.write_text("rules: [{template: lastXDays, days: 1}]")
    printed("retention", "add", "*", "none", "--file", str(file), *data)
    command = [sys.executable, "-m", "registry", "retention", "run", "*", "none", *data]
    with subprocess.Popen(command, cwd=ROOT, env=dict(os.environ), stdout=subprocess.DEVNULL) as running:
        eventually(lambda: count(server, "tags") < TAGS, PATIENCE)
        running.send_signal(signal.SIGKILL)
    dropped = TAGS - count(server, "tags")
    assert 0 < dropped < TAGS
    assert [tuple(row) for row in server.sql("SELECT dropped, ended_at FROM retention_runs")] == [(str(dropped), "")]
    server.sql("UPDATE jobs SET lease_until = 0; SELECT 1")
    assert printed("retention", "run", "*", "none", *data) == f"{TAGS - dropped} tags removed, 0 kept"
    runs = json.loads(printed("retention", "runs", "*", "none", "--json", *data))
    assert [(one["state"], one["dropped"]) for one in runs] == [("done", TAGS - dropped), ("interrupted", dropped)]
    assert count(server, "tags") == 0
    assert count(server, "outbox WHERE action = 'untag'") == TAGS
    assert count(server, "tag_history WHERE ended_cause = 'retention'") == TAGS


TAGS = 4000


def many(server: Server) -> None:
    """Give a repository many old tags."""
    with new_client(server) as client:
        push_image(client, "team/app", tag="t00000")
    numbers = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {TAGS - 1})"
    server.sql(
        f"INSERT INTO tags (repository_id, name, manifest_id, updated_at) {numbers} SELECT repository_id,"
        " printf('t%05d', i), manifest_id, 1 FROM n, tags;"
        "INSERT INTO tag_history (repository_id, tag, manifest_id, digest, started_at, started_by)"
        f" {numbers} SELECT repository_id, printf('t%05d', i), manifest_id, digest, 1, 'test' FROM n, tag_history;"
        "UPDATE tags SET updated_at = 1; SELECT 1"
    )


def count(server: Server, what: str) -> int:
    return int(server.sql(f"SELECT count(*) FROM {what}")[0][0])
