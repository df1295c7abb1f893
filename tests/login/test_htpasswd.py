"""People of an htpasswd file, beside those of the database."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from auth.roles import VIEWER
from tests.factories import push_image
from tests.support.people import (
    ADMIN,
    ALICE,
    PROJECT,
    People,
    asking,
    bearer_of,
    settings_for,
    token_for,
    write_htpasswd,
)
from tests.support.server import Server

HENRY = ("henry", "a password of henry's")
FILE = {"henry": HENRY[1], "alice": "another password", "dave": "a password of dave's", "ivy": "a password of ivy's"}
_PATIENCE_S = 60


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("passwords") / "htpasswd"
    write_htpasswd(made, FILE)
    return made


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, file: Path) -> Iterator[Server]:
    own = {"STOWAGE_AUTH__HTPASSWD": str(file), "STOWAGE_AUTH__ADMINS": "dave, erin"}
    with Server(tmp_path_factory.mktemp("htpasswd"), {**settings_for({}), **own}, ("--workers", "2")) as running:
        People(running).populate()
        yield running


def enter(server: Server, who: tuple[str, str] | None = None, bearer: str | None = None) -> int:
    with asking(server, who, bearer=bearer) as client:
        return client.get("/v2/").status_code


def until(server: Server, who: tuple[str, str] | None, status: int, *, bearer: str | None = None) -> None:
    """Wait until both workers, which look once a second, answer so: eight connections in a row meet both."""
    deadline = time.monotonic() + _PATIENCE_S
    while any(enter(server, who, bearer) != status for _ in range(8)):
        assert time.monotonic() < deadline, f"there was never an answer with {status}"
        time.sleep(0.1)


def test_they_log_in_and_do_what_was_granted_to_them(server: Server) -> None:
    People(server).grant(VIEWER, "user:henry")
    with asking(server, ADMIN) as admin, asking(server, HENRY) as henry:
        push_image(admin, f"{PROJECT}/x", "1")
        assert henry.get(f"/v2/{PROJECT}/x/manifests/1").status_code == 200
        assert henry.post(f"/v2/{PROJECT}/x/blobs/uploads/").status_code == 403
    assert server.sql("SELECT source, password FROM users WHERE name = 'henry'") == [("htpasswd", "")]


def test_the_database_comes_first(server: Server) -> None:
    assert enter(server, ALICE) == 200
    assert enter(server, ("alice", FILE["alice"])) == 401


def test_admins_are_those_that_the_settings_name(server: Server) -> None:
    with asking(server, ("dave", FILE["dave"])) as dave:
        assert dave.delete("/v2/anything/x/manifests/1").status_code == 404


def test_a_user_who_is_disabled_here_stays_out(server: Server) -> None:
    ivy = ("ivy", FILE["ivy"])
    assert enter(server, ivy) == 200
    People(server).disable("ivy")
    assert enter(server, ivy) == 401


def test_what_changes_in_the_file_counts_soon_for_tokens_too(server: Server, file: Path) -> None:
    token = bearer_of(server, HENRY)
    with asking(server, HENRY) as client:
        refresh = token_for(client, offline_token="true")["refresh_token"]
    personal, _ = People(server).token("user:henry")
    changed = ("henry", "another password of henry's")
    write_htpasswd(file, {**FILE, changed[0]: changed[1]})
    until(server, changed, 200)
    until(server, HENRY, 401)
    until(server, None, 401, bearer=token)
    assert enter(server, ("x", personal)) == 200
    with asking(server) as client:
        form = {"grant_type": "refresh_token", "refresh_token": refresh}
        assert client.post("/token", data=form).status_code == 401
    write_htpasswd(file, {"dave": FILE["dave"]})
    until(server, changed, 401)
    until(server, ("x", personal), 401)
    assert enter(server, ADMIN) == 200
