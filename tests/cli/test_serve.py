"""`stowage serve` and `stowage migrate` as an operator meets them: a process, its output, its status."""

import hashlib
import json
import os
import shlex
import ssl
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from registry import __version__
from registry.db.migrate import REVISION
from tests.cli.commands import printed, refused, stowage
from tests.support.people import ADMIN, asking, settings_for
from tests.support.ports import free_port
from tests.support.server import ROOT, Server


def test_the_log_says_what_runs_and_where(tmp_path: Path) -> None:
    with Server(tmp_path, arguments=("--workers", "1")) as server:
        starts, listens = (json.loads(line) for line in server.log_tail().splitlines()[:2])
        told = {key: starts[key] for key in ("version", "schema", "database", "storage", "auth", "workers")}
        assert told == {
            "version": __version__,
            "schema": REVISION,
            "database": f"sqlite {server.data}/stowage.sqlite3",
            "storage": f"filesystem {server.data}/storage",
            "auth": "open",
            "workers": 1,
        }
        assert starts["caches"]
        assert listens["message"] == f"listening on {server.address}"
        assert listens["url"] == server.url
        instance = httpx.get(f"{server.url}/readyz", trust_env=False, timeout=60).json()["instance"]
        assert starts["instance"] == listens["instance"] == instance != ""
        assert "podman" not in server.log_tail()
        server.restart()
        assert httpx.get(f"{server.url}/readyz", trust_env=False, timeout=60).json()["instance"] != instance


def test_people_are_told_how_to_push_and_pull(tmp_path: Path) -> None:
    with Server(tmp_path, {"STOWAGE_LOGS__FORMAT": "text"}) as server:
        text = server.log_tail()
        assert f"listening on {server.address} url={server.url}" in text
        for command in ("push", "pull"):
            assert f"podman {command} --tls-verify=false {server.address}/" in text
        assert server.stop() == 0


def test_where_people_log_in_what_they_are_told_works_line_by_line(tmp_path: Path) -> None:
    with Server(tmp_path, {**settings_for({}), "STOWAGE_LOGS__FORMAT": "text"}) as server:
        lines = [line.strip() for line in server.log_tail().splitlines() if line.startswith("  ")]
        assert lines[0] == f"podman login --tls-verify=false --username admin {server.address}"
        assert lines[1].startswith("stowage project add demo --data ")
        with asking(server, ADMIN) as client:
            assert client.post("/v2/demo/image/blobs/uploads/").status_code == 403
            printed(*shlex.split(lines[1])[1:], **server.backend())
            assert client.post("/v2/demo/image/blobs/uploads/").status_code == 202
        assert lines[3] == f"podman push --tls-verify=false {server.address}/demo/image:1"


def test_on_a_terminal_the_log_is_text_without_being_told_so(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "registry", "serve", "--data", str(tmp_path), "--port", str(free_port())]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    try:
        shown = b""
        while b"podman pull" not in shown:
            shown += os.read(ours, 4096)
        assert b'{"' not in shown
        assert b"listening on 127.0.0.1" in shown
    finally:
        process.terminate()
        process.wait(timeout=60)
        os.close(ours)


def test_beyond_loopback_it_refuses_to_be_open(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1"):
        assert "--insecure-open" in refused("serve", "--data", str(tmp_path / "none"), "--host", host)
    assert not (tmp_path / "none").exists()


def test_beyond_loopback_it_listens_when_told_so(tmp_path: Path) -> None:
    with Server(tmp_path, arguments=("--host", "0.0.0.0", "--insecure-open")) as server:
        assert httpx.get(f"{server.url}/v2/", trust_env=False, timeout=60).status_code == 200
        assert f'"listening on :{server.port}"' in server.log_tail()


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
        answer = httpx.post(f"{server.url}/v2/a/blobs/uploads/", trust_env=False, timeout=60)
        assert answer.headers["location"].startswith("https://registry.example.org/v2/a/blobs/uploads/")


def test_migrate_makes_a_database_once(tmp_path: Path) -> None:
    first, second = stowage("migrate", "--data", str(tmp_path)), stowage("migrate", "--data", str(tmp_path))
    assert (first.returncode, second.returncode) == (0, 0)
    assert "nothing before" in first.stdout
    assert "already" in second.stdout
    assert (tmp_path / "stowage.sqlite3").exists()


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
    settings["STOWAGE_LOGS__FORMAT"] = "text"
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
        assert f"listening on 127.0.0.1:{port} url=https://127.0.0.1:{port}" in greeting[1]
        assert "podman push 127.0.0.1" in "".join(greeting)
        url = f"https://127.0.0.1:{port}"
        with httpx.Client(verify=trusted, base_url=url, trust_env=False, timeout=60) as client:
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
        process.communicate(timeout=60)
    assert process.returncode == 0
