"""Following events at servers that are killed, that end, that are full, and that ask who follows."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from registry.event import ACTIONS
from tests.events.stream import WATCH, Follower, Heard, until
from tests.factories import OCI_MANIFEST, new_image, push_blob, push_image, put_manifest
from tests.support.people import ADMIN, ALICE, PROJECT, People, asking, settings_for
from tests.support.served import eventually
from tests.support.server import Server, ServerFactory, new_client

LISTED = "/api/v1/events"


def test_whoever_follows_a_server_that_is_killed_again_and_again_misses_nothing(fresh_server: ServerFactory) -> None:
    server = fresh_server("--workers", "2")
    image = new_image()
    with new_client(server) as client:
        for blob in image.blobs:
            push_blob(client, "app", blob)
    pushed: list[str] = []
    stopping = threading.Event()

    def push() -> None:
        number = 0
        while not stopping.is_set():
            number += 1
            try:
                with new_client(server) as client:
                    if put_manifest(client, "app", f"t{number}", image.manifest).status_code == 201:
                        pushed.append(f"t{number}")
            except httpx.TransportError:
                time.sleep(0.02)

    pushing = threading.Thread(target=push, daemon=True)
    with Follower(lambda: new_client(server)) as follower:
        pushing.start()
        for turn in range(3):
            eventually(lambda turn=turn: follower.returns >= turn)  # type: ignore[misc]  # a lambda's default
            before = len(follower.heard)
            eventually(lambda before=before: len(follower.heard) > before + 10)  # type: ignore[misc]  # a lambda's default
            server.kill()
            server.start()
        stopping.set()
        pushing.join(60)
        heard: list[dict[str, Any]] = follower.heard
        eventually(lambda: set(pushed) <= {one["tag"] for one in heard if one["action"] == "tag"})
    positions = [int(one["id"].rpartition("-")[2]) for one in heard]
    assert positions == list(range(1, len(heard) + 1))
    tags = [one["tag"] for one in heard if one["action"] == "tag"]
    assert tags == sorted(tags, key=lambda tag: int(tag[1:]))
    assert server.sql("SELECT count(*) FROM outbox WHERE position IS NULL") == [("0",)]


def test_a_worker_that_is_stopped_sends_followers_away(fresh_server: ServerFactory) -> None:
    server = fresh_server("--workers", "2")
    heard: list[Heard] = []

    def follow() -> None:
        with new_client(server) as client:
            heard.extend(until(client, lambda _: False))

    following = [threading.Thread(target=follow) for _ in range(4)]
    for one in following:
        one.start()
    eventually(lambda: figure(server, "stowage_event_watchers") == 4)
    assert server.stop(within=20) == 0  # sooner than the time that answers have which are due
    for one in following:
        one.join(60)
        assert not one.is_alive()
    assert len(heard) == 4  # where the stream is, for each


def figure(server: Server, name: str) -> float:
    with new_client(server) as client:
        lines = client.get("/metrics").text.splitlines()
    return float(next(line.split()[-1] for line in lines if line.startswith(f"{name} ")))


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that lets two follow, and says something each second."""
    settings = {"STOWAGE_EVENTS__WATCHERS": "2", "STOWAGE_EVENTS__HEARTBEAT": "1s"}
    with Server(tmp_path_factory.mktemp("narrow"), settings, ("--workers", "1")) as running:
        yield running


def test_no_more_follow_than_may(narrow: Server) -> None:
    eventually(lambda: figure(narrow, "stowage_event_watchers") == 0)
    with new_client(narrow) as client, client.stream("GET", WATCH), client.stream("GET", WATCH):
        refused = client.get(WATCH)
        assert (refused.status_code, refused.json()["code"]) == (503, "too-many-watchers")
        assert int(refused.headers["retry-after"]) > 0
    with new_client(narrow) as client:
        eventually(lambda: client.get(WATCH, params={"seconds": "0"}).status_code == 200)


def test_nobody_takes_all_places(fresh_server: ServerFactory) -> None:
    with new_client(fresh_server("--workers", "1", STOWAGE_EVENTS__WATCHERS_EACH="1")) as client:
        with client.stream("GET", WATCH):
            refused = client.get(WATCH)
            assert (refused.status_code, refused.json()["code"]) == (429, "too-many-requests")
            assert int(refused.headers["retry-after"]) > 0
        eventually(lambda: client.get(WATCH, params={"seconds": "0"}).status_code == 200, 10)


def test_silence_is_broken_and_tells_where_the_stream_is(narrow: Server) -> None:
    with new_client(narrow) as client:
        push_blob(client, "app", b"content")
        eventually(lambda: len(client.get(LISTED, params={"repository": "app"}).json()["items"]) >= 2)
        newest = client.get(LISTED, params={"after": "newest"}).json()["cursor"]
        heard = until(client, lambda all_: len(all_) == 3, repository="other/**", after="oldest")
    assert [one.data for one in heard] == [None, None, None]
    assert heard[1].id == heard[2].id == newest  # it comes on, although nothing that is asked for happens


