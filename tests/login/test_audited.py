"""What the audit log says of logins, tokens and refusals, once the server has written down what it gathered."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cli.commands import printed
from tests.support.people import ADMIN, ALICE, BOB, CAROL, PROJECT, People, asking, settings_for, token_for
from tests.support.server import Server

SECRET_PROJECT = "secret"
FORM = {"service": "stowage", "client_id": "docker"}


class Told:
    """The entries of a server that has stopped."""

    def __init__(self, server: Server) -> None:
        lines = printed("audit", "list", "--json", "--limit", "1000", "--data", str(server.data)).splitlines()
        self.entries: list[dict[str, Any]] = [json.loads(line) for line in lines]

    def of(self, action: str, outcome: str = "done", **wanted: Any) -> list[dict[str, Any]]:
        """Those of an action, the newest first; `wanted`: what else they say."""
        return [
            one
            for one in self.entries
            if (one["action"], one["outcome"]) == (action, outcome) and all(one[key] == wanted[key] for key in wanted)
        ]


@pytest.fixture(scope="module")
def tokens() -> dict[str, str]:
    """Secrets that were shown, by what they are."""
    return {}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, tokens: dict[str, str]) -> Iterator[Told]:
    """What was written of a morning's work."""
    with Server(tmp_path_factory.mktemp("audited"), settings_for({}), ("--workers", "1")) as server:
        people = People(server)
        people.populate()
        people.add_project(SECRET_PROJECT)
        people.service_account("builder")
        log_in(server)
        use_tokens(server, people, tokens)
        be_refused(server)
        server.stop()
        yield Told(server)


def log_in(server: Server) -> None:
    for _ in range(3):
        with asking(server, ALICE) as client:
            token_for(client, f"repository:{PROJECT}/app:pull,push")
    with asking(server, ALICE) as client:
        assert client.get("/v2/").status_code == 200
        assert client.get("/v2/").status_code == 200
    for _ in range(3):
        with asking(server) as client:
            assert token_for(client)  # for nobody
    for password in ("wrong one", "wrong two", "wrong two"):
        with asking(server, ("bob", password)) as client:
            assert client.get("/token").status_code == 401
    with asking(server, ("a password where a name belongs".replace(" ", "_"), "wrong")) as client:
        assert client.get("/token").status_code == 401


def use_tokens(server: Server, people: People, tokens: dict[str, str]) -> None:
    with asking(server, BOB) as client:
        tokens["refresh"] = token_for(client, offline_token="true", client_id="docker")["refresh_token"]
    with asking(server) as client:
        form = {**FORM, "grant_type": "refresh_token"}
        for secret, status in ((tokens["refresh"], 200), ("stw_" + "a" * 32, 401)):
            assert client.post("/token", data={**form, "refresh_token": secret}).status_code == status
    tokens["builder"], number = people.token("builder")
    tokens["number"] = str(number)
    with asking(server, ("whoever", tokens["builder"])) as client:
        assert client.get("/v2/").status_code == 200
        people.revoke_token(number)
        assert client.get("/v2/").status_code == 401


def be_refused(server: Server) -> None:
    with asking(server, CAROL) as client:
        for _ in range(2):
            assert client.get(f"/v2/{PROJECT}/app/tags/list").status_code == 403
        assert client.get("/api/v1/users").status_code == 403
        assert client.get(f"/api/v1/projects/{SECRET_PROJECT}").status_code == 404
        assert client.get("/api/v1/projects/none").status_code == 404
    with asking(server) as client:
        assert client.get("/api/v1/users").status_code == 401
    with asking(server, ADMIN) as client:
        assert client.get("/api/v1/projects/none").status_code == 404


def test_a_client_that_logs_in_again_and_again_is_an_entry_for_each_way(told: Told) -> None:
    [login] = told.of("login", principal="user:alice")
    assert (login["detail"], login["address"], login["project"]) == ({"by": "password"}, "127.0.0.1", "")
    assert login["requestId"]
    [issued] = told.of("token.issue", principal="user:alice")
    assert (issued["count"], issued["detail"]) == (3, {"by": "password"})
    assert not told.of("token.issue", principal="system:anonymous")


def test_logins_that_fail_are_told_and_nothing_of_what_was_typed(told: Told) -> None:
    [bob] = told.of("login", "failed", principal="user:bob")
    assert (bob["count"], bob["detail"]) == (2, {"by": "password"})  # the same again is no guess
    assert "belongs" not in json.dumps(told.entries)


def test_a_refresh_token_is_told_of_and_its_use(told: Told, tokens: dict[str, str]) -> None:
    [added] = told.of("token.add", principal="user:bob")
    assert added["detail"]["kind"] == "refresh" and added["detail"]["name"] == "docker"
    assert added["address"] == "127.0.0.1" and added["requestId"]
    ways = [one["detail"]["by"] for one in told.of("token.issue", principal="user:bob")]
    assert sorted(ways) == ["password", f"token {added['detail']['token']}"]
    assert not [secret for name, secret in tokens.items() if name != "number" and secret in json.dumps(told.entries)]


def test_a_token_that_was_revoked_says_whose_it_was(told: Told, tokens: dict[str, str]) -> None:
    way = {"by": f"token {tokens['number']}"}
    [login] = told.of("login", principal=f"serviceaccount:{PROJECT}/builder")
    assert login["detail"] == way
    [failed] = told.of("login", "failed", principal=f"serviceaccount:{PROJECT}/builder")
    assert failed["detail"] == way


def test_refusals_are_told_with_what_was_asked(told: Told) -> None:
    [pull] = told.of("pull", "denied", principal="user:carol")
    assert (pull["count"], pull["repository"], pull["project"]) == (2, f"{PROJECT}/app", PROJECT)
    [users] = told.of("api.users", "denied", principal="user:carol")
    assert users["detail"] == {"method": "GET", "path": "/api/v1/users"}
    [project] = told.of("api.projects", "denied")
    assert (project["principal"], project["project"], project["count"]) == ("user:carol", SECRET_PROJECT, 1)
    assert told.of("api.users", "denied", principal="system:anonymous")


def test_the_first_admin_is_told_of(told: Told) -> None:
    [first] = told.of("user.add", principal="system:operator")
    assert first["detail"] == {"user": "admin", "admin": True, "first": True}
