"""What events tell of what is done over HTTP."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.factories import (
    OCI_INDEX,
    OCI_MANIFEST,
    descriptor,
    digest_of,
    index_manifest,
    new_image,
    push_blob,
    push_image,
    push_manifest,
)
from tests.support.served import eventually
from tests.support.server import Server, ServerFactory, new_client

LISTED = "/api/v1/events"


@pytest.fixture
def newest(client: httpx.Client) -> str:
    """The cursor from which on a test looks."""
    return str(client.get(LISTED, params={"after": "newest"}).json()["cursor"])


def since(client: httpx.Client, cursor: str, count: int, repository: str) -> list[dict[str, Any]]:
    """Return what happened in a repository since then, once there is so much of it."""
    found: list[dict[str, Any]] = []

    def are_there() -> bool:
        answer = client.get(LISTED, params={"after": cursor, "repository": repository, "limit": "1000"})
        found[:] = answer.json()["items"]
        return len(found) >= count

    eventually(are_there)
    assert len(found) == count
    return found


def brief(events: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(one["action"], one["digest"], one["tag"]) for one in events]


def test_a_push_tells_all_of_itself(client: httpx.Client, newest: str, repository: str) -> None:
    image = push_image(client, repository, "v1")
    config, layer = digest_of(image.config), digest_of(image.layers[0])
    created, _, _, pushed, tagged = events = since(client, newest, 5, repository)
    assert brief(events) == [
        ("create", None, None),
        ("push", config, None),
        ("push", layer, None),
        ("push", image.digest, "v1"),
        ("tag", image.digest, "v1"),
    ]
    assert (pushed["mediaType"], pushed["size"]) == (OCI_MANIFEST, len(image.manifest))
    assert [one["digest"] for one in pushed["references"]] == [config, layer]
    assert [one["size"] for one in pushed["references"]] == [len(image.config), len(image.layers[0])]
    assert tagged["previous"] is None and tagged["references"] == []
    for one in events:
        assert one["actor"] == "system:anonymous" and one["repository"] == repository
        request = one["request"]
        assert request["address"] == "127.0.0.1" and request["method"] in {"POST", "PUT"}
        assert request["host"].startswith("127.0.0.1:") and request["agent"].startswith("python-httpx/")
    assert created["request"]["method"] == "PUT"  # the first blob's end, not the upload's beginning
    assert pushed["request"]["id"] == tagged["request"]["id"]


def test_a_tag_that_moves_says_from_where(client: httpx.Client, newest: str, repository: str) -> None:
    first = push_image(client, repository, "latest")
    second = push_image(client, repository, "latest")
    push_manifest(client, repository, second.manifest, "latest")  # names it already
    events = since(client, newest, 1 + 4 + 4 + 1, repository)
    assert [(one["digest"], one["previous"]) for one in events if one["action"] == "tag"] == [
        (first.digest, None),
        (second.digest, first.digest),
    ]
    assert brief(events)[-1] == ("push", second.digest, "latest")


def test_deletes_and_mounts_are_told(client: httpx.Client, newest: str, repository: str) -> None:
    blob = push_blob(client, f"{repository}/from", b"to be mounted")
    answer = client.post(f"/v2/{repository}/blobs/uploads/", params={"mount": blob, "from": f"{repository}/from"})
    assert answer.status_code == 201
    image = push_image(client, repository, "gone")
    assert client.delete(f"/v2/{repository}/manifests/gone").status_code == 202
    push_manifest(client, repository, image.manifest, "again")
    assert client.delete(f"/v2/{repository}/manifests/{image.digest}").status_code == 202
    assert client.delete(f"/v2/{repository}/blobs/{blob}").status_code == 202
    events = since(client, newest, 12, repository)
    assert brief(events)[:2] == [("create", None, None), ("mount", blob, None)]
    assert events[1]["source"] == f"{repository}/from"
    assert brief(events)[6:] == [
        ("untag", image.digest, "gone"),
        ("push", image.digest, "again"),
        ("tag", image.digest, "again"),
        ("untag", image.digest, "again"),
        ("delete", image.digest, None),
        ("delete", blob, None),
    ]
    assert {one["cause"] for one in events} == {None}
    assert events[-2]["mediaType"] == OCI_MANIFEST and events[-1]["size"] == len(b"to be mounted")


def test_an_index_refers_to_manifests_and_a_push_has_all_its_tags(
    client: httpx.Client, newest: str, repository: str
) -> None:
    child = push_image(client, repository)
    index = index_manifest([descriptor(child.manifest, OCI_MANIFEST)])
    answer = client.put(
        f"/v2/{repository}/manifests/{digest_of(index)}",
        params={"tag": ["a", "b"]},
        content=index,
        headers={"Content-Type": OCI_INDEX},
    )
    assert answer.status_code == 201
    pushed, first, second = since(client, newest, 7, repository)[-3:]
    assert pushed["references"] == [{"digest": child.digest, "mediaType": OCI_MANIFEST, "size": len(child.manifest)}]
    assert (pushed["tag"], pushed["tags"], first["tag"], second["tag"]) == ("a", ["a", "b"], "a", "b")


def test_what_came_to_nothing_is_not_told(client: httpx.Client, newest: str, repository: str) -> None:
    image = new_image()
    answer = client.put(
        f"/v2/{repository}/manifests/v1", content=image.manifest, headers={"Content-Type": OCI_MANIFEST}
    )
    assert answer.status_code == 404
    push_blob(client, repository, b"something")
    assert [one["action"] for one in since(client, newest, 2, repository)] == ["create", "push"]


def test_a_huge_index_is_told_in_part(client: httpx.Client, newest: str, repository: str) -> None:
    image = push_image(client, repository)
    one = descriptor(image.manifest, OCI_MANIFEST)
    absent = [{**one, "digest": f"sha256:{number:064}", "mediaType": "a/b"} for number in range(150)]
    config = {"mediaType": "a/c", "digest": digest_of(image.config), "size": len(image.config)}
    foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    layers = [{**one, "mediaType": foreign} for one in absent]
    manifest = httpx.Response(200, json={"schemaVersion": 2, "config": config, "layers": layers}).content
    push_manifest(client, repository, manifest, "huge")
    pushed = since(client, newest, 6, repository)[-2]
    assert len(pushed["references"]) == 100


@pytest.fixture(scope="module")
def telling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that tells of pulls, too."""
    with Server(tmp_path_factory.mktemp("pulls"), {"STOWAGE_EVENTS__PULLS": "true"}) as running:
        yield running


