"""Locations behind proxies: from trusted ones alone, and never from a Host header."""

from collections.abc import Iterator

import httpx
import pytest

from tests.factories import digest_of, next_page, push_image, put_manifest
from tests.support.server import Connect, Server, ServerFactory, new_client

LIES = {
    "Host": "evil.example",
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Host": "registry.example",
    "X-Forwarded-Proto": "https",
}
STANDARD = {"Host": "evil.example", "Forwarded": 'for=203.0.113.9;proto=https;host="registry.example:8443"'}


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that trusts what comes from this machine."""
    with Server(
        tmp_path_factory.mktemp("proxied"), {"STOWAGE_HTTP__TRUSTED_PROXIES": "10.0.0.0/8, 127.0.0.1"}
    ) as running:
        yield running


def locations(client: httpx.Client, repository: str, headers: dict[str, str]) -> list[str]:
    """Every kind of Location and Link that the server gives."""
    image = push_image(client, repository, "one")
    assert put_manifest(client, repository, "two", image.manifest).status_code == 201
    path = f"/v2/{repository}"
    started = client.post(f"{path}/blobs/uploads/", headers=headers)
    session = httpx.URL(started.headers["location"]).path
    answers = [
        started,
        client.get(session, headers=headers),
        client.patch(session, content=b"some", headers=headers),
        client.patch(session, content=b"some", headers={**headers, "Content-Range": "9-12"}),
        client.put(session, params={"digest": digest_of(b"some")}, headers=headers),
        client.post(f"{path}/blobs/uploads/", params={"digest": digest_of(b"x")}, content=b"x", headers=headers),
        client.post(f"{path}/b/blobs/uploads/", params={"mount": digest_of(b"x"), "from": repository}, headers=headers),
        put_manifest(client, repository, "one", image.manifest, headers=headers),
    ]
    listings = [
        client.get(target, params={"n": 1}, headers=headers) for target in (f"{path}/tags/list", "/v2/_catalog")
    ]
    links = [next_page(listing) for listing in listings]
    assert all(answer.status_code in {201, 202, 204, 416} for answer in answers)
    return [*(answer.headers["location"] for answer in answers), *(link for link in links if link is not None)]


@pytest.mark.parametrize("headers", [LIES, STANDARD, {"Host": "evil.example"}, {}])
def test_without_a_trusted_proxy_locations_are_relative(
    client: httpx.Client, repository: str, headers: dict[str, str]
) -> None:
    found = locations(client, repository, headers)
    assert len(found) >= 9
    assert all(location.startswith("/v2/") for location in found)


@pytest.mark.parametrize(
    ("headers", "origin"), [(LIES, "https://registry.example"), (STANDARD, "https://registry.example:8443")]
)
def test_a_trusted_proxy_says_how_the_server_was_reached(
    proxied: Server, repository: str, headers: dict[str, str], origin: str
) -> None:
    with new_client(proxied) as client:
        found = locations(client, repository, headers)
        assert all(location.startswith(f"{origin}/v2/") for location in found)


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example", "X-Forwarded-Proto": "https"},
        {"Host": "evil.example", "X-Forwarded-Host": "registry.example"},
        {**LIES, "X-Forwarded-Host": "registry.example/x"},
        {**LIES, "X-Forwarded-Proto": "javascript"},
        {**LIES, **STANDARD},
        {"Forwarded": "proto=https;host=a b"},
    ],
)
def test_what_even_a_trusted_proxy_does_not_say_is_not_made_up(
    proxied: Server, repository: str, headers: dict[str, str]
) -> None:
    with new_client(proxied) as client:
        found = locations(client, repository, headers)
        assert all(location.startswith("/v2/") for location in found)


def test_the_public_url_wins(fresh_server: ServerFactory, connect: Connect, repository: str) -> None:
    server = fresh_server(
        STOWAGE_HTTP__TRUSTED_PROXIES="127.0.0.0/8", STOWAGE_HTTP__PUBLIC_URL="https://public.example/"
    )
    started = connect(server).post(f"/v2/{repository}/blobs/uploads/", headers=LIES)
    assert started.headers["location"].startswith(f"https://public.example/v2/{repository}/blobs/uploads/")
