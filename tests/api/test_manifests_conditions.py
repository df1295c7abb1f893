"""Conditional requests for manifests, several tags in one push, and sizes (spec, "Pushing Manifests"; RFC 9110, 13)."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.factories import (
    OCI_MANIFEST,
    assert_error,
    digest_of,
    image_manifest,
    padded_manifest,
    pieces,
    push_blob,
    push_image,
    push_manifest,
    put_manifest,
    random_bytes,
)
from tests.support.server import Connect, Server, ServerFactory, new_client

CONFIG = b"config"
LIMIT = 4 * 1024 * 1024
RACERS = 6


@pytest.fixture
def stocked(client: httpx.Client, repository: str) -> str:
    """A repository with the blob CONFIG."""
    push_blob(client, repository, CONFIG)
    return repository


def unique() -> bytes:
    """An image manifest that no other call returns."""
    return image_manifest(CONFIG, unique=random_bytes(8).hex())


def etag(content: bytes) -> str:
    return f'"{digest_of(content)}"'


@pytest.mark.parametrize("by", ["tag", "digest"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("form", ['"{}"', 'W/"{}"', "*", '"other", "{}"'])
def test_what_the_client_has_is_not_sent_again(
    client: httpx.Client, repository: str, by: str, method: str, form: str
) -> None:
    image = push_image(client, repository, "latest")
    path = f"/v2/{repository}/manifests/{'latest' if by == 'tag' else image.digest}"
    response = client.request(method, path, headers={"If-None-Match": form.format(image.digest)})
    assert response.status_code == 304
    assert response.content == b""
    assert response.headers["etag"] == etag(image.manifest)
    assert response.headers["docker-content-digest"] == image.digest
    response = client.request(method, path, headers={"If-None-Match": '"other"'})
    assert response.status_code == 200


def test_a_tag_that_moved_is_sent(client: httpx.Client, stocked: str) -> None:
    one, two = unique(), unique()
    push_manifest(client, stocked, one, "latest")
    push_manifest(client, stocked, two, "latest")
    response = client.get(f"/v2/{stocked}/manifests/latest", headers={"If-None-Match": etag(one)})
    assert response.status_code == 200
    assert response.content == two


def test_if_match_guards_a_tag(client: httpx.Client, stocked: str) -> None:
    one, two, three = unique(), unique(), unique()
    response = put_manifest(client, stocked, "latest", one, headers={"If-Match": etag(one)})
    assert response.status_code == 412  # there is nothing yet
    push_manifest(client, stocked, one, "latest")
    assert put_manifest(client, stocked, "latest", two, headers={"If-Match": etag(one)}).status_code == 201
    response = put_manifest(client, stocked, "latest", three, headers={"If-Match": etag(one)})
    assert response.status_code == 412
    assert_error(response, 412, response.json()["errors"][0]["code"])
    assert client.get(f"/v2/{stocked}/manifests/latest").content == two
    assert client.head(f"/v2/{stocked}/manifests/{digest_of(three)}").status_code == 404


@pytest.mark.parametrize("form", ['"{}"', '"other", "{}"', "*"])
def test_if_match_that_holds(client: httpx.Client, stocked: str, form: str) -> None:
    one, two = unique(), unique()
    push_manifest(client, stocked, one, "latest")
    headers = {"If-Match": form.format(digest_of(one))}
    assert put_manifest(client, stocked, "latest", two, headers=headers).status_code == 201
    assert client.get(f"/v2/{stocked}/manifests/latest").content == two


@pytest.mark.parametrize("form", ['W/"{}"', '"other"', '"{}x"'])
def test_if_match_that_does_not_hold(client: httpx.Client, stocked: str, form: str) -> None:
    one, two = unique(), unique()
    push_manifest(client, stocked, one, "latest")
    headers = {"If-Match": form.format(digest_of(one))}
    assert put_manifest(client, stocked, "latest", two, headers=headers).status_code == 412
    assert client.get(f"/v2/{stocked}/manifests/latest").content == one


def test_a_failed_condition_makes_no_repository(client: httpx.Client, repository: str) -> None:
    push_blob(client, f"{repository}/other", CONFIG)
    response = put_manifest(client, repository, "latest", unique(), headers={"If-Match": "*"})
    assert response.status_code == 412
    assert_error(client.get(f"/v2/{repository}/tags/list"), 404, "NAME_UNKNOWN")


@pytest.mark.parametrize("by", ["tag", "digest"])
def test_if_none_match_any_only_creates(client: httpx.Client, stocked: str, by: str) -> None:
    one, two = unique(), unique()
    first = "latest" if by == "tag" else digest_of(one)
    headers = {"If-None-Match": "*"}
    assert put_manifest(client, stocked, first, one, headers=headers).status_code == 201
    content, reference = (two, "latest") if by == "tag" else (one, first)
    assert put_manifest(client, stocked, reference, content, headers=headers).status_code == 412
    assert client.get(f"/v2/{stocked}/manifests/{first}").content == one
    assert client.delete(f"/v2/{stocked}/manifests/{first}").status_code == 202
    assert put_manifest(client, stocked, reference, content, headers=headers).status_code == 201


def race(server: Server, push: Callable[[httpx.Client, int], httpx.Response]) -> list[int]:
    """Statuses of pushes that all go at the same time."""
    clients = [new_client(server) for _ in range(RACERS)]
    try:
        with ThreadPoolExecutor(RACERS) as pool:
            return [response.status_code for response in pool.map(push, clients, range(RACERS))]
    finally:
        for client in clients:
            client.close()


@pytest.mark.parametrize("condition", ["If-Match", "If-None-Match"])
def test_of_pushes_that_race_one_wins(server: Server, client: httpx.Client, stocked: str, condition: str) -> None:
    first = unique()
    contents = [unique() for _ in range(RACERS)]
    if condition == "If-Match":
        push_manifest(client, stocked, first, "latest")
    headers = {condition: etag(first) if condition == "If-Match" else "*"}
    statuses = race(server, lambda own, who: put_manifest(own, stocked, "latest", contents[who], headers=headers))
    assert sorted(statuses) == [201] + [412] * (RACERS - 1)
    won = contents[statuses.index(201)]
    assert client.get(f"/v2/{stocked}/manifests/latest").content == won


def test_several_tags_in_one_push(client: httpx.Client, stocked: str) -> None:
    content = unique()
    digest = digest_of(content)
    tags = ["1.2.3", "1.2", "1", "latest", "latest"]
    response = put_manifest(client, stocked, digest, content, params=[("tag", tag) for tag in tags])
    assert response.status_code == 201, response.text
    assert response.headers["docker-content-digest"] == digest
    assert sorted(response.headers.get_list("oci-tag", split_commas=True)) == ["1", "1.2", "1.2.3", "latest"]
    assert client.get(f"/v2/{stocked}/tags/list").json()["tags"] == ["1", "1.2", "1.2.3", "latest"]
    for tag in tags:
        assert client.get(f"/v2/{stocked}/manifests/{tag}").content == content


def test_one_tag_in_a_push_by_digest_moves(client: httpx.Client, stocked: str) -> None:
    one, two = unique(), unique()
    push_manifest(client, stocked, one, "latest")
    response = put_manifest(client, stocked, digest_of(two), two, params={"tag": "latest"})
    assert response.headers["oci-tag"] == "latest"
    assert client.get(f"/v2/{stocked}/manifests/latest").content == two


def test_a_push_without_tags_names_none(client: httpx.Client, stocked: str) -> None:
    content = unique()
    assert "oci-tag" not in put_manifest(client, stocked, digest_of(content), content).headers
    assert client.get(f"/v2/{stocked}/tags/list").json()["tags"] == []


@pytest.mark.parametrize(("count", "status"), [(100, 201), (101, 414)])
def test_a_hundred_tags_and_no_more(client: httpx.Client, stocked: str, count: int, status: int) -> None:
    content = unique()
    tags = [f"tag-{number:03}" for number in range(count)]
    response = put_manifest(client, stocked, digest_of(content), content, params=[("tag", tag) for tag in tags])
    assert response.status_code == status, response.text
    assert client.get(f"/v2/{stocked}/tags/list").json()["tags"] == (tags if status == 201 else [])
    if status == 414:
        assert_error(response, 414, response.json()["errors"][0]["code"])


@pytest.mark.parametrize("bad", ["-bad", "", "a b", "x" * 129, "a:b"])
def test_one_bad_tag_refuses_the_push(client: httpx.Client, stocked: str, bad: str) -> None:
    content = unique()
    response = put_manifest(client, stocked, digest_of(content), content, params=[("tag", "good"), ("tag", bad)])
    assert response.status_code == 400
    assert_error(response, 400, "MANIFEST_INVALID")
    assert client.get(f"/v2/{stocked}/tags/list").json()["tags"] == []


def test_tag_parameters_and_a_tag_in_the_path_are_refused(client: httpx.Client, stocked: str) -> None:
    response = put_manifest(client, stocked, "latest", unique(), params={"tag": "other"})
    assert response.status_code == 400
    assert client.get(f"/v2/{stocked}/tags/list").json()["tags"] == []


def as_bytes(content: bytes) -> bytes:
    return content


def as_stream(content: bytes) -> Iterator[bytes]:
    return pieces(content, 65_536)


@pytest.mark.parametrize("send", [as_bytes, as_stream])
def test_four_mebibytes_are_accepted(
    client: httpx.Client, stocked: str, send: Callable[[bytes], bytes | Iterator[bytes]]
) -> None:
    content = padded_manifest(LIMIT, CONFIG)
    headers = {"Content-Type": OCI_MANIFEST}
    response = client.put(f"/v2/{stocked}/manifests/large", content=send(content), headers=headers)
    assert response.status_code == 201, response.text
    assert client.get(f"/v2/{stocked}/manifests/large").content == content
    assert client.head(f"/v2/{stocked}/manifests/large").headers["content-length"] == str(LIMIT)


@pytest.mark.parametrize("send", [as_bytes, as_stream])
@pytest.mark.parametrize("size", [5 * 1024 * 1024, 20 * 1024 * 1024])
def test_much_more_is_refused(
    client: httpx.Client, stocked: str, send: Callable[[bytes], bytes | Iterator[bytes]], size: int
) -> None:
    content = padded_manifest(size, CONFIG)
    headers = {"Content-Type": OCI_MANIFEST}
    response = client.put(f"/v2/{stocked}/manifests/large", content=send(content), headers=headers)
    assert_error(response, 413, "MANIFEST_INVALID")
    assert client.get(f"/v2/{stocked}/tags/list").json()["tags"] == []


@pytest.mark.parametrize("send", [as_bytes, as_stream])
def test_the_limit_is_the_configured_one(
    fresh_server: ServerFactory,
    connect: Connect,
    repository: str,
    send: Callable[[bytes], bytes | Iterator[bytes]],
) -> None:
    client = connect(fresh_server(STOWAGE_MANIFESTS__MAX_SIZE="2048", STOWAGE_MANIFESTS__MAX_TAGS="2"))
    push_blob(client, repository, CONFIG)
    headers = {"Content-Type": OCI_MANIFEST}
    for size, status in ((2048, 201), (2049, 413)):
        content = send(padded_manifest(size, CONFIG))
        response = client.put(f"/v2/{repository}/manifests/latest", content=content, headers=headers)
        assert response.status_code == status
    content = padded_manifest(2048, CONFIG)
    query = [("tag", str(number)) for number in range(3)]
    assert put_manifest(client, repository, digest_of(content), content, params=query).status_code == 414
