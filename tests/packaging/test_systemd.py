"""The shipped unit: systemd takes it, and the server does nothing that it forbids."""

import hashlib
import os
import re
import signal
import subprocess
from dataclasses import fields
from functools import cache
from pathlib import Path

import httpx
import pytest

from registry.http.server import Serving
from registry.settings import load_settings
from tests.clients.tools import Tool, find_tool
from tests.packaging.traced import NO_COVERAGE, Traced
from tests.support.server import ROOT, Server, new_client

FOLDER = ROOT / "deploy" / "systemd"
UNIT = FOLDER / "stowage.service"
_WORST_EXPOSURE = 20
"""Tenths of the points that `systemd-analyze security` gives: 0 is nothing exposed, 100 everything. nginx has 96."""
_FAMILIES = {"AF_INET", "AF_INET6", "AF_UNIX"}


def values(key: str) -> list[str]:
    """All values of a key of the unit, in order."""
    return re.findall(rf"^{key}=(.*)$", UNIT.read_text(), re.MULTILINE)


def value(key: str) -> str:
    [one] = values(key)
    return one


@cache
def group(name: str) -> frozenset[str]:
    """System calls of a group such as `@system-service`, by systemd's own list."""
    listed = Tool(find_tool("systemd-analyze")).run("syscall-filter", "--no-pager", name).stdout.splitlines()[1:]
    names = [line.strip() for line in listed if line.strip() and not line.strip().startswith("#")]
    return frozenset().union(*(group(one) if one.startswith("@") else frozenset([one]) for one in names))


def allowed() -> frozenset[str]:
    """System calls that the unit allows: the first list allows, later ones forbid (`~`) or allow again."""
    first, *more = values("SystemCallFilter")
    calls = frozenset().union(*map(group, first.split()))
    for line in more:
        named = line.removeprefix("~").split()
        listed = frozenset().union(*(group(one) if one.startswith("@") else frozenset([one]) for one in named))
        calls = calls - listed if line.startswith("~") else calls | listed
    return calls | group("@default")


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Traced:
    """What a server with the shipped configuration did: it was started, logged in to, pushed to, reloaded, stopped."""
    folder = tmp_path_factory.mktemp("traced")
    seen = Traced(folder / "strace.log")
    find_tool("strace")
    own = {"STOWAGE_CONFIG": str(FOLDER / "stowage.yaml"), "STOWAGE_METRICS__NETWORKS": "127.0.0.1"}
    server = Server(folder, {"PYTHONDONTWRITEBYTECODE": "1", **own, **NO_COVERAGE}, wrapper=seen.wrapper)
    server.start(ready_within=300)
    try:
        with new_client(server) as client:
            assert client.get("/v2/").status_code == httpx.codes.UNAUTHORIZED
            client.auth = ("admin", (server.data / "admin-password").read_text().strip())
            assert client.post("/api/v1/projects", json={"name": "a"}).status_code == httpx.codes.CREATED
            token = client.get("/token", params={"service": "stowage", "scope": "repository:a:pull,push,delete"})
            bearer = token.json()["token"]
        with new_client(server) as client:
            client.headers["Authorization"] = f"Bearer {bearer}"
            for size in (10, 3_000_000):
                _push_pull_delete(client, os.urandom(size))
            client.get("/metrics")
            os.kill(server.pid, signal.SIGHUP)
            while "reloaded" not in server.log_tail():
                client.get("/readyz")
            _push_pull_delete(client, os.urandom(100_000))
    finally:
        server.stop()
    return seen


def _push_pull_delete(client: httpx.Client, blob: bytes) -> None:
    digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
    upload = client.post("/v2/a/blobs/uploads/").headers["location"]
    assert client.patch(upload, content=blob).status_code == httpx.codes.ACCEPTED
    assert client.put(upload, params={"digest": digest}).status_code == httpx.codes.CREATED
    assert client.get(f"/v2/a/blobs/{digest}").content == blob
    manifest = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'
    kind = {"Content-Type": "application/vnd.oci.image.index.v1+json"}
    assert client.put("/v2/a/manifests/1", content=manifest, headers=kind).status_code == httpx.codes.CREATED
    assert client.get("/v2/a/manifests/1").content == manifest
    assert client.delete("/v2/a/manifests/1").status_code == httpx.codes.ACCEPTED
    assert client.delete(f"/v2/a/blobs/{digest}").status_code == httpx.codes.ACCEPTED


