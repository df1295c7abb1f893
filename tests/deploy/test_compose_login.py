"""Logging in through the nginx of the compose file, before a server that is given what the compose file gives it."""

import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.clients.tools import find_tool
from tests.deploy.composed import environment, example, services
from tests.support.balancer import Balancer
from tests.support.people import ALICE, BOB, PROJECT, People, challenge_of
from tests.support.ports import free_port
from tests.support.server import Server

_OURS = ("STOWAGE_AUTH__", "STOWAGE_ADMIN_PASSWORD", "STOWAGE_HTTP__")
"""What of the container's environment is not about where database, storage and figures are."""


@pytest.fixture(scope="module")
def balancer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Balancer]:
    """nginx before a replica, beside two places where nobody listens."""
    folder = tmp_path_factory.mktemp("composed")
    given = environment(services()["stowage-1"], example())
    settings = {name: value for name, value in given.items() if name.startswith(_OURS)}
    assert {"STOWAGE_AUTH__MODE", "STOWAGE_AUTH__SECRET", "STOWAGE_HTTP__TRUSTED_PROXIES"} <= settings.keys()
    with Server(folder, {**settings, "STOWAGE_HTTP__TRUSTED_PROXIES": "127.0.0.1"}) as server:
        People(server).populate()
        with Balancer(folder / "nginx", [server.port, free_port(), free_port()]) as running:
            yield running


@pytest.fixture(scope="module", params=["http", "https"])
def front(request: pytest.FixtureRequest, balancer: Balancer) -> Iterator[httpx.Client]:
    """A client of one of its ports."""
    port = {"http": balancer.port, "https": balancer.tls_port}[request.param]
    trusting = ssl.create_default_context(cafile=str(balancer.certificate.certificate))
    url = f"{request.param}://127.0.0.1:{port}"
    with httpx.Client(base_url=url, verify=trusting, trust_env=False, timeout=30) as client:
        yield client


def healthy(balancer: Balancer) -> bool:
    """What the compose file's health check finds, asked where this nginx is."""
    how, program, *told, url = services()["nginx"]["healthcheck"]["test"]
    assert (how, url) == ("CMD", "http://127.0.0.1:8081/healthz")
    own = url.replace(":8081/", f":{balancer.health_port}/")
    return subprocess.run([find_tool(program), *told, own], check=False, capture_output=True).returncode == 0


def test_it_is_healthy_if_a_replica_answers(balancer: Balancer, tmp_path: Path) -> None:
    """Though nobody is let in who does not log in."""
    assert httpx.get(f"{balancer.url}/v2/", trust_env=False).status_code == httpx.codes.UNAUTHORIZED
    assert healthy(balancer)
    with Balancer(tmp_path, [free_port() for _ in range(3)]) as alone:
        assert not healthy(alone)


def test_clients_are_sent_for_tokens_to_where_they_came_to(front: httpx.Client) -> None:
    """Whatever they say of that themselves."""
    believed = {
        "X-Forwarded-Host": "evil.example.org",
        "X-Forwarded-Proto": "ftp",
        "Forwarded": "host=evil.example.org",
    }
    for headers in ({}, believed):
        scheme, told = challenge_of(front.get("/v2/", headers=headers))
        assert (scheme, told["realm"]) == ("Bearer", str(front.base_url.join("/token")))


def test_tokens_of_either_flow_are_taken(front: httpx.Client, repository: str) -> None:
    repository = f"{PROJECT}/{repository.rpartition('/')[2]}"
    scope = f"repository:{repository}:pull,push"
    got = granted(front, ALICE, scope)
    form = {"grant_type": "refresh_token", "refresh_token": got["refresh_token"], "service": "stowage", "scope": scope}
    posted = front.post("/token", data={**form, "client_id": "test"})
    assert posted.status_code == httpx.codes.OK
    for token in (got["token"], posted.json()["access_token"]):
        header = {"Authorization": f"Bearer {token}"}
        begun = front.post(f"/v2/{repository}/blobs/uploads/", headers=header)
        assert begun.status_code == httpx.codes.ACCEPTED
        assert begun.headers["location"].startswith(str(front.base_url))
    viewing = {"Authorization": f"Bearer {granted(front, BOB, scope)['token']}"}
    assert front.post(f"/v2/{repository}/blobs/uploads/", headers=viewing).status_code == httpx.codes.FORBIDDEN


def granted(front: httpx.Client, who: tuple[str, str], scope: str) -> dict[str, str]:
    """What the token server gives somebody, with a refresh token."""
    asked = {"service": "stowage", "scope": scope, "offline_token": "true", "client_id": "test"}
    answer = front.get("/token", params=asked, auth=who)
    assert answer.status_code == httpx.codes.OK
    found: dict[str, str] = answer.json()
    return found


def test_keys_and_the_api_are_reached(front: httpx.Client) -> None:
    assert front.get("/token/keys").json()["keys"]
    assert front.get("/api/v1/me", auth=ALICE).json()["principal"] == "user:alice"
    refused = front.get("/api/v1/projects")
    assert (refused.status_code, refused.headers["content-type"]) == (401, "application/problem+json")
    made = front.post("/api/v1/me/tokens", auth=ALICE, json={"name": "made through nginx"})
    assert made.status_code == httpx.codes.CREATED, made.text
    assert front.get("/v2/", auth=("whoever", made.json()["secret"])).status_code == httpx.codes.OK
    assert "nginx" not in front.get("/auth/login").text  # it is the server that knows of no provider
    assert "nginx" in front.get("/api/v2/me").text
