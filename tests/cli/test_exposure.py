"""Beyond loopback: what an open registry says, with and without a password for users that nobody asks for.

And that it listens there without being told so where TLS asks every client for a certificate.
"""

import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from tests.cli.commands import printed, refused, stowage
from tests.support.certificates import Certificate, make_certificate
from tests.support.ports import free_port
from tests.support.server import ROOT, ServerFactory

PASSWORD = "STOWAGE_ADMIN_PASSWORD"
NO_USERS = "STOWAGE_ADMIN_PASSWORD protects nothing: nobody logs in, while auth.mode is open"


@pytest.fixture(autouse=True)
def _no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSWORD, raising=False)


def test_it_says_why_it_stays_closed_and_how_to_open_it(tmp_path: Path) -> None:
    said = refused("serve", "--host", "0.0.0.0", "--port", str(free_port()), "--data", str(tmp_path))
    assert "http.host is 0.0.0.0 and auth.mode is open" in said
    assert "Listen on 127.0.0.1" in said
    assert said.endswith("or say --insecure-open\n")


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


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """The server's and its clients': signed by itself."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


def test_client_certificates_open_it_to_whom_they_were_given(certificate: Certificate, tmp_path: Path) -> None:
    port, file = free_port(), tmp_path / "stowage.yaml"
    tls = {"certificate": str(certificate.certificate), "key": str(certificate.key)}
    asking = {**tls, "client_ca": str(certificate.certificate)}
    write_settings(file, port, asking)
    trust = ssl.create_default_context(cafile=str(certificate.certificate))
    with serving(file) as log:
        with client(port, trust) as stranger, pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            stranger.get("/v2/")
        trust.load_cert_chain(certificate.certificate, certificate.key)
        with client(port, trust) as known:
            assert known.get("/v2/").status_code == 200
            assert known.post("/v2/team/app/blobs/uploads/").status_code == 202
        assert '"reason": "OpenToAll"' not in printed("check", "--json", "--config", str(file))
        write_settings(file, port, tls)
        os.kill(log.pid, signal.SIGHUP)
        log.wait_for("reload refused, everything goes on as before: http.host is 0.0.0.0 and auth.mode is open")
        with client(port, trust) as known:
            assert known.get("/v2/").status_code == 200


def test_client_certificates_that_nobody_asks_for_open_nothing(certificate: Certificate, tmp_path: Path) -> None:
    """Without a certificate of its own the server speaks plain HTTP."""
    file = tmp_path / "stowage.yaml"
    for tls in ({"client_ca": str(certificate.certificate)}, {"certificate": str(certificate.certificate)}):
        write_settings(file, free_port(), tls)
        assert "auth.mode is open" in refused("serve", "--config", str(file))
        assert '"reason": "OpenToAll"' in stowage("check", "--json", "--config", str(file)).stdout


def write_settings(file: Path, port: int, tls: dict[str, str]) -> None:
    settings = {
        "data": str(file.parent / "data"),
        "http": {"host": "0.0.0.0", "port": port, "workers": 1, "tls": tls},
    }
    file.write_text(yaml.safe_dump(settings))


def client(port: int, trust: ssl.SSLContext) -> httpx.Client:
    return httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=trust, trust_env=False, timeout=30)


class Log:
    """What a server writes, and its process id."""

    def __init__(self, file: Path, process: "subprocess.Popen[bytes]") -> None:
        self._file = file
        self._process = process
        self.pid = process.pid

    def wait_for(self, text: str) -> None:
        """Return when it has written a text."""
        deadline = time.monotonic() + 60
        while text not in self._file.read_text():
            assert self._process.poll() is None and time.monotonic() < deadline, self._file.read_text()
            time.sleep(0.05)


@contextmanager
def serving(file: Path) -> Iterator[Log]:
    """Serve as a configuration file says, with no other word."""
    command = [sys.executable, "-m", "registry", "serve", "--config", str(file)]
    written = file.with_name("log")
    with (
        written.open("wb") as log,
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=log) as process,
    ):
        try:
            told = Log(written, process)
            told.wait_for("listening on ")
            yield told
        finally:
            process.terminate()
            process.wait(60)
