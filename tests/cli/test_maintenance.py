"""`stowage maintenance`: every worker obeys, reads go on, and it outlives the server."""

import json
from pathlib import Path

import pysqlite3 as sqlite3
import pytest

from tests.cli.commands import printed, refused
from tests.factories import assert_error, digest_of, pull_manifest, push_image
from tests.support.served import Connection, eventually
from tests.support.server import Connect, Server, ServerFactory

PATIENCE = 60.0


def statuses(server: Server) -> set[int]:
    """What connections, so many that every worker has some, are told that begin an upload."""
    found = set()
    for _ in range(24):
        with Connection(server.port) as connection:
            connection.ask("/v2/test/blobs/uploads/", "POST", "Content-Length: 0\r\n")
            found.add(connection.answer().status)
    return found


def test_writes_are_refused_by_every_worker_and_reads_go_on_until_it_is_off(
    fresh_server: ServerFactory, connect: Connect, repository: str
) -> None:
    server = fresh_server("--workers", "2")
    data = ("--data", str(server.data))
    client = connect(server)
    image = push_image(client, repository, tag="before")
    config = digest_of(image.config)
    location = client.post(f"/v2/{repository}/blobs/uploads/").headers["location"]
    assert printed("maintenance", "status", *data) == "maintenance is off"

    printed("maintenance", "on", *data, "--message", "moving", "--retry-after", "2m")
    eventually(lambda: statuses(server) == {503}, PATIENCE)
    blob = f"/v2/{repository}/blobs/{config}"
    for method, path in (
        ("POST", f"/v2/{repository}/blobs/uploads/"),
        ("POST", f"/v2/{repository}/blobs/uploads/?mount={config}&from={repository}"),
        ("PATCH", location),
        ("PUT", f"{location}?digest={config}"),
        ("DELETE", location),
        ("PUT", f"/v2/{repository}/manifests/after"),
        ("DELETE", f"/v2/{repository}/manifests/before"),
        ("DELETE", blob),
    ):
        answer = client.request(method, path, content=b"{}" if method in {"PUT", "PATCH"} else None)
        assert_error(answer, 503, "TOOMANYREQUESTS")
        assert "moving" in answer.text
        assert answer.headers["retry-after"] == "120"
    assert client.get(location).status_code == 204
    assert client.get(blob).status_code == 200
    assert client.get(f"/v2/{repository}/tags/list").json()["tags"] == ["before"]
    assert pull_manifest(client, repository, "before") == image.manifest
    assert client.get("/v2/nobody/knows/this", params={"n": 1}).status_code == 404
    readiness = client.get("/readyz")
    assert (readiness.status_code, readiness.json()["maintenance"]) == (200, True)
    assert "\nstowage_maintenance 1.0\n" in client.get("/metrics").text
    assert '"level":"error"' not in server.log_tail(1000)

    server.restart()
    assert statuses(server) == {503}
    found = json.loads(printed("maintenance", "status", *data, "--json"))
    assert (found["on"], found["message"], found["retryAfterSeconds"]) == (True, "moving", 120)
    assert found["since"].endswith("Z")

    assert printed("maintenance", "off", *data) == "maintenance is off"
    eventually(lambda: statuses(server) == {202}, PATIENCE)
    eventually(lambda: "\nstowage_maintenance 0.0\n" in client.get("/metrics").text, PATIENCE)
    assert printed("maintenance", "off", *data) == "maintenance was off already"
    push_image(client, repository, tag="after")
    assert json.loads(printed("maintenance", "status", *data, "--json")) == {"on": False}


def test_without_a_registry_it_says_what_is_missing_and_makes_nothing(tmp_path: Path) -> None:
    for command in (("on",), ("off",), ("status",)):
        assert "--data" in refused("maintenance", *command, "--data", str(tmp_path / "none"))
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(("revision", "way_out"), [("0001", "stowage migrate"), ("9999", "newer version")])
def test_a_schema_of_another_version_is_refused(tmp_path: Path, revision: str, way_out: str) -> None:
    printed("migrate", "--data", str(tmp_path))
    raw = sqlite3.connect(tmp_path / "stowage.sqlite3")
    raw.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    raw.commit()
    raw.close()
    assert way_out in refused("maintenance", "on", "--data", str(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--retry-after", "0s"), "--retry-after"),
        (("--retry-after", "soon"), "30s, 5m"),
        (("--retry-after", "2d"), "a day"),
        (("--message", "two\nlines"), "--message"),
        (("--message", "x" * 501), "500"),
    ],
)
def test_what_can_not_be_said_to_clients_is_refused(tmp_path: Path, arguments: tuple[str, ...], named: str) -> None:
    assert named in refused("maintenance", "on", "--data", str(tmp_path), *arguments, status=2)
