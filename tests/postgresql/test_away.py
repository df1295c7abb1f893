"""The database's server goes away: 503 until it is back, nothing acknowledged is lost, nobody has to do anything."""

import os
import random
import re
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.cli.commands import refused
from tests.factories import assert_error, push_image
from tests.faults.ledger import Ledger
from tests.faults.test_kill import look_at, wait_for_a_moment, write_until
from tests.faults.writers import SHARED, Writer
from tests.support.everywhere import of_each_worker
from tests.support.postgresql import Cluster
from tests.support.served import eventually
from tests.support.server import Server, new_client
from tests.support.workers import children

LONG = os.environ.get("STOWAGE_LONG") == "1"
ROUNDS = 30 if LONG else 1
PATIENCE = 120.0


@pytest.fixture
def server(own_cluster: Cluster, tmp_path: Path) -> Iterator[Server]:
    """A server of two workers, whose URL has a password."""
    if not own_cluster.running:
        own_cluster.start()
    url = own_cluster.create().replace("postgres@", "postgres:hidden@")
    with Server(tmp_path, {"STOWAGE_DATABASE__URL": url}, ("--workers", "2")) as running:
        yield running


@pytest.mark.timeout(3600 if LONG else 900)
@pytest.mark.parametrize("how", ["stop", "crash"])
def test_nothing_acknowledged_is_lost_when_it_ends_under_load(own_cluster: Cluster, server: Server, how: str) -> None:
    seed = os.environ.get("STOWAGE_SEED") or os.urandom(4).hex()
    print(f"STOWAGE_SEED={seed}")
    moments, ledger, workers = random.Random(seed), Ledger(), children(server.pid)
    for turn in range(ROUNDS):
        writers = [
            Writer(lambda: unavailable_is_the_end(server), ledger, f"away/{turn}/{n}", f"{seed}-{turn}-{n}")
            for n in range(6)
        ]
        end = own_cluster.stop if how == "stop" else own_cluster.crash
        write_until(writers, partial(wait_for_a_moment, ledger, writers, moments), end)
        own_cluster.start()
        eventually(lambda: is_ready(server), PATIENCE)
        written = [*(writer.repository for writer in writers), SHARED]
        assert look_at(server, ledger, written, moments, durable=how == "stop") == []
    assert children(server.pid) == workers  # none of them died of it


def unavailable_is_the_end(server: Server) -> httpx.Client:
    """A client for whom 503 is what a cut connection is: it does not know what became of its request."""

    def look(response: httpx.Response) -> None:
        if response.status_code == 503:
            assert response.headers["retry-after"]
            raise httpx.ReadError("unavailable")

    client = new_client(server)
    client.event_hooks = {"response": [look]}
    return client


def is_ready(server: Server) -> bool:
    """Whether every worker takes writes again: each has connections of its own."""
    return all(answer.status == 200 for answer in of_each_worker(server, "/readyz"))


def test_meanwhile_everything_is_503_and_says_why_to_operators(own_cluster: Cluster, server: Server) -> None:
    with new_client(server) as client:
        image = push_image(client, "away/image", "1")
        own_cluster.stop()
        requests = [
            ("GET", "/v2/away/image/manifests/1"),
            ("HEAD", "/v2/away/image/manifests/1"),
            ("GET", "/v2/away/image/tags/list"),
            ("POST", "/v2/away/image/blobs/uploads/"),
            ("DELETE", "/v2/away/image/manifests/1"),
        ]
        for method, path in requests * 4:
            response = client.request(method, path)
            assert (response.status_code, "retry-after" in response.headers) == (503, True)
            assert str(own_cluster.port) not in response.text and "hidden" not in response.text
        assert_error(client.get("/v2/away/image/manifests/1"), 503, "TOOMANYREQUESTS")
        assert client.get("/healthz").status_code == 200
        ready = client.get("/readyz")
        assert ready.status_code == 503
        assert re.search(rf"postgresql://postgres@127\.0\.0\.1:{own_cluster.port}/\w+: .+", ready.json()["database"])
        for worker in children(server.pid):  # its successor begins without the database
            os.kill(worker, signal.SIGKILL)
        eventually(lambda: answers(server) == 503, PATIENCE)
        own_cluster.start()
        eventually(lambda: is_ready(server), PATIENCE)
    with new_client(server) as client:
        assert client.get("/v2/away/image/manifests/1").content == image.manifest
        # New workers ask within a second whether the registry is read-only, and refuse until they know.
        eventually(lambda: client.delete("/v2/away/image/manifests/1").status_code == 202, PATIENCE)
    assert "hidden" not in server.log_file.read_text()


def answers(server: Server) -> int:
    """The status of a pull; 0 while nobody answers."""
    try:
        with new_client(server) as client:
            return client.get("/v2/away/image/manifests/1").status_code
    except httpx.TransportError:
        return 0


def test_a_registry_that_starts_without_it_says_so_in_a_line(own_cluster: Cluster, tmp_path: Path) -> None:
    own_cluster.stop()
    url = own_cluster.url("none").replace("postgres@", "postgres:hidden@")
    text = refused("serve", "--data", str(tmp_path), "--port", "0", STOWAGE_DATABASE__URL=url)
    assert len(text.splitlines()) == 1
    assert own_cluster.url("none") in text and "nothing listens" in text and "hidden" not in text


@pytest.mark.parametrize("count", [1, 3])
def test_connections_that_the_server_cuts_off_are_made_again_unnoticed(
    own_cluster: Cluster, server: Server, count: int
) -> None:
    with new_client(server) as client:
        image = push_image(client, "away/image", "1")
        for _ in range(count):
            own_cluster.run(
                "SELECT count(pg_terminate_backend(pid, 60000)) FROM pg_stat_activity WHERE datname LIKE 'test%'"
            )
            for _ in range(4):
                assert client.get("/v2/away/image/manifests/1").content == image.manifest
                assert client.post("/v2/away/image/blobs/uploads/").status_code == 202
