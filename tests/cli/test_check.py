"""`stowage check`: what it finds with the server running and without, in text and JSON, and its exit status."""

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pysqlite3 as sqlite3
import pytest

from registry import __version__
from registry.cli import running
from registry.db.migrate import REVISION
from tests.cli.commands import printed, stowage
from tests.support.certificates import make_certificate
from tests.support.ports import free_port
from tests.support.server import ROOT, Server, ServerFactory


class Found:
    """What `stowage check --json` printed."""

    def __init__(self, *arguments: str, **settings: str) -> None:
        done = stowage("check", "--json", *arguments, **settings)
        assert done.stderr == ""
        self.status = done.returncode
        self.content: dict[str, Any] = json.loads(done.stdout)
        for condition in self.content["conditions"]:
            assert set(condition) == {"type", "status", "reason", "message"}
            assert condition["status"] in {"True", "False", "Unknown"}
        assert [one["type"] for one in self.content["conditions"]] == ["Available", "Progressing", "Degraded"]
        errors = [one for one in self.content["problems"] if one["severity"] == "error"]
        assert self.status == (1 if errors else 0)
        assert (self.condition("Degraded")[0] == "True") is bool(errors)

    def condition(self, name: str) -> tuple[str, str]:
        """Status and reason."""
        condition = next(one for one in self.content["conditions"] if one["type"] == name)
        return condition["status"], condition["reason"]

    @property
    def problems(self) -> dict[str, str]:
        """Messages by reason, without the one that is this machine's own."""
        found = {one["reason"]: one["message"] for one in self.content["problems"]}
        found.pop("FewDescriptors", None)
        return found

    def setting(self, name: str) -> tuple[Any, str, str]:
        """Value, source, place."""
        one = next(one for one in self.content["settings"] if one["name"] == name)
        return one["value"], one["source"], one["place"]


@pytest.fixture
def port() -> Iterator[str]:
    """A port that nobody has."""
    yield str(free_port())


def test_before_the_first_start_nothing_is_wrong_and_nothing_is_made(tmp_path: Path, port: str) -> None:
    data = tmp_path / "a" / "b"
    found = Found("--data", str(data), "--port", port)
    assert found.status == 0
    assert found.condition("Available") == ("False", "NotRunning")
    assert found.condition("Progressing") == ("True", "FirstStart")
    assert found.problems == {}
    assert found.content["version"] == __version__
    assert found.content["database"] == {"schema": None, "needed": REVISION}
    assert found.content["server"] == {
        "address": f"127.0.0.1:{port}",
        "running": False,
        "instance": None,
        "ready": None,
    }
    assert list(tmp_path.iterdir()) == []


def test_each_value_is_shown_with_where_it_comes_from(tmp_path: Path, port: str) -> None:
    file = tmp_path / "stowage.yaml"
    file.write_text("http: {public_url: 'https://registry.example.org', host: 127.0.0.2}\nuploads: {expire: 2d}\n")
    arguments = ("--config", str(file), "--data", str(tmp_path), "--host", "127.0.0.1", "--port", port)
    found = Found(*arguments, STOWAGE_HTTP__TRUSTED_PROXIES="10.0.0.0/8")
    assert found.setting("http.host") == ("127.0.0.1", "commandLine", "--host")
    assert found.setting("http.trusted_proxies") == (["10.0.0.0/8"], "environment", "STOWAGE_HTTP__TRUSTED_PROXIES")
    assert found.setting("http.public_url") == ("https://registry.example.org", "file", str(file))
    assert found.setting("uploads.expire") == (172800, "file", str(file))
    assert found.setting("auth.mode") == ("open", "default", "")
    assert found.setting("database.url") == (f"sqlite:///{tmp_path}/stowage.sqlite3", "default", "")
    text = stowage("check", *arguments).stdout
    line = next(line for line in text.splitlines() if "http.public_url" in line)
    assert line.split() == ["http.public_url", "https://registry.example.org", str(file)]