def test_systemd_understands_every_line(tmp_path: Path) -> None:
    """`systemd-analyze verify` finds nothing. It wants the program to be there."""
    unit = tmp_path / "stowage.service"
    unit.write_text(UNIT.read_text().replace("/opt/stowage/bin/stowage", "/bin/true"))
    assert Tool(find_tool("systemd-analyze")).run("verify", "--man=no", unit).both == ""
    unit.write_text(unit.read_text().replace("ProtectHome=", "ProtectHouse="))
    assert "ProtectHouse" in Tool(find_tool("systemd-analyze")).run("verify", "--man=no", unit).both


def test_the_unit_is_hardened() -> None:
    judge = Tool(find_tool("systemd-analyze"))
    judge.run("security", "--offline=true", f"--threshold={_WORST_EXPOSURE}", "--no-pager", UNIT)
    judge.fail("security", "--offline=true", "--threshold=1", "--no-pager", UNIT)


def test_the_server_calls_nothing_that_the_filter_forbids(traced: Traced) -> None:
    called = {call.name for call in traced.calls()}
    if os.geteuid() == 0:
        called.discard("fchown")  # SQLite's, and only root's
    assert {"accept4", "fsync", "sendfile", "setpriority"} <= called, "the trace shows no server at work"
    assert called - allowed() == set()
    assert "mount" not in allowed()


def test_the_server_opens_sockets_of_the_listed_families_only(traced: Traced) -> None:
    assert set(value("RestrictAddressFamilies").split()) == _FAMILIES
    opened = {
        call.text.split(",")[0] for call in traced.calls() if call.name in {"socket", "socketpair"} and not call.failed
    }
    assert opened <= _FAMILIES


def test_the_server_makes_no_memory_writable_and_executable(traced: Traced) -> None:
    """MemoryDenyWriteExecute=: such a mapping fails, and so does making any memory executable later."""
    assert value("MemoryDenyWriteExecute") == "true"
    mapped = [call.text for call in traced.calls() if call.name in {"mmap", "mprotect"} and "PROT_EXEC" in call.text]
    assert mapped, "the trace shows no program being loaded"
    assert [text for text in mapped if "PROT_WRITE" in text] == []
    assert [call.text for call in traced.calls() if call.name == "mprotect" and "PROT_EXEC" in call.text] == []


def test_the_server_writes_below_its_data_folder_only(traced: Traced) -> None:
    """ProtectSystem=strict leaves the state folder, and what PrivateTmp= and PrivateDevices= give."""
    written = traced.opened(for_writing=True)
    data = f"{traced.wrapper[-1].removesuffix('strace.log')}data/"
    assert any(path.startswith(data) for path in written)
    assert [path for path in sorted(written) if not path.startswith((data, "/tmp/", "/dev/null", "/dev/shm/"))] == []


def test_proc_is_not_hidden_from_a_server_that_reads_it(traced: Traced) -> None:
    """ProcSubset=pid would hide what tells whether the machine was restarted (uploads), and for how long it has run."""
    read = {path for path in traced.opened(for_writing=False) if re.match(r"/proc/(?!self/|\d)", path)}
    assert "/proc/sys/kernel/random/boot_id" in read
    assert values("ProcSubset") == []


def test_the_shipped_configuration_is_taken() -> None:
    settings = load_settings(FOLDER / "stowage.yaml")
    assert str(settings.data) == f"/var/lib/{value('StateDirectory')}"
    assert (settings.http.host, settings.auth.mode) == ("127.0.0.1", "users")
    assert values("Environment") == ["STOWAGE_CONFIG=/etc/stowage/stowage.yaml"]


def test_a_stop_leaves_time_for_what_was_asked() -> None:
    [drain] = [field.default for field in fields(Serving) if field.name == "drain"]
    assert isinstance(drain, int | float)
    assert int(value("TimeoutStopSec")) > drain + 5


def test_the_user_is_made(tmp_path: Path) -> None:
    """systemd-sysusers makes the unit's user, on a system that has none."""
    (tmp_path / "etc").mkdir()
    subprocess.run([find_tool("systemd-sysusers"), f"--root={tmp_path}", FOLDER / "stowage.sysusers"], check=True)
    name, _, _, _, _, home, shell = (tmp_path / "etc" / "passwd").read_text().strip().split(":")
    assert (name, home) == (value("User"), "/var/lib/stowage")
    assert shell.endswith("nologin")