def test_pulls_are_told_where_it_is_asked_for(telling: Server) -> None:
    with new_client(telling) as client:
        image = push_image(client, "app", "v1")
        client.head("/v2/app/manifests/v1")
        assert client.get("/v2/app/manifests/v1").status_code == 200
        assert client.get(f"/v2/app/manifests/{image.digest}").status_code == 200
        pulls: list[dict[str, Any]] = []

        def are_there() -> bool:
            pulls[:] = client.get(LISTED, params={"action": "pull", "after": "oldest"}).json()["items"]
            return len(pulls) >= 2

        eventually(are_there)
        assert brief(sorted(pulls, key=lambda one: one["tag"] is None)) == [
            ("pull", image.digest, "v1"),
            ("pull", image.digest, None),
        ]
        assert pulls[0]["request"]["method"] == "GET"
        assert (pulls[0]["mediaType"], pulls[0]["size"]) == (OCI_MANIFEST, len(image.manifest))


def test_pulls_are_not_told_else_and_none_is_lost_at_the_end(fresh_server: ServerFactory) -> None:
    server = fresh_server(STOWAGE_EVENTS__PULLS="true")
    with new_client(server) as client:
        push_image(client, "app", "v1")
        assert client.get("/v2/app/manifests/v1").status_code == 200
    server.stop()
    assert server.sql("SELECT count(*) FROM outbox WHERE action = 'pull'") == [("1",)]


def test_a_shared_server_tells_of_no_pulls(client: httpx.Client, newest: str, repository: str) -> None:
    push_blob(client, repository, b"something")
    image = push_image(client, repository, "v1")
    assert client.get(f"/v2/{repository}/manifests/v1").status_code == 200
    assert client.get(f"/v2/{repository}/manifests/{image.digest}").status_code == 200
    push_blob(client, repository, b"something else")
    actions = {one["action"] for one in since(client, newest, 7, repository)}
    assert actions == {"create", "push", "tag"}
