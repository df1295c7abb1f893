"""Workers and replicas are one registry to those who log in: tokens, keys, guesses, the first admin, quotas."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path

import httpx
import pytest

from auth.signing import Seal, key_id
from registry.services.revision import OLDEST_S
from registry.services.signing_keys import rotate
from tests.cli.commands import printed
from tests.factories import assert_error, digest_of, random_bytes
from tests.support.everywhere import Everywhere
from tests.support.fleet import BACKENDS, shared_backend
from tests.support.people import ALICE, SECRET, People, asking, bearer_of, settings_for
from tests.support.server import Server

REPLICAS = 3
LIMIT, SIZE, EACH = 10, 5000, 6
"""So many blobs of this size has a quota room for; so many each client tries to push."""


@pytest.fixture(scope="module", params=BACKENDS)
def servers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """Three replicas on PostgreSQL and S3, or a server with two workers on SQLite."""
    name = request.param
    settings = settings_for(shared_backend(name))
    folder = tmp_path_factory.mktemp(name)
    with ExitStack() as opened:
        count, workers = (1, "2") if name == "single" else (REPLICAS, "1")
        running = [Server(folder / str(number), settings, ("--workers", workers)) for number in range(count)]
        for server in running:
            opened.enter_context(server)
        People(running[0]).populate()
        yield running


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def refreshed(server: Server, refresh: str) -> httpx.Response:
    form = {"grant_type": "refresh_token", "refresh_token": refresh, "service": "stowage", "client_id": "test"}
    with asking(server) as client:
        return client.post("/token", data=form)


def published(server: Server) -> set[str]:
    with asking(server) as client:
        return {key["kid"] for key in client.get("/token/keys").json()["keys"]}


def test_tokens_of_each_count_at_all_and_outlive_the_key_that_signed_them(
    servers: list[Server], opened: ExitStack
) -> None:
    first, people = servers[0], People(servers[0])
    with asking(first, ALICE) as client:
        parameters = {"service": "stowage", "offline_token": "true", "client_id": "test"}
        refresh = client.get("/token", params=parameters).json()["refresh_token"]
    before = [bearer_of(server, ALICE) for server in servers]
    shown = [Everywhere(opened, servers, bearer=token) for token in before]
    assert [one.statuses for one in shown] == [{200}] * len(servers)
    [old] = {key_id(token) for token in before}

    seal = Seal(SECRET["STOWAGE_AUTH__SECRET"].encode())
    assert "will sign" in people.write(lambda tx: rotate(tx, seal=seal, every_s=0, lifetime_s=300))
    [new] = published(first) - {old}
    assert [published(server) for server in servers] == [{old, new}] * len(servers)
    assert {key_id(bearer_of(server, ALICE)) for server in servers} == {old}  # it is known before it signs
    first.sql("UPDATE signing_keys SET signs_from = created_at")
    people.write(nothing)
    after = [bearer_of(server, ALICE) for server in servers]
    assert {key_id(token) for token in after} == {new}
    shown += [Everywhere(opened, servers, bearer=token) for token in after]
    assert [one.statuses for one in shown] == [{200}] * 2 * len(servers)
    again = [refreshed(server, refresh) for server in servers]
    assert [answer.status_code for answer in again] == [200] * len(servers)
    assert {key_id(answer.json()["access_token"]) for answer in again} == {new}


async def nothing(transaction: object) -> None:
    """Change nothing: the revision is raised, so that all read anew."""


def test_guesses_are_counted_together(servers: list[Server]) -> None:
    first, name = servers[0], "guessed-at"
    turns = cycle(servers)
    for number in range(3):
        with asking(next(turns), (name, f"guess {number}")) as client:
            assert client.get("/v2/").status_code == 401
    counts = first.sql("SELECT count FROM login_failures WHERE key NOT LIKE '%*%'")
    assert counts == [("3",)]
    first.sql("UPDATE login_failures SET count = 20 WHERE key NOT LIKE '%*%'")  # as if there had been many more
    with asking(next(turns), (name, "one more")) as client:
        assert client.get("/v2/").status_code == 401
    for number, server in enumerate(4 * servers):
        with asking(server, (name, f"another {number}")) as client:
            assert_error(client.get("/v2/"), 429, "TOOMANYREQUESTS")


def push_until_refused(server: Server, repository: str) -> list[httpx.Response]:
    """Push blobs, each with one request; all are tried, though some are refused."""
    answers = []
    with asking(server, ALICE) as client:
        for _ in range(EACH):
            content = random_bytes(SIZE)
            path, query = f"/v2/{repository}/blobs/uploads/", {"digest": digest_of(content)}
            answers.append(client.post(path, params=query, content=content))
    return answers


def test_a_quota_is_exact_when_all_push_at_once(servers: list[Server]) -> None:
    first, people = servers[0], People(servers[0], settle_s=0)
    people.add_project("limited")
    people.grant("registry-editor", "user:alice", "limited")
    time.sleep(OLDEST_S)
    own, data = settings_for(first.backend()), ("--data", str(first.data))
    printed("quota", "set", "limited", "--bytes", str(LIMIT * SIZE + SIZE - 1), *data, **own)
    with ThreadPoolExecutor(REPLICAS) as pool:
        turns = cycle(servers)
        pushing = [pool.submit(push_until_refused, next(turns), f"limited/{number}") for number in range(REPLICAS)]
        answers = [answer for done in pushing for answer in done.result()]
    refused = [answer for answer in answers if answer.status_code != 201]
    assert len(answers) - len(refused) == LIMIT
    for answer in refused:
        assert_error(answer, 403, "DENIED")
        assert answer.json()["errors"][0]["detail"]["used"] == LIMIT * SIZE
    [found] = json.loads(printed("quota", "check", "limited", "--json", *data, **own))
    assert found["right"], found
    [shown] = json.loads(printed("quota", "show", "limited", "--json", *data, **own))
    assert shown["bytes"]["used"] == LIMIT * SIZE


def test_of_three_that_start_at_once_one_makes_the_first_admin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STOWAGE_ADMIN_PASSWORD", raising=False)
    settings = {"STOWAGE_AUTH__MODE": "users", **SECRET, **shared_backend("fleet")}
    made = [Server(tmp_path / str(number), settings, ("--workers", "1")) for number in range(REPLICAS)]
    with ExitStack() as opened, ThreadPoolExecutor(REPLICAS) as pool:
        for server in made:
            opened.callback(server.stop)
        for started in [pool.submit(server.start) for server in made]:
            started.result()
        [file] = [file for server in made for file in server.data.glob("admin-password*")]
        assert file.name == "admin-password"
        for server in made:
            with asking(server, ("admin", file.read_text().strip())) as client:
                assert client.get("/v2/").status_code == 200
        assert made[0].sql("SELECT count(*) FROM users") == [("1",)]
        tokens = [bearer_of(server, ("admin", file.read_text().strip())) for server in made]
        for server in made:
            for token in tokens:
                with asking(server, bearer=token) as client:
                    assert client.get("/v2/").status_code == 200
