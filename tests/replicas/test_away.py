"""PostgreSQL or S3 is away under the fleet: 503 until it is back, everybody is told why, nobody has to do anything."""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.factories import (
    PushedImage,
    assert_error,
    digest_of,
    pull_blob,
    pull_manifest,
    push_blob,
    push_image,
    random_bytes,
    start_upload,
)
from tests.support.fleet import Fleet, shared_backend
from tests.support.postgresql import Cluster
from tests.support.s3 import S3Server
from tests.support.served import eventually
from tests.support.server import Server, new_client
from tests.support.workers import alive, children

PATIENCE = 180.0
LARGE = 200_000
"""More than is kept in memory once it was pulled."""
SETTINGS = {
    "STOWAGE_DATABASE__TIMEOUT": "4s",
    "STOWAGE_STORAGE__S3__CONNECT_TIMEOUT": "3s",
    "STOWAGE_STORAGE__S3__READ_TIMEOUT": "4s",
    "STOWAGE_STORAGE__S3__ATTEMPTS": "1",
}


@dataclass(frozen=True)
class Site:
    """A fleet whose database and store may be stopped, with an image and a large blob in `away/image`."""

    cluster: Cluster
    store: S3Server
    fleet: Fleet
    image: PushedImage
    layer: bytes

    def ways(self, what: str) -> tuple[Callable[[], None], Callable[[], None]]:
        """How something goes away, and how it comes back."""
        return {
            "database ends": (self.cluster.crash, self.cluster.start),
            "database hangs": (self.cluster.suspend, self.cluster.resume),
            "storage ends": (self.store.stop, self.store.start),
            "storage hangs": (self.store.suspend, self.store.resume),
        }[what]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder, cluster = tmp_path_factory.mktemp("site"), Cluster()
    cluster.start()
    try:
        with S3Server(folder / "s3") as store:
            settings = {**shared_backend("fleet", cluster=cluster, store=store), **SETTINGS}
            with Fleet(folder, settings) as fleet, fleet.client() as client:
                layer = random_bytes(LARGE)
                push_blob(client, "away/image", layer)
                yield Site(cluster, store, fleet, push_image(client, "away/image", "1"), layer)
                store.resume()
                cluster.resume()
    finally:
        cluster.remove()


def is_unavailable(answer: httpx.Response) -> bool:
    """Whether it is 503 in the specification's form, says when to try again, and nothing of what is behind."""
    if answer.status_code != 503:
        return False
    assert_error(answer, 503, "TOOMANYREQUESTS")
    assert int(answer.headers["retry-after"]) > 0
    assert "127.0.0.1" not in answer.text
    return True


@pytest.mark.parametrize("how", ["database ends", "database hangs"])
def test_without_the_database_everything_is_503_until_it_is_back(site: Site, how: str) -> None:
    leave, come_back = site.ways(how)
    processes = [children(replica.pid) for replica in site.fleet.replicas]
    with site.fleet.client() as client:
        leave()
        requests = [
            ("GET", "/v2/away/image/manifests/1"),
            ("HEAD", f"/v2/away/image/blobs/{digest_of(site.layer)}"),
            ("POST", "/v2/away/image/blobs/uploads/"),
            ("DELETE", "/v2/away/image/manifests/1"),
        ]
        with ThreadPoolExecutor(len(requests)) as pool:
            answers = list(pool.map(lambda asked: client.request(*asked), requests))
        assert all(is_unavailable(answer) for answer in answers), answers
        assert_not_ready(site, "database")
        come_back()
        assert_well(site, client)
    assert [children(replica.pid) for replica in site.fleet.replicas] == processes  # nobody had to be restarted


