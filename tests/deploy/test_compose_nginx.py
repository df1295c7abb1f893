"""The nginx of the compose file: a real one with the shipped configuration, before real servers."""

import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.deploy.composed import services
from tests.support.balancer import NGINX, REPLICAS, Balancer
from tests.support.ports import free_port
from tests.support.served import Connection, eventually
from tests.support.server import ROOT, Server


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Iterator[list[int]]:
    """The ports of two servers, of which the second one believes nginx, and between them one where nobody listens."""
    settings = {"STOWAGE_HTTP__TRUSTED_PROXIES": "127.0.0.1", "STOWAGE_HTTP__WORKERS": "1"}
    with Server(tmp_path_factory.mktemp("second"), settings) as second:
        yield [server.port, free_port(), second.port]


@pytest.fixture(scope="module")
def balancer(tmp_path_factory: pytest.TempPathFactory, replicas: list[int]) -> Iterator[Balancer]:
    with Balancer(tmp_path_factory.mktemp("balancer"), replicas) as running:
        yield running


@pytest.fixture
def front(balancer: Balancer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=balancer.url, trust_env=False, timeout=30) as client:
        yield client


def test_nginx_takes_the_configuration(balancer: Balancer) -> None:
    said = balancer.run("-t").stderr
    assert "test is successful" in said
    assert "[warn]" not in said
    assert "[emerg]" not in said


def test_a_wrong_directive_would_be_noticed(tmp_path: Path) -> None:
    wrong = Balancer(tmp_path, [1, 2, 3])
    (tmp_path / "tls.conf").write_text("serve {}")  # the file that is included if it is there
    assert 'unknown directive "serve"' in wrong.run("-t").stderr
    (tmp_path / "tls.conf").unlink()
    assert "test is successful" in wrong.run("-t").stderr


def test_requests_go_to_replicas_in_turns_and_past_the_one_that_is_away(
    balancer: Balancer, front: httpx.Client, replicas: list[int], repository: str
) -> None:
    """POST too: nothing of it was sent to who does not answer."""
    statuses = [front.get("/v2/").status_code for _ in range(12)]
    statuses += [front.post(f"/v2/{repository}/blobs/uploads/").status_code for _ in range(12)]
    assert statuses == 12 * [httpx.codes.OK] + 12 * [httpx.codes.ACCEPTED]
    first, away, second = (f"127.0.0.1:{port}" for port in replicas)
    eventually(lambda: len(balancer.served_by()) >= len(statuses))  # nginx writes down what it has answered already
    asked = [addresses.split(", ") for addresses, _ in balancer.served_by()]
    assert any(away in one for one in asked)
    answered = [one[-1] for one in asked]
    assert answered.count(first) > 8
    assert answered.count(second) > 8


def test_locations_are_where_clients_came_from(balancer: Balancer, front: httpx.Client, repository: str) -> None:
    """Of the replica that believes nginx; the other one's are relative, as nobody told it where clients come from."""
    headers = {"X-Forwarded-Host": "evil.example.org", "Forwarded": "host=evil.example.org"}
    path = f"/v2/{repository}/blobs/uploads/"
    found = [front.post(path, headers=headers).headers["location"].rpartition("/")[0] + "/" for _ in range(4)]
    assert set(found) == {path, f"http://127.0.0.1:{balancer.port}{path}"}


def test_who_is_refused_before_the_body_has_come_keeps_the_connection(balancer: Balancer, repository: str) -> None:
    """nginx would say that it goes on, and end it: the server takes the little that is left before it answers."""
    body = b"x" * 3000
    head = f"PUT /v2/{repository}/manifests/.a HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"

    def is_kept() -> bool:
        """Whether that is so six times; not, where this machine takes longer than the server waits for a body."""
        with Connection(balancer.port) as connection, suppress(AssertionError, OSError):
            for _ in range(6):
                connection.send(head.encode())
                time.sleep(0.05)
                connection.send(body)
                assert connection.answer().status == httpx.codes.BAD_REQUEST
            return True
        return False

    assert any(is_kept() for _ in range(5))


@pytest.mark.parametrize("target", ["/metrics", "/readyz", "/healthz", "/", "/v2x"])
def test_nothing_but_the_registry_is_shown(front: httpx.Client, target: str) -> None:
    assert front.get(target).status_code == httpx.codes.NOT_FOUND


def directives(file: Path) -> set[tuple[str, str]]:
    """Names and values of what decides about bodies, times and headers."""
    found = re.findall(r"^ *((?:client|proxy|http2|send)_\w+) +([^;]+);", file.read_text(), re.MULTILINE)
    return {(name, " ".join(value.split())) for name, value in found}


def test_it_differs_from_the_other_configuration_only_where_replicas_need_it() -> None:
    differences = directives(ROOT / "deploy" / "nginx" / "stowage.conf") ^ directives(NGINX / "registry.conf")
    assert differences == {
        ("proxy_next_upstream", "error"),
        ("proxy_next_upstream", "error timeout"),
        ("proxy_next_upstream_tries", "3"),
        ("proxy_next_upstream_timeout", "10s"),
        ("proxy_set_header", "X-Request-Id $request_id"),
    }


def test_it_knows_every_replica_and_keeps_nobody_to_one() -> None:
    text = (NGINX / "nginx.conf").read_text()
    known = [(name, port) for port in ("5000", "5001") for name in REPLICAS]
    assert re.findall(r"^ +server ([\w-]+):(\d+)", text, re.MULTILINE) == known
    assert not re.search(r"^ *(ip_hash|hash|sticky|least_conn|random)\b", text, re.MULTILINE)


def test_ports_and_paths_are_those_of_the_compose_file() -> None:
    service = services()["nginx"]
    plain, secure = (re.search(r"listen (\d+)", (NGINX / name).read_text()) for name in ("nginx.conf", "tls.conf"))
    assert plain is not None
    assert secure is not None
    assert (plain[1], secure[1]) == ("8080", "8443")
    assert service["ports"][0].endswith(f":{plain[1]}")
    mounted = dict(one.split(":")[:2] for one in service["volumes"])
    assert mounted == {
        "./nginx/nginx.conf": "/etc/nginx/nginx.conf",
        "./nginx/registry.conf": "/etc/nginx/registry.conf",
    }
    written = re.findall(r"^ *(?:pid|\w+_temp_path) +([^;]+);", (NGINX / "nginx.conf").read_text(), re.MULTILINE)
    assert len(written) == 6
    assert all(path.startswith("/tmp/") for path in written)