def test_a_configuration_that_can_not_be_used_is_a_condition_too(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("http: {prot: 5}\nmanifests: {sparse: perhaps}\n")
    found = Found("--config", str(tmp_path / "c.yaml"))
    assert found.status == 1
    assert found.condition("Available") == ("Unknown", "ConfigurationInvalid")
    assert found.condition("Degraded") == ("True", "ConfigurationInvalid")
    assert len(found.content["problems"]) == 2
    assert "can't be read" in Found("--config", str(tmp_path / "none")).problems["ConfigurationInvalid"]
    text = stowage("check", "--config", str(tmp_path / "c.yaml"))
    assert text.returncode == 1
    assert "http.prot" in text.stdout


def test_the_running_server_is_asked(fresh_server: ServerFactory) -> None:
    server = fresh_server()
    arguments = ("--data", str(server.data), "--port", str(server.port))
    found = Found(*arguments)
    assert (found.status, found.problems) == (0, {})
    assert found.condition("Available") == ("True", "Ready")
    assert found.condition("Progressing") == ("False", "AsConfigured")
    assert found.content["server"]["running"] is found.content["server"]["ready"] is True
    assert found.content["server"]["instance"] in server.log_tail()

    printed("maintenance", "on", "--data", str(server.data), "--message", "new disk")
    found = Found(*arguments)
    assert found.condition("Available") == ("True", "ReadOnly")
    assert found.content["maintenance"]["message"] == "new disk"
    assert "new disk" in stowage("check", *arguments).stdout

    root = server.data / "storage"
    root.rename(server.data / "elsewhere")
    found = Found(*arguments)
    assert found.condition("Available") == ("False", "NotReady")
    assert "storage" in found.problems["NotReady"]

    other = Found("--data", str(server.data / "none"), "--port", str(server.port))
    assert other.condition("Available") == ("False", "OtherData")
    assert other.status == 1


@pytest.fixture
def stranger() -> Iterator[str]:
    """The port of another program that speaks HTTP."""
    script = "import http.server as h; s = h.HTTPServer(('127.0.0.1', 0), h.BaseHTTPRequestHandler)\n"
    command = [sys.executable, "-c", script + "print(s.server_port, flush=True); s.serve_forever()"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def test_another_program_on_the_port_is_told_apart(tmp_path: Path, stranger: str, port: str) -> None:
    found = Found("--data", str(tmp_path), "--port", stranger)
    assert found.condition("Available") == ("False", "AddressTaken")
    assert "another program" in found.problems["PortTaken"]
    found = Found("--data", str(tmp_path), "--port", port, STOWAGE_OPERATIONS__PORT=stranger)
    assert stranger in found.problems["PortTaken"]
    found = Found("--data", str(tmp_path), "--port", stranger, STOWAGE_OPERATIONS__PORT=port)
    assert stranger in found.problems["PortTaken"]


def test_who_takes_connections_and_says_nothing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "_PATIENCE_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        found = Found("--data", str(tmp_path), "--port", str(silent.getsockname()[1]))
        assert found.condition("Available") == ("False", "NotAnswering")
        assert found.status == 1


def test_a_port_that_changes_at_each_start_can_not_be_asked(tmp_path: Path) -> None:
    found = Found("--data", str(tmp_path), "--port", "0")
    assert found.condition("Available") == ("Unknown", "CannotAsk")
    assert found.status == 0


def test_a_server_with_a_port_for_operators_is_asked_there(tmp_path: Path) -> None:
    own = {"STOWAGE_OPERATIONS__PORT": str(free_port())}
    with _ToldServer(tmp_path, own) as server:
        found = Found("--data", str(server.data), "--port", str(server.port), **own)
        assert found.condition("Available") == ("True", "Ready")


def test_an_address_that_is_not_this_machines_is_named(tmp_path: Path, port: str) -> None:
    found = Found("--data", str(tmp_path), "--port", port, "--host", "192.0.2.1", "--insecure-open")
    assert set(found.problems) == {"AddressUnusable", "OpenToAll"}
    assert found.status == 1


def test_open_beyond_loopback_is_an_error_until_it_is_said_to_be_meant(tmp_path: Path, port: str) -> None:
    arguments = ("--data", str(tmp_path), "--port", port, "--host", "0.0.0.0")
    found = Found(*arguments)
    assert found.status == 1
    assert "--insecure-open" in found.problems["OpenToAll"]
    assert Found(*arguments, "--insecure-open").status == 0
    with Server(tmp_path, arguments=("--host", "0.0.0.0", "--insecure-open")) as server:
        found = Found("--data", str(server.data), "--port", str(server.port), "--host", "0.0.0.0")
        assert found.condition("Available") == ("True", "Ready")
        assert (found.status, list(found.problems)) == (0, ["OpenToAll"])


@pytest.mark.parametrize(
    ("revision", "progressing", "problems"),
    [("0001", ("True", "SchemaBehind"), set()), ("9999", ("False", "AsConfigured"), {"SchemaNewer"})],
)
def test_the_schema_is_compared(
    tmp_path: Path, port: str, revision: str, progressing: tuple[str, str], problems: set[str]
) -> None:
    printed("migrate", "--data", str(tmp_path))
    raw = sqlite3.connect(tmp_path / "stowage.sqlite3")
    raw.execute("DROP TABLE maintenance")
    raw.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    raw.commit()
    raw.close()
    found = Found("--data", str(tmp_path), "--port", port)
    assert found.condition("Progressing") == progressing
    assert set(found.problems) == problems
    assert found.content["database"]["schema"] == revision


def test_a_file_that_is_no_database_is_named(tmp_path: Path, port: str) -> None:
    (tmp_path / "stowage.sqlite3").write_text("not a database, but long enough to be looked at " * 100)
    found = Found("--data", str(tmp_path), "--port", port)
    assert str(tmp_path) in found.problems["DatabaseUnreadable"]
    assert found.condition("Progressing") == ("Unknown", "DatabaseUnreadable")


def test_what_is_not_a_folder_is_named(tmp_path: Path, port: str) -> None:
    (tmp_path / "storage").write_text("a file where a folder should be")
    assert str(tmp_path / "storage") in Found("--data", str(tmp_path), "--port", port).problems["NotAFolder"]
    found = Found("--data", str(tmp_path / "storage" / "below"), "--port", port)
    assert set(found.problems) == {"NotAFolder"}


def test_folders_that_may_not_be_written_to_are_named(tmp_path: Path, port: str) -> None:
    printed("migrate", "--data", str(tmp_path))
    command = [sys.executable, "-m", "registry", "check", "--json", "--data", str(tmp_path), "--port", port]
    if os.geteuid() == 0:  # who may write everywhere, but for this
        tool = shutil.which("setpriv")
        assert tool, "setpriv is not installed"
        command = [tool, "--bounding-set=-dac_override,-dac_read_search", *command]
    for path, mode in ((tmp_path / "stowage.sqlite3", 0o444), (tmp_path, 0o555)):
        before = path.stat().st_mode
        path.chmod(mode)
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        path.chmod(before)
        assert done.returncode == 1
        problems = [one for one in json.loads(done.stdout)["problems"] if one["reason"] == "NotWritable"]
        assert problems
        assert str(path) in problems[0]["message"]


def test_a_disk_with_less_room_than_the_reserve_is_named(tmp_path: Path, port: str) -> None:
    much = f"{os.statvfs(tmp_path).f_blocks * os.statvfs(tmp_path).f_frsize}"
    settings = {"STOWAGE_STORAGE__FILESYSTEM__RESERVE": much, "STOWAGE_DATABASE__RESERVE": much}
    found = Found("--data", str(tmp_path), "--port", port, **settings)
    assert set(found.problems) == {"StorageFull", "DatabaseFull"}
    assert "507" in found.problems["StorageFull"]


def test_a_low_limit_of_open_files_is_a_warning(tmp_path: Path, port: str) -> None:
    command = [sys.executable, "-m", "registry", "check", "--json", "--data", str(tmp_path), "--port", port]
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024)),
    )
    assert done.returncode == 0
    (problem,) = json.loads(done.stdout)["problems"]
    assert (problem["severity"], problem["reason"]) == ("warning", "FewDescriptors")
    assert "256" in problem["message"]


