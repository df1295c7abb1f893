"""The database goes away under people who are logged in: 503 until it is back, never 401, and they stay logged in."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from registry.services.revision import OLDEST_S
from tests.factories import assert_error, digest_of, push_image, random_bytes
from tests.support.people import ALICE, PROJECT, People, asking, settings_for
from tests.support.postgresql import Cluster
from tests.support.served import eventually
from tests.support.server import Server, new_client
from tests.support.workers import children

PATIENCE = 180.0
REPOSITORY = f"{PROJECT}/away"


@dataclass(frozen=True)
class Person:
    """Alice, and all by which she, or a service account, is known."""

    server: Server
    token: str
    refresh: str
    secret: str

    def headers(self) -> list[dict[str, str]]:
        """What she shows: a token, a password, a service account's secret in both places."""
        shown = [{"Authorization": f"Bearer {one}"} for one in (self.token, self.secret)]
        for name, password in (ALICE, ("any", self.secret)):
            header = httpx.Request("GET", "http://a")
            [basic] = [one.headers for one in httpx.BasicAuth(name, password).auth_flow(header)]
            shown.append({"Authorization": basic["Authorization"]})
        return shown

    def refreshed(self) -> httpx.Response:
        """Ask for a token in the place of the refresh token."""
        form = {"grant_type": "refresh_token", "refresh_token": self.refresh, "service": "stowage", "client_id": "t"}
        with new_client(self.server) as client:
            return client.post("/token", data=form)


@pytest.fixture(scope="module")
def person(own_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    settings = settings_for({"STOWAGE_DATABASE__URL": own_cluster.create(), "STOWAGE_DATABASE__TIMEOUT": "4s"})
    with Server(tmp_path_factory.mktemp("away"), settings, ("--workers", "2")) as server:
        people = People(server, settle_s=0)
        people.populate()
        people.service_account("builder")
        secret, _ = people.token("builder")
        people = People(server)
        people.write(nothing)
        scope = f"repository:{REPOSITORY}:pull,push registry:catalog:*"
        parameters = {"service": "stowage", "scope": scope, "offline_token": "true", "client_id": "t"}
        with asking(server, ALICE) as client:
            push_image(client, REPOSITORY, "1")
            found = client.get("/token", params=parameters).json()
        yield Person(server, found["token"], found["refresh_token"], secret)


async def nothing(transaction: object) -> None:
    """Change nothing: what waits for that knows what was changed before."""


REQUESTS = [
    ("GET", "/v2/"),
    ("GET", f"/v2/{REPOSITORY}/manifests/1"),
    ("GET", f"/v2/{REPOSITORY}/tags/list"),
    ("POST", f"/v2/{REPOSITORY}/blobs/uploads/"),
    ("GET", "/v2/_catalog"),
]


def answers(person: Person) -> list[httpx.Response]:
    """What is answered to everything, and to the token server's requests, with all that can be shown; all at once."""
    asked = [(method, path, header) for method, path in REQUESTS for header in person.headers()]
    for header in person.headers():
        if person.token not in header["Authorization"]:  # which is for /v2/ alone
            asked.append(("GET", "/api/v1/projects", header))
        if header["Authorization"].startswith("Basic"):
            asked.append(("GET", "/token?service=stowage", header))
    with new_client(person.server) as client, ThreadPoolExecutor(len(asked) + 1) as pool:
        refreshed = pool.submit(person.refreshed)
        found = list(pool.map(lambda one: client.request(one[0], one[1], headers=one[2]), asked))
        return [*found, refreshed.result()]


def told(found: list[httpx.Response]) -> set[tuple[str, str, int]]:
    """Who was told what, but for those who were let do what they wanted."""
    return {(one.request.method, one.request.url.path, one.status_code) for one in found if not one.is_success}


@pytest.mark.parametrize("how", ["ends", "hangs"])
def test_nobody_who_is_logged_in_is_told_to_log_in(own_cluster: Cluster, person: Person, how: str) -> None:
    leave: Callable[[], None] = {"ends": own_cluster.crash, "hangs": own_cluster.suspend}[how]
    come_back: Callable[[], None] = {"ends": own_cluster.start, "hangs": own_cluster.resume}[how]
    workers = children(person.server.pid)
    eventually(lambda: told(answers(person)) == set(), PATIENCE)
    leave()
    try:
        at_once = answers(person)
        assert {status for _, _, status in told(at_once)} == {503}  # what was known a moment before may be enough
        time.sleep(OLDEST_S)  # so long may count what was heard of rights
        later = answers(person)
        assert {one.status_code for one in later} == {503}, told(later)
        for one in [*at_once, *later]:
            if one.status_code == 503:
                assert int(one.headers["retry-after"]) > 0
                assert "127.0.0.1" not in one.text and "www-authenticate" not in one.headers
                if one.request.url.path.startswith("/v2/"):
                    assert_error(one, 503, "TOOMANYREQUESTS")
        with asking(person.server, ("alice", "a wrong guess")) as stranger, new_client(person.server) as nobody:
            assert {one.get("/v2/").status_code for one in (stranger, nobody)} == {503}  # it can't be said
    finally:
        come_back()
    eventually(lambda: told(answers(person)) == set(), PATIENCE)
    assert children(person.server.pid) == workers
    with asking(person.server, bearer=person.token) as client:
        content = random_bytes(5000)
        path = f"/v2/{REPOSITORY}/blobs/uploads/"
        push: dict[str, Any] = {"params": {"digest": digest_of(content)}, "content": content}
        # Another worker may meet a connection once more that was cut off meanwhile.
        eventually(lambda: client.post(path, **push).status_code == 201, PATIENCE)
