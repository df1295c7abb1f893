"""What `stowage check` says of logging in."""

from pathlib import Path
from typing import Any

import pytest

from registry.cli.login_problems import login_problems
from registry.settings import Settings, load_settings
from tests.support.people import write_htpasswd

SECRET = "a secret that is long enough for all tests"


def settings(folder: Path, **sections: Any) -> Settings:
    auth = {"mode": "users", **sections.pop("auth", {})}
    return load_settings(command_line={"data": folder, "auth": auth, **sections})


def reasons(given: Settings) -> list[str]:
    return [problem.reason for problem in login_problems(given)]


def test_nothing_is_wrong_before_the_first_start(tmp_path: Path) -> None:
    assert reasons(settings(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_asked_where_nobody_logs_in(tmp_path: Path) -> None:
    assert reasons(settings(tmp_path, auth={"mode": "open", "htpasswd": tmp_path / "none"})) == []


def test_an_htpasswd_file_must_be_there(tmp_path: Path) -> None:
    file = tmp_path / "htpasswd"
    assert reasons(settings(tmp_path, auth={"htpasswd": file})) == ["HtpasswdUnreadable"]
    write_htpasswd(file, {"ann": "secret"})
    assert reasons(settings(tmp_path, auth={"htpasswd": file})) == []


def test_the_secret_must_be_one_and_stay_one(tmp_path: Path) -> None:
    file = tmp_path / "stowage.sqlite3.secret"
    file.write_text("")
    assert reasons(settings(tmp_path)) == ["SecretUnusable"]
    assert reasons(settings(tmp_path, auth={"secret": SECRET})) == []
    file.write_text(SECRET)
    file.chmod(0o644)
    assert reasons(settings(tmp_path)) == ["SecretReadable"]
    file.chmod(0o600)
    assert reasons(settings(tmp_path)) == []


@pytest.mark.parametrize(
    ("http", "found"),
    [
        ({"host": "0.0.0.0"}, ["LoginUnencrypted"]),
        ({"host": "0.0.0.0", "public_url": "http://registry.example.org"}, ["LoginUnencrypted"]),
        ({"host": "0.0.0.0", "public_url": "https://registry.example.org"}, []),
        ({"host": "registry.example.org", "tls": {"certificate": "/x.pem"}}, []),
        ({"host": "::1"}, []),
        ({"host": "localhost"}, []),
    ],
)
def test_passwords_that_others_could_read_are_told_of(tmp_path: Path, http: dict[str, Any], found: list[str]) -> None:
    assert reasons(settings(tmp_path, http=http)) == found