def test_tls_is_looked_at_in_the_files_and_at_the_running_server(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    settings = {"STOWAGE_HTTP__TLS__CERTIFICATE": str(certificate), "STOWAGE_HTTP__TLS__KEY": str(key)}
    server = _ToldServer(tmp_path / "server", settings)
    try:
        server.start()
        arguments = ("--data", str(server.data), "--port", str(server.port))
        found = Found(*arguments, **settings)
        assert found.condition("Available") == ("True", "Ready")
        assert found.problems == {}
        renewed, new_key = make_certificate(tmp_path, "renewed", begins=timedelta(days=-20), ends=timedelta(days=3))
        settings = {"STOWAGE_HTTP__TLS__CERTIFICATE": str(renewed), "STOWAGE_HTTP__TLS__KEY": str(new_key)}
        found = Found(*arguments, **settings)
        assert set(found.problems) == {"CertificateExpiring", "CertificateNotReloaded"}
        assert found.status == 0
        assert found.condition("Degraded") == ("False", "Warnings")
        assert Found(*arguments).condition("Available") == ("False", "AddressTaken")
    finally:
        server.kill()


def test_a_server_that_wants_certificates_of_clients_can_not_be_asked(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    settings = {"STOWAGE_HTTP__TLS__CERTIFICATE": str(certificate), "STOWAGE_HTTP__TLS__KEY": str(key)}
    settings["STOWAGE_HTTP__TLS__CLIENT_CA"] = str(certificate)
    with _ToldServer(tmp_path / "server", settings) as server:
        found = Found("--data", str(server.data), "--port", str(server.port), **settings)
        assert found.condition("Available") == ("Unknown", "CannotAsk")
        assert (found.status, found.problems) == (0, {})


class _ToldServer(Server):
    """One that is ready when it says where it listens."""

    def _wait_until_ready(self, seconds: float) -> None:
        while "listening on" not in self.log_tail():
            assert self.running, self.log_tail()
