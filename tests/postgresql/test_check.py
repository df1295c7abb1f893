"""What commands say of a database on PostgreSQL: its name without the password, and what is wrong with it."""

import json
from pathlib import Path
from typing import Any

import pytest

from registry.db.migrate import REVISION
from tests.cli.commands import printed, refused, stowage
from tests.factories import push_image
from tests.support.ports import free_port
from tests.support.postgresql import Cluster, name_of
from tests.support.server import Server, new_client

PASSWORD = "very/secret"


def check(tmp_path: Path, **settings: str) -> dict[str, Any]:
    done = stowage("check", "--json", "--data", str(tmp_path), "--port", str(free_port()), **settings)
    assert PASSWORD not in done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def problems(found: dict[str, Any]) -> dict[str, str]:
    """Messages by reason, without those that are this machine's own."""
    return {one["reason"]: one["message"] for one in found["problems"] if one["reason"] != "FewDescriptors"}


def test_a_database_that_is_good_and_one_that_is_empty(url: str, empty_url: str, tmp_path: Path) -> None:
    found = check(tmp_path, STOWAGE_DATABASE__URL=url)
    assert problems(found) == {}
    assert found["database"] == {"schema": REVISION, "needed": REVISION}
    found = check(tmp_path, STOWAGE_DATABASE__URL=empty_url, STOWAGE_DATABASE__POOL="150", STOWAGE_HTTP__WORKERS="2")
    assert set(problems(found)) == {"FewConnections"}
    assert "300" in problems(found)["FewConnections"]
    assert found["conditions"][1]["reason"] == "FirstStart"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("/test_", "/none_"), "no such database"),
        (("127.0.0.1:", "127.0.0.2:"), "nothing listens there"),
        (("postgres@", "nobody@"), "refuses the user"),
    ],
)
def test_what_is_wrong_is_said(url: str, tmp_path: Path, change: tuple[str, str], why: str) -> None:
    wrong = url.replace(*change)
    message = problems(check(tmp_path, STOWAGE_DATABASE__URL=wrong))["DatabaseUnreadable"]
    assert wrong in message and why in message
    for command in ("serve", "migrate"):
        said = refused(command, "--data", str(tmp_path), STOWAGE_DATABASE__URL=wrong, STOWAGE_HTTP__PORT="0")
        assert len(said.splitlines()) == 1
        assert wrong in said and why in said


def test_a_password_may_come_three_ways_and_is_never_shown(cluster: Cluster, tmp_path: Path) -> None:
    cluster.run(
        f"DROP DATABASE IF EXISTS with_password; DROP ROLE IF EXISTS guarded;"
        f"CREATE ROLE guarded LOGIN PASSWORD '{PASSWORD}'",
    )
    cluster.run("CREATE DATABASE with_password OWNER guarded")
    url = cluster.url("with_password", user="guarded")
    in_url = url.replace("@", ":very%2Fsecret@")
    ways = (
        {"STOWAGE_DATABASE__URL": in_url},
        {"STOWAGE_DATABASE__URL": url, "STOWAGE_DATABASE__PASSWORD": PASSWORD},
        {"STOWAGE_DATABASE__URL": url, "PGPASSWORD": PASSWORD},
    )
    for way in ways:
        assert problems(check(tmp_path, **way)) == {}
    found = check(tmp_path, **ways[1])
    settings = {one["name"]: one["value"] for one in found["settings"]}
    assert (settings["database.password"], settings["database.url"]) == ("***", url)
    shown = {one["name"]: one["value"] for one in check(tmp_path, **ways[0])["settings"]}
    assert shown["database.url"] == url.replace("@", ":***@")
    wrong = problems(check(tmp_path, STOWAGE_DATABASE__URL=url, STOWAGE_DATABASE__PASSWORD="other"))
    assert "refuses the user or the password" in wrong["DatabaseUnreadable"]
    with Server(tmp_path / "server", ways[0]) as server:
        assert server.stop() == 0
        assert "secret" not in server.log_file.read_text()
    said = stowage("check", STOWAGE_DATABASE__URL="mysql://me:hush@host/db").stdout
    assert "postgresql://USER@HOST:PORT/NAME" in said and "hush" not in said


def test_a_database_that_takes_no_writes_is_told(cluster: Cluster, url: str, tmp_path: Path) -> None:
    with Server(tmp_path / "server", {"STOWAGE_DATABASE__URL": url}) as server, new_client(server) as client:
        push_image(client, "read/only", "1")
        cluster.run(f"ALTER DATABASE {name_of(url)} SET default_transaction_read_only = on")
        cluster.run(
            f"SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = '{name_of(url)}'",
            "postgres",
        )
        assert client.get("/v2/read/only/manifests/1").status_code == 200
        assert client.delete("/v2/read/only/manifests/1").status_code == 503
        ready = client.get("/readyz")
        assert (ready.status_code, "read-only" in ready.json()["database"]) == (503, True)
        assert set(problems(check(tmp_path, STOWAGE_DATABASE__URL=url))) >= {"DatabaseReadOnly"}


def test_maintenance_and_the_running_servers_mark(url: str, tmp_path: Path) -> None:
    settings = {"STOWAGE_DATABASE__URL": url}
    with Server(tmp_path / "server", settings) as server:
        port = str(server.port)
        assert printed("maintenance", "on", "--message", "why", **settings).startswith("maintenance is on")
        assert json.loads(printed("maintenance", "status", "--json", **settings))["message"] == "why"
        arguments = ("check", "--json", "--data", str(server.data), "--port", port)
        found = json.loads(stowage(*arguments, **settings).stdout)
        assert found["conditions"][0]["reason"] == "ReadOnly"
        found = json.loads(stowage(*arguments).stdout)  # who forgets the setting asks for another database
        assert "OtherData" in problems(found)
        assert printed("maintenance", "off", **settings) == "maintenance is off"
