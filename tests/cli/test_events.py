"""`stowage events`: on the database here, and on a server elsewhere."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.ways import Way, elsewhere, here
from tests.factories import push_blob, push_image
from tests.support.people import ADMIN, asking, settings_for
from tests.support.served import eventually
from tests.support.server import ROOT, Server


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on which a tag was moved."""
    with Server(tmp_path_factory.mktemp("filled"), settings_for({}), ("--workers", "1")) as running:
        with asking(running, ADMIN) as client:
            client.post("/api/v1/projects", json={"name": "team"})
            push_image(client, "team/app", "v1")
            push_image(client, "team/app", "v1")
            push_blob(client, "team/other", b"content")
            eventually(lambda: running.sql("SELECT position FROM event_stream") == [("11",)])
        yield running


@pytest.fixture(params=[lambda server: here(server.data), elsewhere], ids=["here", "elsewhere"])
def way(request: pytest.FixtureRequest, filled: Server) -> Way:
    made: Way = request.param(filled)
    return made


def test_the_newest_are_told_in_order(way: Way) -> None:
    lines = way.run("events", "--repository", "team/app").splitlines()
    assert [line.split()[2] for line in lines] == ["create", *["push"] * 3, "tag", *["push"] * 3, "tag"]
    assert "team/app:v1 sha256:" in lines[-1] and "(was sha256:" in lines[-1] and "user:admin" in lines[-1]
    assert way.run("events", "--repository", "team/app", "--limit", "1").splitlines() == lines[-1:]


def test_what_comes_after_a_cursor_is_told_whole(way: Way) -> None:
    every = [json.loads(line) for line in way.run("events", "--after", "oldest", "--json").splitlines()]
    assert len(every) == 11
    rest = way.run("events", "--after", every[8]["id"], "--json")
    assert [json.loads(line) for line in rest.splitlines()] == every[9:]
    assert way.run("events", "--after", "newest") == ""
    tags = way.run("events", "--after", "oldest", "--action", "tag", "--action", "create", "--json").splitlines()
    assert [json.loads(line)["action"] for line in tags] == ["create", "tag", "tag", "create"]


def test_what_makes_no_sense_is_said_in_one_line(way: Way) -> None:
    assert "go on from newest" in way.refuse("events", "--after", "0123456789ab-1")
    assert "expected the id of an event" in way.refuse("events", "--after", "yesterday")
    assert "expected one of push" in way.refuse("events", "--action", "nonsense", status=2)


def test_it_goes_on_with_what_happens(way: Way, filled: Server, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "registry", "events", "--after", "newest", "--follow", "--json", *way.options]
    told = tmp_path / "told"
    with told.open("wb") as output:
        following = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **way.settings}, stdout=output)
        try:
            with asking(filled, ADMIN) as client:
                numbers = itertools.count()

                def is_told() -> bool:
                    push_blob(client, "team/other", f"{way.options} {next(numbers)}".encode())
                    return b'"push"' in told.read_bytes()

                eventually(is_told)
        finally:
            following.terminate()
            following.wait(60)
    assert {json.loads(line)["repository"] for line in told.read_text().splitlines()} == {"team/other"}
