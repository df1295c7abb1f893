"""The first start with users: the admin, its password, the secret, and what is refused."""

import re
import stat
from pathlib import Path

import pytest

from tests.cli.commands import refused
from tests.support.people import ADMIN, SECRET, SETTINGS, People, asking, bearer_of, challenge_of, settings_for
from tests.support.ports import free_port
from tests.support.server import Server, ServerFactory

USERS = {"STOWAGE_AUTH__MODE": "users", **SECRET}


@pytest.fixture(autouse=True)
def _no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STOWAGE_ADMIN_PASSWORD", raising=False)


def mode_of(file: Path) -> str:
    return stat.filemode(file.stat().st_mode)


def enter(server: Server, name: str, password: str) -> int:
    with asking(server, (name, password)) as client:
        return client.get("/v2/").status_code


def test_the_admins_password_is_made_up_and_told_to_nobody_but_the_operator(fresh_server: ServerFactory) -> None:
    server = fresh_server(**USERS)
    file = server.data / "admin-password"
    password = file.read_text().strip()
    assert len(password) >= 20
    assert mode_of(file) == "-rw-------"
    log = server.log_file.read_text()
    assert str(file) in log and password not in log
    assert enter(server, "admin", password) == 200
    server.restart()
    assert file.read_text().strip() == password
    assert enter(server, "admin", password) == 200


def test_the_environment_gives_the_first_password_and_no_other(tmp_path: Path) -> None:
    with Server(tmp_path, settings_for({})) as server:
        assert not (server.data / "admin-password").exists()
        assert enter(server, *ADMIN) == 200
    with Server(tmp_path, {**settings_for(server.backend()), "STOWAGE_ADMIN_PASSWORD": "another"}) as again:
        assert enter(again, *ADMIN) == 200
        assert enter(again, "admin", "another") == 401


def test_the_secret_is_made_beside_the_database_and_tokens_outlive_a_restart(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'facts.db'}"
    with Server(
        tmp_path, {**SETTINGS, "STOWAGE_DATABASE__URL": url, "STOWAGE_STORAGE__DRIVER": "filesystem"}
    ) as server:
        file = tmp_path / "facts.db.secret"
        assert mode_of(file) == "-rw-------"
        token, secret = bearer_of(server, ADMIN), file.read_text().strip()
        server.restart()
        assert secret not in server.log_file.read_text()
        with asking(server, bearer=token) as client:
            assert client.get("/v2/").status_code == 200
        file.unlink()
        server.restart()
        with asking(server, bearer=token) as client:
            assert client.get("/v2/").status_code == 200  # the old key still verifies
        assert bearer_of(server, ADMIN)


def test_users_that_are_there_have_no_admin_made(fresh_server: ServerFactory) -> None:
    """Nor is one that was removed made again."""
    server = fresh_server(**settings_for({}))
    People(server).add_user("boss", "the boss's password", is_admin=True)
    server.sql("DELETE FROM users WHERE name = 'admin'")
    server.restart()
    assert enter(server, *ADMIN) == 401
    assert enter(server, "boss", "the boss's password") == 200


def test_beyond_loopback_it_serves_those_who_log_in(fresh_server: ServerFactory) -> None:
    url = "https://registry.example.org"
    server = fresh_server("--host", "0.0.0.0", **settings_for({}), STOWAGE_HTTP__PUBLIC_URL=url)
    with asking(server) as client:
        answer = client.get("/v2/", headers={"Host": "elsewhere.example.org"})
    assert answer.status_code == 401
    assert challenge_of(answer)[1]["realm"] == f"{url}/token"
    assert answer.headers["Strict-Transport-Security"].startswith("max-age=")
    [line] = [line for line in server.log_file.read_text().splitlines() if '"Stowage 0' in line]
    assert re.search(r'"auth":"users of database; tokens for stowage"', line)


def start_refused(folder: Path, name: str, value: str) -> str:
    own = {"STOWAGE_AUTH__MODE": "users", name: value}
    return refused("serve", "--port", str(free_port()), "--data", str(folder), status=1, **own)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    said = start_refused(tmp_path, "STOWAGE_AUTH__SECRET", "short")
    assert "auth.secret: expected at least 32 characters" in said
    assert "short" not in said
    missing = tmp_path / "none"
    assert f"auth.htpasswd: {missing} can't be read" in start_refused(tmp_path, "STOWAGE_AUTH__HTPASSWD", str(missing))
    said = start_refused(tmp_path, "STOWAGE_DATABASE__URL", "postgresql://nobody@127.0.0.1:1/none")
    assert "auth.secret: expected at least 32 characters, the same for all replicas" in said
