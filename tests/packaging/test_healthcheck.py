"""The check that a container runs on itself: whom it asks, and what counts as an answer."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests.support.certificates import Certificate
from tests.support.ports import free_port
from tests.support.server import ROOT, Server


def check(**environment: str) -> tuple[int, str]:
    """Run it with these settings. Return its status and what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "registry.healthcheck"],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_server_that_answers_is_healthy(server: Server) -> None:
    assert check(STOWAGE_HTTP__PORT=str(server.port)) == (0, "")


def test_every_address_of_the_machine_means_loopback(server: Server) -> None:
    assert check(STOWAGE_HTTP__PORT=str(server.port), STOWAGE_HTTP__HOST="0.0.0.0") == (0, "")


def test_nobody_there_is_told(tmp_path: Path) -> None:
    port = free_port()
    status, said = check(STOWAGE_HTTP__PORT=str(port))
    assert status == 1
    assert said == f"healthcheck: 127.0.0.1 port {port}: no answer: [Errno 111] Connection refused\n"


def test_the_configuration_file_is_read(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "stowage.yaml"
    file.write_text(f"http: {{port: {server.port}}}\n")
    assert check(STOWAGE_CONFIG=str(file)) == (0, "")


def test_a_wrong_configuration_is_told_in_a_line() -> None:
    status, said = check(STOWAGE_HTTP__PORT="x", STOWAGE_HTTP__WORKERS="0")
    assert status == 1
    assert said.count("\n") == 1
    assert "http.port" in said
    assert "http.workers" in said


def test_a_port_that_nobody_knows_is_told() -> None:
    status, said = check(STOWAGE_HTTP__PORT="0")
    assert status == 1
    assert "give http.port or operations.port a number" in said


def test_another_program_is_not_healthy(server: Server) -> None:
    """It speaks TLS where the server does not."""
    status, said = check(STOWAGE_HTTP__PORT=str(server.port), STOWAGE_HTTP__TLS__CERTIFICATE="/nowhere.pem")
    assert status == 1
    assert "no TLS" in said


def test_a_server_with_tls_is_asked_where_it_can_be(certificate: Certificate, tmp_path: Path) -> None:
    """It wants certificates of its clients, so a handshake has to do; the port for operations is always plain HTTP."""
    tls = {
        "STOWAGE_HTTP__PORT": str(free_port()),
        "STOWAGE_HTTP__TLS__CERTIFICATE": str(certificate.certificate),
        "STOWAGE_HTTP__TLS__KEY": str(certificate.key),
    }
    with_client_ca = {**tls, "STOWAGE_HTTP__TLS__CLIENT_CA": str(certificate.certificate)}
    with_operations = {**with_client_ca, "STOWAGE_OPERATIONS__PORT": str(free_port())}
    with (
        (tmp_path / "log").open("wb") as log,
        running({**with_operations, "STOWAGE_DATA": str(tmp_path)}, log) as server,
    ):
        deadline = time.monotonic() + 300
        while check(**with_operations) != (0, ""):
            assert server.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline, check(**with_operations)
        assert check(**with_client_ca) == (0, "")
        assert check(**tls)[0] == 1
    assert check(**with_client_ca)[0] == 1


@contextmanager
def running(settings: dict[str, str], log: IO[bytes]) -> Iterator["subprocess.Popen[bytes]"]:
    """A server with these settings, as a process that was just begun."""
    command = [sys.executable, "-m", "registry", "serve"]
    server = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **settings}, stdout=log, stderr=log)
    try:
        yield server
    finally:
        server.terminate()
        assert server.wait(120) == 0
