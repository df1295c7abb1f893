"""`stowage webhook`, on the database here and on a server elsewhere."""

import io
import json
from unittest.mock import patch

from tests.cli.ways import Way

NOWHERE = "https://192.0.2.1/hunter2"


def test_one_is_made_shown_paused_and_removed(way: Way) -> None:
    name = way.new("hook")
    secret = way.run("webhook", "add", name, NOWHERE, "--event", "push", "--tag", "v*", "--timeout", "5s").strip()
    assert secret.startswith("whsec_")
    found = way.read("webhook", "show", name)
    assert (found["events"], found["tags"], found["timeoutSeconds"]) == (["push"], ["v*"], 5)
    (line,) = [one for one in way.run("webhook", "list").splitlines() if one.startswith(f"{name} ")]
    assert line.split() == [name, "ok", "0", "0", "0", "distribution", "https://192.0.2.1"]
    assert way.run("webhook", "pause", name) == f"webhook {name} is paused"
    assert "paused" in way.run("webhook", "list")
    assert way.run("webhook", "resume", name) == f"webhook {name} goes on"
    shown = way.run("webhook", "show", name) + way.run("webhook", "list", "--json")
    assert "hunter2" not in shown
    assert secret not in shown
    assert way.run("webhook", "remove", name) == f"webhook {name} was removed"
    assert f"there is no webhook {name} there" in way.refuse("webhook", "show", name)


def test_secrets_come_from_standard_input(way: Way) -> None:
    name, other = way.new("hook"), way.new("hook")
    said = json.dumps({"secret": "hunter2", "bearer": "hunter3", "headers": {"X-Key": "hunter4"}})
    with patch("sys.stdin", io.StringIO(said)):
        made = way.run("webhook", "add", name, "https://192.0.2.1/", "--secrets-stdin")
    assert made == f"webhook {name} was made"
    found = way.read("webhook", "show", name)
    assert (found["signed"], found["authorization"], found["headers"]) == (True, "bearer", ["X-Key"])
    with patch("sys.stdin", io.StringIO(f"{NOWHERE}\n")):
        way.run("webhook", "add", other, "-", "--format", "slack", "--unsigned")
    assert way.read("webhook", "show", other)["signed"] is False
    with patch("sys.stdin", io.StringIO('{"password": "hunter2"}')):
        assert "hunter2" not in way.refuse("webhook", "add", way.new("hook"), NOWHERE, "--secrets-stdin")


def test_what_was_not_taken_is_said(way: Way) -> None:
    name = way.new("hook")
    way.run("webhook", "add", name, NOWHERE)
    said = way.refuse("webhook", "test", name)
    assert "192.0.2.1" in said
    assert "hunter2" not in said
    status, out, _ = way.done("webhook", "test", name, "--json")
    assert (status, json.loads(out)["delivered"]) == (1, False)
    assert way.run("webhook", "replay", name) == f"0 events are sent to webhook {name} again"
    assert len(way.run("webhook", "deliveries", name).splitlines()) == 1


def test_projects_have_their_own(way: Way) -> None:
    project, name = way.new("team"), way.new("hook")
    way.run("project", "add", project)
    way.run("webhook", "add", name, NOWHERE, "--project", project)
    assert way.read("webhook", "show", name, "--project", project)["project"] == project
    assert name not in way.run("webhook", "list")
    assert name in way.run("webhook", "list", "--project", project)
    way.run("webhook", "remove", name, "--project", project)


def test_what_can_not_be_is_refused_in_one_line(way: Way) -> None:
    assert "https" in way.refuse("webhook", "add", way.new("hook"), "http://192.0.2.1/")
    assert "events" in way.refuse("webhook", "add", way.new("hook"), NOWHERE, "--event", "pushed")
    way.refuse("webhook", "add", way.new("hook"), NOWHERE, "--timeout", "soon", status=2)
