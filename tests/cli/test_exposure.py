"""Beyond loopback: what an open registry says, with and without a password for users that are not there yet."""

from pathlib import Path

import pytest

from tests.cli.commands import refused
from tests.support.ports import free_port
from tests.support.server import ServerFactory

PASSWORD = "STOWAGE_ADMIN_PASSWORD"
NO_USERS = "STOWAGE_ADMIN_PASSWORD protects nothing: this version has no users"


@pytest.fixture(autouse=True)
def _no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSWORD, raising=False)


def test_it_says_why_it_stays_closed_and_how_to_open_it(tmp_path: Path) -> None:
    said = refused("serve", "--host", "0.0.0.0", "--port", str(free_port()), "--data", str(tmp_path))
    assert "http.host is 0.0.0.0 and auth.mode is open" in said
    assert said.endswith("Listen on 127.0.0.1, or say --insecure-open\n")


def test_a_password_does_not_open_it(tmp_path: Path) -> None:
    command = ("serve", "--host", "0.0.0.0", "--port", str(free_port()), "--data", str(tmp_path))
    said = refused(*command, STOWAGE_ADMIN_PASSWORD="secret")
    assert said.endswith(f"or say --insecure-open. {NO_USERS}\n")
    assert "secret" not in said


def test_a_server_that_runs_does_not_pretend(fresh_server: ServerFactory) -> None:
    """Whoever set a password is told that it protects nothing; nobody else is."""
    told, not_told = fresh_server(STOWAGE_ADMIN_PASSWORD="secret"), fresh_server()
    assert NO_USERS in told.log_tail()
    assert "secret" not in told.log_file.read_text()
    assert PASSWORD not in not_told.log_tail()
