"""`stowage serve` and `stowage migrate` as an operator meets them: a process, its output, its status."""

import hashlib
import os
import ssl
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.server import ROOT, Server, free_port


def stowage(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a command that ends by itself."""
    return subprocess.run(
        [sys.executable, "-m", "registry", *arguments],
        cwd=ROOT,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def refused(*arguments: str, **settings: str) -> str:
    """Run a command that must fail, and return what it says: plain lines on stderr, nothing on stdout."""
    done = stowage(*arguments, **settings)
    assert done.returncode == 1
    assert done.stdout == ""
    assert all(line.startswith("stowage: ") for line in done.stderr.splitlines()), done.stderr
    return done.stderr


def test_the_greeting_says_where_it_listens_and_how_to_push_and_pull(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        text = server.log_tail()
        assert f"listening on {server.url}" in text
        assert str(server.data) in text
        for command in ("push", "pull"):
            assert f"podman {command} --tls-verify=false {server.address}/" in text
        assert server.stop() == 0


def test_beyond_loopback_it_refuses_to_be_open(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1"):
        assert "--insecure-open" in refused("serve", "--data", str(tmp_path / "none"), "--host", host)
    assert not (tmp_path / "none").exists()


def test_beyond_loopback_it_listens_when_told_so(tmp_path: Path) -> None:
    with Server(tmp_path, arguments=("--host", "0.0.0.0", "--insecure-open")) as server:
        assert httpx.get(f"{server.url}/v2/", trust_env=False).status_code == 200


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        text = refused("serve", "--data", str(tmp_path / "second"), "--port", str(server.port))
        assert server.address in text
        assert "in use" in text


def test_wrong_settings_are_named_with_their_source(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("http: {prot: 5}\nmanifests: {sparse: perhaps}\n")
    text = refused("serve", "--config", str(tmp_path / "c.yaml"))
    assert "http.prot" in text
    assert "manifests.sparse" in text
    assert "STOWAGE_HTTP__PORT" in refused("serve", STOWAGE_HTTP__PORT="many")


def test_storage_that_can_not_be_used_is_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "storage").write_text("a file where a folder should be")
    text = refused("serve", "--data", str(tmp_path), "--port", str(free_port()))
    assert len(text.splitlines()) == 1
    assert str(tmp_path / "storage") in text


def test_settings_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("http: {public_url: 'https://registry.example.org/'}\n")
    with Server(tmp_path, arguments=("--config", str(tmp_path / "c.yaml"))) as server:
        answer = httpx.post(f"{server.url}/v2/a/blobs/uploads/", trust_env=False)
        assert answer.headers["location"].startswith("https://registry.example.org/v2/a/blobs/uploads/")


def test_migrate_makes_a_database_once(tmp_path: Path) -> None:
    first, second = stowage("migrate", "--data", str(tmp_path)), stowage("migrate", "--data", str(tmp_path))
    assert (first.returncode, second.returncode) == (0, 0)
    assert "nothing before" in first.stdout
    assert "already" in second.stdout
    assert (tmp_path / "stowage.sqlite3").exists()


@pytest.mark.parametrize("command", ["serve", "migrate"])
def test_help_has_examples(command: str) -> None:
    done = stowage(command, "--help")
    assert done.returncode == 0
    assert f"stowage {command}" in done.stdout
    assert "Example" in done.stdout


def test_the_version_is_printed() -> None:
    assert stowage("--version").stdout.startswith("stowage 0.")


def test_tls_is_served_and_plain_http_is_not(tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "1"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    settings = {"STOWAGE_HTTP__TLS__CERTIFICATE": str(certificate), "STOWAGE_HTTP__TLS__KEY": str(key)}
    trusted = ssl.create_default_context(cafile=str(certificate))
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "registry", "serve", "--data", str(tmp_path / "data"), "--port", str(port)],
        cwd=ROOT,
        env={**os.environ, **settings},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        greeting = [process.stderr.readline() for _ in range(8)]
        assert f"listening on https://127.0.0.1:{port}" in greeting[0]
        assert "podman push 127.0.0.1" in "".join(greeting)
        with httpx.Client(verify=trusted, base_url=f"https://127.0.0.1:{port}", trust_env=False) as client:
            started = client.post("/v2/a/blobs/uploads/")
            blob = os.urandom(3_000_000)
            assert client.patch(started.headers["location"], content=blob).status_code == 202
            digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
            assert client.put(started.headers["location"], params={"digest": digest}).status_code == 201
            assert client.get(f"/v2/a/blobs/{digest}").content == blob
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{port}/v2/", trust_env=False)
    finally:
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 0