@pytest.mark.parametrize("how", ["storage ends", "storage hangs"])
def test_without_the_store_what_is_in_the_database_goes_on(site: Site, how: str) -> None:
    leave, come_back = site.ways(how)
    processes = [children(replica.pid) for replica in site.fleet.replicas]
    content = random_bytes(5000)
    with site.fleet.client() as client:
        begun = start_upload(client, "away/image")
        leave()
        assert pull_manifest(client, "away/image", "1") == site.image.manifest
        assert client.get("/v2/away/image/tags/list").json()["tags"] == ["1"]
        query = {"digest": digest_of(content)}
        requests = [
            client.build_request("GET", f"/v2/away/image/blobs/{digest_of(site.layer)}"),
            client.build_request("POST", "/v2/away/image/blobs/uploads/", params=query, content=content),
            client.build_request("PATCH", begun, content=content),
        ]
        with ThreadPoolExecutor(len(requests)) as pool:
            answers = list(pool.map(client.send, requests))
        assert all(is_unavailable(answer) for answer in answers), answers
        assert_not_ready(site, "storage")
        come_back()
        assert_well(site, client)
        assert client.head(f"/v2/away/image/blobs/{query['digest']}").status_code == 404
        assert client.get(begun).headers["range"] == "0-0"  # nothing of it was acknowledged
        assert client.put(begun, params=query, content=content).status_code == 201
        assert pull_blob(client, "away/image", query["digest"]) == content
    assert [children(replica.pid) for replica in site.fleet.replicas] == processes


def assert_not_ready(site: Site, which: str) -> None:
    """Each replica lives, is not ready, and says which of the two is away.

    What is there answers in the seconds that it has here, if not always on a machine that has much to do.
    """
    other = {"database": "storage", "storage": "database"}[which]

    def says_so(replica: Server) -> bool:
        told, lives = look(replica)
        assert (told.status_code, told.json()["ready"], lives.status_code) == (503, False, 200)
        assert told.json()[which] != "ok"
        return bool(told.json()[other] == "ok")

    with ThreadPoolExecutor(len(site.fleet.replicas)) as pool:
        list(pool.map(lambda replica: eventually(lambda: says_so(replica), PATIENCE), site.fleet.replicas))


def look(replica: Server) -> tuple[httpx.Response, httpx.Response]:
    """Ask a replica whether it is ready, and whether it lives."""
    with new_client(replica) as client:
        return client.get("/readyz"), client.get("/healthz")


def assert_well(site: Site, client: httpx.Client) -> None:
    """In a while each replica is ready, and takes pushes again."""
    for one in site.fleet.clients():
        with one:
            eventually(lambda one=one: one.get("/readyz").status_code == 200, PATIENCE)  # type: ignore[misc]  # a lambda's default
    eventually(lambda: client.get("/v2/away/image/manifests/1").status_code == 200, PATIENCE)
    assert pull_manifest(client, "away/image", "1") == site.image.manifest
    assert pull_blob(client, "away/image", digest_of(site.layer)) == site.layer
    content = random_bytes(1000)
    push = {"params": {"digest": digest_of(content)}, "content": content}
    eventually(lambda: client.post("/v2/away/image/blobs/uploads/", **push).status_code == 201, PATIENCE)  # type: ignore[arg-type]  # values of several types


@pytest.mark.parametrize("how", ["database ends", "storage ends"])
def test_a_worker_that_dies_meanwhile_is_replaced(site: Site, how: str) -> None:
    leave, come_back = site.ways(how)
    victim = site.fleet.replicas[1]
    (worker,) = children(victim.pid)
    leave()
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: not alive(worker) and len(children(victim.pid)) > 0, PATIENCE)
    come_back()
    with site.fleet.client() as client:
        assert_well(site, client)
    assert victim.running


def test_all_of_it_at_once_and_again(site: Site, tmp_path: Path) -> None:
    """Database and store end and come back in turns while a replica is killed: in the end all is well."""
    with site.fleet.client() as client:
        for how in ("storage ends", "database ends"):
            leave, come_back = site.ways(how)
            site.fleet.replicas[2].kill()
            leave()
            client.get("/v2/away/image/manifests/1")
            come_back()
            site.fleet.replicas[2].start()
        assert_well(site, client)
