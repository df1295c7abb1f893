"""Pulls that are sent to the store: which, for whom, and that the address is worth something there."""

from collections.abc import Iterator

import httpx
import pytest

from tests.factories import pull_blob, push_blob, push_image, random_bytes
from tests.s3.conftest import S3ServerFactory
from tests.support.s3 import ACCESS_KEY_ID, SECRET_ACCESS_KEY, S3Server, server_settings
from tests.support.server import Connect, Server, new_client

LARGE = 100_000


@pytest.fixture(scope="module")
def client(s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a server that redirects."""
    settings = server_settings(s3.url, "redirected", redirect="true", redirect_lifetime="5m")
    with (
        Server(tmp_path_factory.mktemp("redirecting"), {**settings, "STOWAGE_HTTP__WORKERS": "1"}) as server,
        new_client(server) as connected,
    ):
        yield connected


def test_a_large_blob_comes_from_the_store(client: httpx.Client, s3: S3Server, repository: str) -> None:
    content = random_bytes(LARGE)
    digest = push_blob(client, repository, content)
    response = client.get(f"/v2/{repository}/blobs/{digest}")
    assert (response.status_code, response.content) == (307, b"")
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["docker-content-digest"] == digest
    address = httpx.URL(response.headers["location"])
    assert str(address).startswith(f"{s3.url}/")
    assert address.params["X-Amz-Expires"] == "300"
    assert SECRET_ACCESS_KEY not in str(address)
    assert httpx.get(address, trust_env=False).content == content
    part = httpx.get(address, headers={"Range": "bytes=5-9"}, trust_env=False)
    assert (part.status_code, part.content) == (206, content[5:10])
    assert httpx.delete(address, trust_env=False).status_code == 403


def test_what_is_small_conditional_or_in_part_comes_from_here(client: httpx.Client, repository: str) -> None:
    small, large = random_bytes(64 * 1024), random_bytes(LARGE)
    assert pull_blob(client, repository, push_blob(client, repository, small)) == small
    path = f"/v2/{repository}/blobs/{push_blob(client, repository, large)}"
    head = client.head(path)
    assert (head.status_code, head.headers["content-length"]) == (200, str(LARGE))
    part = client.get(path, headers={"Range": "bytes=5-9"})
    assert (part.status_code, part.content) == (206, large[5:10])
    assert client.get(path, headers={"Range": f"bytes={LARGE}-"}).status_code == 416
    assert client.get(path, headers={"If-None-Match": head.headers["etag"]}).status_code == 304
    assert client.get(path, headers={"Range": "bytes=5-9", "If-Range": '"x"'}).content == large


def test_manifests_are_never_redirected(client: httpx.Client, repository: str) -> None:
    push_image(client, repository, "v1")
    assert client.get(f"/v2/{repository}/manifests/v1").status_code == 200


def test_what_is_not_in_the_repository_has_no_address(client: httpx.Client, s3: S3Server, repository: str) -> None:
    digest = push_blob(client, repository, random_bytes(LARGE))
    assert client.get(f"/v2/{repository}-other/blobs/{digest}").status_code == 404
    direct = s3.client()
    for one in direct.list_objects_v2(Bucket="registry").get("Contents", []):
        if digest[7:] in one["Key"]:
            direct.delete_object(Bucket="registry", Key=one["Key"])
    assert client.get(f"/v2/{repository}/blobs/{digest}").status_code == 404


def test_clients_of_proxied_networks_get_the_bytes_from_here(
    on_s3: S3ServerFactory, connect: Connect, repository: str
) -> None:
    content = random_bytes(LARGE)
    client = connect(on_s3(redirect="true", proxied_networks="10.0.0.0/8, 127.0.0.0/8"))
    assert pull_blob(client, repository, push_blob(client, repository, content)) == content


def test_addresses_are_signed_for_the_endpoint_that_clients_see(
    on_s3: S3ServerFactory, connect: Connect, repository: str
) -> None:
    client = connect(on_s3(redirect="true", redirect_endpoint="https://blobs.example.org"))
    digest = push_blob(client, repository, random_bytes(LARGE))
    location = client.get(f"/v2/{repository}/blobs/{digest}").headers["location"]
    assert location.startswith("https://blobs.example.org/registry/")
    assert f"X-Amz-Credential={ACCESS_KEY_ID}" in location