def test_a_stream_ends_when_its_time_is_over(narrow: Server) -> None:
    with new_client(narrow) as client:
        push_blob(client, "timed", b"content")
        eventually(lambda: len(client.get(LISTED, params={"repository": "timed"}).json()["items"]) >= 2)
        answer = client.get(WATCH, params={"seconds": "0", "after": "oldest", "repository": "timed"})
        assert answer.text.count("event: push") == 1
        assert answer.headers["content-type"].partition(";")[0] == "text/event-stream"
        assert answer.headers["x-accel-buffering"] == "no"
        assert "no-store" in answer.headers["cache-control"]
        assert client.head(WATCH).status_code == 200


def test_cursors_that_lead_nowhere_are_told_apart(narrow: Server) -> None:
    with new_client(narrow) as client:
        for path in (LISTED, WATCH):
            gone = client.get(path, params={"after": "0123456789ab-1"})
            assert (gone.status_code, gone.json()["code"]) == (410, "cursor-gone")
            for wrong in ("1", "x-1", "0123-", "-1", "0123-99999999999999999999"):
                assert client.get(path, params={"after": wrong}).status_code == 400, wrong
            assert client.get(path, params={"action": "nonsense"}).status_code == 422
        answer = client.get(WATCH, params={"after": "oldest"}, headers={"Last-Event-ID": "0123456789ab-1"})
        assert answer.status_code == 410  # a browser says again what it said first
        for last, status in (("nonsense", 400), ("0123456789ab-0x1", 400), ("x" * 301, 422)):
            assert client.get(WATCH, headers={"Last-Event-ID": last}).status_code == status


def test_every_action_can_be_asked_for(narrow: Server) -> None:
    with new_client(narrow) as client:
        for path in (LISTED, WATCH):
            query = {"action": list(ACTIONS), "seconds": "0", "after": "newest"}
            assert client.get(path, params=query).status_code == 200


