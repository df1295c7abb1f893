"""The shipped configuration of nginx, in front of a real server, asked by real clients."""

import http.client
import json
import os
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.clients.tools import Tool, find_tool
from tests.packaging.nginx import LARGEST_FILE, Nginx
from tests.support.certificates import Certificate
from tests.support.images import Image, large_image, read_directory, read_layout, write_directory, write_layout
from tests.support.server import Server

_LARGE = 48 * LARGEST_FILE


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that believes its proxy, as the configuration's first lines say it should."""
    with Server(tmp_path_factory.mktemp("behind"), {"STOWAGE_HTTP__TRUSTED_PROXIES": "127.0.0.1"}) as running:
        yield running


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory, behind: Server, certificate: Certificate) -> Iterator[Nginx]:
    with Nginx(tmp_path_factory.mktemp("nginx") / "front", behind.port, certificate) as running:
        yield running


@pytest.fixture(scope="module")
def trusting(certificate: Certificate) -> ssl.SSLContext:
    """What clients need to trust the certificate."""
    return ssl.create_default_context(cafile=str(certificate.certificate))


@pytest.fixture(scope="module")
def large() -> Image:
    return large_image(_LARGE)


def ask(nginx: Nginx, trusting: ssl.SSLContext, method: str, target: str, **headers: str) -> tuple[int, str, str]:
    """Send the target as it stands. Return status, Location and body."""
    connection = http.client.HTTPSConnection("127.0.0.1", nginx.port, timeout=120, context=trusting)
    try:
        connection.request(method, target, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.headers.get("Location", ""), answer.read().decode(errors="replace")
    finally:
        connection.close()


def ask_server(behind: Server, method: str, target: str) -> tuple[int, str]:
    """The same without nginx. Return status and body."""
    connection = http.client.HTTPConnection(behind.host, behind.port, timeout=120)
    try:
        connection.request(method, target)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    finally:
        connection.close()


def test_the_configuration_is_clean(nginx: Nginx) -> None:
    said = nginx.check()
    assert "syntax is ok" in said
    assert "warn" not in said
    assert "emerg" not in said


def test_skopeo_pushes_and_pulls_a_large_layer(
    nginx: Nginx, certificate: Certificate, repository: str, large: Image, tmp_path: Path
) -> None:
    """nginx may write no file of more than a MiB here: the layer doesn't touch its disk, on either way."""
    skopeo, trust = Tool(find_tool("skopeo")), str(certificate.folder)
    reference = f"docker://{nginx.address}/{repository}:large"
    skopeo.run("copy", "--dest-cert-dir", trust, f"dir:{write_directory(tmp_path / 'out', large)}", reference)
    skopeo.run("copy", "--src-cert-dir", trust, reference, f"dir:{tmp_path / 'back'}")
    assert read_directory(tmp_path / "back").blobs == large.blobs
    assert nginx.errors() == ""


def test_crane_pushes_and_pulls_a_large_layer_over_http2(
    nginx: Nginx, certificate: Certificate, repository: str, large: Image, tmp_path: Path
) -> None:
    crane = Tool(find_tool("crane"), environment={"SSL_CERT_FILE": str(certificate.certificate)})
    reference = f"{nginx.address}/{repository}:large"
    crane.run("push", write_layout(tmp_path / "out", large), reference)
    crane.run("pull", "--format=oci", reference, tmp_path / "back")
    assert read_layout(tmp_path / "back").blobs == large.blobs
    assert nginx.errors() == ""
    uploads = [line for line in nginx.requests() if line.startswith("PATCH") and repository in line]
    assert uploads
    assert all(line.endswith("HTTP/2.0") for line in uploads)


def test_a_body_that_is_buffered_would_be_noticed(
    behind: Server, certificate: Certificate, repository: str, large: Image, tmp_path: Path
) -> None:
    """The two tests above can fail."""
    skopeo = Tool(find_tool("skopeo"))
    source = f"dir:{write_directory(tmp_path / 'out', large)}"
    changes = {"proxy_request_buffering  off;": "proxy_request_buffering on;"}
    with Nginx(tmp_path / "front", behind.port, certificate, changes) as nginx:
        target = f"docker://{nginx.address}/{repository}:large"
        skopeo.fail("copy", "--retry-times=0", "--dest-cert-dir", str(certificate.folder), source, target)
        assert "is buffered to a temporary file" in nginx.errors()


def test_locations_are_where_clients_came_from(nginx: Nginx, trusting: ssl.SSLContext, repository: str) -> None:
    status, location, _ = ask(nginx, trusting, "POST", f"/v2/{repository}/blobs/uploads/")
    assert status == httpx.codes.ACCEPTED
    assert location.startswith(f"https://{nginx.address}/v2/{repository}/blobs/uploads/")


def test_what_a_client_says_of_where_it_comes_from_is_not_believed(
    nginx: Nginx, trusting: ssl.SSLContext, repository: str
) -> None:
    _, location, _ = ask(
        nginx,
        trusting,
        "POST",
        f"/v2/{repository}/blobs/uploads/",
        X_Forwarded_Host="evil.example.org",
        X_Forwarded_Proto="http",
        X_Forwarded_For="192.0.2.1",
        Forwarded="for=192.0.2.1;host=evil.example.org;proto=http",
    )
    assert location.startswith(f"https://{nginx.address}/")


@pytest.mark.parametrize(
    "target",
    [
        "/v2/a%2Fb/tags/list",
        "/v2/a/b/manifests/sha256%3A" + 64 * "0",
        "/v2//a//b/tags/list",
        "/v2/a/./b/tags/list",
        "/v2/a/b/tags/list?n=1&last=a%2Fb%3Ac+d",
        "/v2/a/b/blobs/sha256:" + 64 * "0",
        "/v2/a%252Fb/tags/list",
        "/v2/%C3%A9/tags/list",
    ],
)
def test_paths_arrive_as_they_were_sent(nginx: Nginx, trusting: ssl.SSLContext, behind: Server, target: str) -> None:
    status, _, body = ask(nginx, trusting, "GET", target)
    expected_status, expected_body = ask_server(behind, "GET", target)
    assert status == expected_status
    assert json.loads(body) == json.loads(expected_body)


def test_a_digest_in_a_query_may_be_encoded(nginx: Nginx, trusting: ssl.SSLContext, repository: str) -> None:
    digest = "sha256%3Ae3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # of nothing
    status, location, _ = ask(nginx, trusting, "POST", f"/v2/{repository}/blobs/uploads/?digest={digest}")
    assert status == httpx.codes.CREATED
    assert location.startswith(f"https://{nginx.address}/v2/{repository}/blobs/sha256:e3b0")


@pytest.mark.parametrize(
    "target", ["/metrics", "/readyz", "/healthz", "/v2/../metrics", "/v2/%2e%2e/metrics", "/", "/v2x"]
)
def test_nothing_but_the_registry_is_shown(nginx: Nginx, trusting: ssl.SSLContext, target: str) -> None:
    status, _, body = ask(nginx, trusting, "GET", target)
    assert status in {httpx.codes.NOT_FOUND, httpx.codes.BAD_REQUEST}
    assert "stowage_" not in body
    assert "ready" not in body


def test_plain_http_leads_to_tls(nginx: Nginx) -> None:
    answer = httpx.get(f"http://127.0.0.1:{nginx.plain_port}/v2/a/tags/list?n=1", trust_env=False)
    assert answer.status_code == httpx.codes.PERMANENT_REDIRECT
    assert answer.headers["location"] == "https://127.0.0.1/v2/a/tags/list?n=1"


def test_an_upload_in_chunks_through_it(nginx: Nginx, trusting: ssl.SSLContext, repository: str) -> None:
    """Ranges, and errors with a body that is not read to its end, come back as the server gave them."""
    with httpx.Client(base_url=f"https://{nginx.address}", verify=trusting, trust_env=False, timeout=120) as client:
        chunk = os.urandom(100_000)
        upload = client.post(f"/v2/{repository}/blobs/uploads/").headers["location"]
        first = client.patch(upload, content=chunk, headers={"Content-Range": "0-99999"})
        assert (first.status_code, first.headers["range"]) == (httpx.codes.ACCEPTED, "0-99999")
        wrong = client.patch(first.headers["location"], content=chunk, headers={"Content-Range": "5-100004"})
        assert wrong.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE
        too_large = client.put(f"/v2/{repository}/manifests/a", content=os.urandom(8_000_000))
        assert too_large.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE
        assert too_large.json()["errors"][0]["code"] == "MANIFEST_INVALID"


def test_nginx_can_ask_for_passwords(
    behind: Server, certificate: Certificate, repository: str, large: Image, tmp_path: Path
) -> None:
    """As docs/install.md says, while there are no users."""
    openssl, skopeo = Tool(find_tool("openssl")), Tool(find_tool("skopeo"))
    passwords = tmp_path / "registry.htpasswd"
    passwords.write_text(f"ci:{openssl.run('passwd', '-apr1', 'secret').stdout}")
    asked = f'location /v2/ {{ auth_basic "registry"; auth_basic_user_file {passwords};'
    source = f"dir:{write_directory(tmp_path / 'out', large)}"
    with Nginx(tmp_path / "front", behind.port, certificate, {"location /v2/ {": asked}) as nginx:
        command = ("copy", "--dest-cert-dir", str(certificate.folder))
        target = f"docker://{nginx.address}/{repository}:1"
        assert "unauthorized" in skopeo.fail(*command, source, target).both.lower()
        assert "unauthorized" in skopeo.fail(*command, "--dest-creds", "ci:wrong", source, target).both.lower()
        skopeo.run(*command, "--dest-creds", "ci:secret", source, target)