def test_mode_open_has_nothing_about_people(narrow: Server) -> None:
    with new_client(narrow) as client:
        paths = set(client.get("/api/v1/openapi.json").json()["paths"])
        assert {LISTED, WATCH} <= paths
        assert not {path for path in paths if "user" in path or "grant" in path or "token" in path}
        assert client.get("/api/v1/users").status_code == 404
        assert client.post("/api/v1/users", json={"name": "x", "password": "y" * 20}).status_code == 404


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with users: alice may push to `test`, bob may pull there."""
    with Server(tmp_path_factory.mktemp("asked"), settings_for({}), ("--workers", "1")) as running:
        people = People(running)
        people.populate()
        people.add_project("secret")
        people.grant("registry-admin", "user:alice")
        with asking(running, ADMIN) as client:
            push_image(client, "secret/app", "v1")
            push_image(client, f"{PROJECT}/app", "v1")
            eventually(lambda: len(client.get(LISTED).json()["items"]) == 10)
        yield running


def seen_by(server: Server, who: tuple[str, str] | None, bearer: str | None = None) -> list[dict[str, Any]]:
    with asking(server, who, bearer=bearer) as client:
        return [one.data for one in until(client, lambda _: False, after="oldest", seconds="0") if one.data is not None]


def test_everybody_sees_what_happens_where_they_may_pull(asked: Server) -> None:
    with asking(asked, ADMIN) as client:
        push_blob(client, "secret/app", b"more")
    people = People(asked)
    people.service_account("reader", "registry-viewer")
    reader, _ = people.token("reader")
    viewers: list[tuple[tuple[str, str] | None, str | None]] = [(ALICE, None), (None, reader)]
    for who, bearer in viewers:
        seen = seen_by(asked, who, bearer)
        assert {one["repository"] for one in seen} == {f"{PROJECT}/app"}
        with asking(asked, who, bearer=bearer) as client:
            assert client.get(LISTED, params={"after": "oldest"}).json()["items"] == seen
            assert [one["id"] for one in client.get(LISTED).json()["items"]] == [one["id"] for one in seen]
    assert {one["repository"] for one in seen_by(asked, ADMIN)} == {f"{PROJECT}/app", "secret/app"}
    # By which requests, those see who may read the audit log.
    assert all(one["request"] is not None for one in seen_by(asked, ALICE))
    assert all(one["request"] is None for one in seen_by(asked, None, reader))
    people.add_user("stranger", "a stranger's password")
    assert seen_by(asked, ("stranger", "a stranger's password")) == []


def test_where_a_blob_was_mounted_from_those_see_who_may_pull_there(asked: Server) -> None:
    with asking(asked, ADMIN) as client:
        cursor = client.get(LISTED, params={"after": "newest"}).json()["cursor"]
        blob = push_blob(client, "secret/app", b"to be mounted elsewhere")
        query = {"mount": blob, "from": "secret/app"}
        assert client.post(f"/v2/{PROJECT}/mounted/blobs/uploads/", params=query).status_code == 201
    asking_for = {"after": cursor, "action": "mount"}
    for who, source in ((ADMIN, "secret/app"), (ALICE, None)):
        with asking(asked, who) as client:
            eventually(lambda client=client: client.get(LISTED, params=asking_for).json()["items"] != [])  # type: ignore[misc]  # a lambda's default
            [listed] = client.get(LISTED, params=asking_for).json()["items"]
            [_, heard] = until(client, lambda _: False, **asking_for, seconds="0")
        assert listed["source"] == source
        assert heard.data == listed


def test_what_was_before_a_project_was_made_is_another_ones(asked: Server) -> None:
    people = People(asked)
    people.add_user("late", "a late password")
    people.add_project("again")
    with asking(asked, ADMIN) as client:
        push_blob(client, "again/app", b"before")
        eventually(lambda: client.get(LISTED, params={"repository": "again/app"}).json()["items"] != [])
    asked.sql("UPDATE projects SET created_at = created_at + 3600000000 WHERE name = 'again'")
    people.grant("registry-viewer", "user:late", "again")
    assert seen_by(asked, ("late", "a late password")) == []


def test_a_credential_that_ends_ends_what_it_follows(asked: Server) -> None:
    people = People(asked)
    people.service_account("leaving")
    for end in ("revoked", "over"):
        secret, number = people.token("leaving", seconds=None if end == "revoked" else 12)
        ended: list[float] = []

        def follow(secret: str = secret, ended: list[float] = ended) -> None:
            with asking(asked, bearer=secret) as client:
                until(client, lambda _: False)
            ended.append(time.monotonic())

        following = threading.Thread(target=follow)
        following.start()
        eventually(lambda: figure(asked, "stowage_event_watchers") == 1)
        if end == "revoked":
            assert not ended
            people.revoke_token(number)
        following.join(60)
        assert ended, end
        with asking(asked, bearer=secret) as client:
            assert client.get(WATCH).status_code == 401


def test_a_right_that_is_taken_away_or_given_counts_while_somebody_follows(asked: Server) -> None:
    people = People(asked)
    people.service_account("moving", None)
    secret, _ = people.token("moving")
    heard: list[Heard] = []

    def enough(found: list[Heard]) -> bool:
        heard[:] = found
        return len([one for one in found if one.data is not None]) == 2

    def follow() -> None:
        with asking(asked, bearer=secret) as client:
            until(client, enough)

    following = threading.Thread(target=follow)
    following.start()
    eventually(lambda: len(heard) == 1)
    with asking(asked, ADMIN) as client:

        def push_unseen(content: bytes) -> None:
            digest = push_blob(client, f"{PROJECT}/app", content)
            eventually(lambda: digest in [one["digest"] for one in client.get(LISTED).json()["items"]])
            time.sleep(1.5)  # for it to be seen, if it were

        push_unseen(b"not to be seen")
        people.grant("registry-viewer", f"serviceaccount:{PROJECT}/moving")
        seen = push_blob(client, f"{PROJECT}/app", b"to be seen")
        eventually(lambda: [one.data["digest"] for one in heard if one.data] == [seen])
        people.revoke("registry-viewer", f"serviceaccount:{PROJECT}/moving")
        push_unseen(b"not to be seen any more")
        people.grant("registry-viewer", f"serviceaccount:{PROJECT}/moving")
        last = push_blob(client, f"{PROJECT}/app", b"to be seen again")
    following.join(60)
    assert [one.data["digest"] for one in heard if one.data] == [seen, last]


def test_nobody_and_tokens_for_repositories_do_not_follow(asked: Server) -> None:
    with asking(asked) as client:
        assert client.get(WATCH).status_code == 401
    secret, _ = People(asked).token("user:alice", scope=f"repository:{PROJECT}/app:pull")
    with asking(asked, bearer=secret) as client:
        assert client.get(WATCH).status_code == 403


def test_a_client_that_takes_nothing_does_not_hold_up_others(narrow: Server) -> None:
    with new_client(narrow) as client:
        image = new_image()
        for blob in image.blobs:
            push_blob(client, "busy", blob)
        with client.stream("GET", WATCH):  # read by nobody
            for number in range(50):
                assert put_manifest(client, "busy", f"t{number}", image.manifest, OCI_MANIFEST).status_code == 201
            heard = until(
                client,
                lambda found: found[-1].event == "tag" and (found[-1].data or {})["tag"] == "t49",
                after="oldest",
            )
    assert len([one for one in heard if one.event == "tag"]) == 50
