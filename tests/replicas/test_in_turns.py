"""Nothing is sticky: every request of a push, a pull, a deletion goes to another replica."""

import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.factories import assert_error, digest_of, new_image, pieces, pull_blob, random_bytes
from tests.replicas.conftest import Turns
from tests.support.fleet import Fleet
from tests.support.images import OCI_MANIFEST
from tests.support.served import eventually

KIB, MIB = 1024, 1024 * 1024


def begin(turns: Turns, repository: str) -> str:
    """Begin an upload, and return its Location."""
    answer = turns.ask("POST", f"/v2/{repository}/blobs/uploads/")
    assert answer.status_code == 202, answer.text
    location: str = answer.headers["location"]
    return location


def push(turns: Turns, repository: str, content: bytes) -> str:
    """Push a blob: POST to one replica, PUT to another."""
    answer = turns.ask("PUT", begin(turns, repository), params={"digest": digest_of(content)}, content=content)
    assert answer.status_code == 201, answer.text
    return digest_of(content)


@pytest.mark.parametrize("size", [70 * KIB, 6 * MIB + 5], ids=["small", "large"])
@pytest.mark.parametrize("spans", [True, False], ids=["chunks", "streams"])
def test_a_patch_here_a_patch_there_and_the_end_elsewhere(
    turns: Turns, replicas: list[httpx.Client], repository: str, size: int, spans: bool
) -> None:
    content, location = random_bytes(3 * size), begin(turns, repository)
    for begun in (0, size):
        span = {"Content-Range": f"{begun}-{begun + size - 1}"} if spans else {}
        body = content[begun : begun + size]
        answer = turns.ask("PATCH", location, content=body if spans else iter([body]), headers=span)
        assert (answer.status_code, answer.headers["range"]) == (202, f"0-{begun + size - 1}"), answer.text
        location = answer.headers["location"]
        for _ in replicas:
            told = turns.ask("GET", location)
            assert (told.status_code, told.headers["range"]) == (204, f"0-{begun + size - 1}")
    digest = digest_of(content)
    closed = turns.ask("PUT", location, params={"digest": digest}, content=content[2 * size :])
    assert closed.status_code == 201, closed.text
    for client in replicas:
        assert pull_blob(client, repository, digest) == content
        assert_error(client.get(httpx.URL(location).raw_path.decode()), 404, "BLOB_UPLOAD_UNKNOWN")


def test_the_end_without_a_body_elsewhere(turns: Turns, replicas: list[httpx.Client], repository: str) -> None:
    """The replica that is told the digest has seen no byte of the content."""
    content, location = random_bytes(100 * KIB), begin(turns, repository)
    assert turns.ask("PATCH", location, content=content).status_code == 202
    wrong = turns.ask("PUT", location, params={"digest": digest_of(b"other")})
    assert_error(wrong, 400, "DIGEST_INVALID")
    location = begin(turns, repository)
    assert turns.ask("PATCH", location, content=content).status_code == 202
    assert turns.ask("PUT", location, params={"digest": digest_of(content)}).status_code == 201
    assert pull_blob(replicas[0], repository, digest_of(content)) == content


@pytest.mark.parametrize("size", [0, 1, 40 * KIB, 11 * MIB])
def test_monolithic(turns: Turns, replicas: list[httpx.Client], repository: str, size: int) -> None:
    two, one = random_bytes(size), random_bytes(size + 1)
    push(turns, repository, two)
    single = turns.ask("POST", f"/v2/{repository}/blobs/uploads/", params={"digest": digest_of(one)}, content=one)
    assert single.status_code == 201, single.text
    for content in (one, two):
        for client in replicas:
            assert pull_blob(client, repository, digest_of(content)) == content


def test_a_chunk_out_of_order_is_refused_by_whom_it_reaches(turns: Turns, repository: str) -> None:
    content, location = random_bytes(1000), begin(turns, repository)
    assert turns.ask("PATCH", location, content=content[:400], headers={"Content-Range": "0-399"}).status_code == 202
    for span in ("0-399", "500-999"):
        refused = turns.ask("PATCH", location, content=content[500:][:400], headers={"Content-Range": span})
        assert refused.status_code in {400, 416}, refused.text
    assert turns.ask("GET", location).headers["range"] == "0-399"
    rest = turns.ask("PATCH", location, content=content[400:], headers={"Content-Range": "400-999"})
    assert rest.status_code == 202
    assert turns.ask("PUT", location, params={"digest": digest_of(content)}).status_code == 201


def test_a_mount_of_what_another_took(turns: Turns, replicas: list[httpx.Client], repository: str) -> None:
    content = random_bytes(5000)
    query = {"mount": push(turns, repository, content), "from": repository}
    mounted = turns.ask("POST", f"/v2/{repository}/mounted/blobs/uploads/", params=query)
    assert mounted.status_code == 201, mounted.text
    for client in replicas:
        assert pull_blob(client, f"{repository}/mounted", query["mount"]) == content


@pytest.mark.parametrize("size", [3000, 12 * MIB])
def test_cancelled_by_another(
    turns: Turns, replicas: list[httpx.Client], fleet: Fleet, repository: str, size: int
) -> None:
    location = begin(turns, repository)
    upload = location.partition("?")[0].rpartition("/")[2]
    assert turns.ask("PATCH", location, content=random_bytes(size)).status_code == 202
    assert [name for name in fleet.replicas[0].stored.all() if upload in name]
    assert turns.ask("DELETE", location).status_code == 204
    for client in replicas:
        for method in ("GET", "PATCH", "PUT", "DELETE"):
            answer = client.request(method, httpx.URL(location).raw_path.decode(), params={"digest": digest_of(b"")})
            assert_error(answer, 404, "BLOB_UPLOAD_UNKNOWN")
    eventually(lambda: not [name for name in fleet.replicas[0].stored.all() if upload in name], 30)


def test_an_image_from_its_push_to_its_end(turns: Turns, replicas: list[httpx.Client], repository: str) -> None:
    image, at = new_image(layers=3), f"/v2/{repository}/manifests"
    for blob in image.blobs:
        assert turns.ask("HEAD", f"/v2/{repository}/blobs/{digest_of(blob)}").status_code == 404
        push(turns, repository, blob)
        assert turns.ask("HEAD", f"/v2/{repository}/blobs/{digest_of(blob)}").status_code == 200
    kind = {"Content-Type": OCI_MANIFEST}
    for tag in ("one", "two"):
        assert turns.ask("PUT", f"{at}/{tag}", content=image.manifest, headers=kind).status_code == 201
    for client in replicas:
        assert client.get(f"{at}/two").content == client.get(f"{at}/{image.digest}").content == image.manifest
        assert client.get(f"/v2/{repository}/tags/list").json()["tags"] == ["one", "two"]
    assert turns.ask("DELETE", f"{at}/one").status_code == 202
    for client in replicas:
        assert client.get(f"/v2/{repository}/tags/list").json()["tags"] == ["two"]
    assert turns.ask("DELETE", f"{at}/{image.digest}").status_code == 202
    for client in replicas:
        assert client.get(f"{at}/two").status_code == client.get(f"{at}/{image.digest}").status_code == 404


@pytest.mark.parametrize("spans", [True, False], ids=["chunks", "streams"])
def test_of_two_replicas_that_write_to_a_session_at_once_one_wins(
    replicas: list[httpx.Client], repository: str, spans: bool
) -> None:
    """Whoever it is: what the session has then is what that one was sent, and nothing of the other's."""
    size = 8 * MIB
    for _ in range(4):
        contents = [random_bytes(size), random_bytes(size)]
        location = replicas[2].post(f"/v2/{repository}/blobs/uploads/").headers["location"]
        answers = at_once(replicas[:2], location, contents, {"Content-Range": f"0-{size - 1}"} if spans else {})
        won = {
            int(one.headers["range"][2:]): content
            for one, content in zip(answers, contents, strict=True)
            if one.is_success
        }
        refused = [answer for answer in answers if not answer.is_success]
        assert all(answer.status_code in {409, 416} for answer in refused), [answer.text for answer in refused]
        assert len(won) == 1 or not spans  # a stream does not say where it begins: it may follow the other
        assert sorted(won) == [size * (number + 1) - 1 for number in range(len(won))]
        whole = b"".join(won[end] for end in sorted(won))
        assert replicas[2].get(location).headers["range"] == f"0-{len(whole) - 1}"
        closed = replicas[2].put(location, params={"digest": digest_of(whole)})
        assert closed.status_code == 201, closed.text
        assert pull_blob(replicas[0], repository, digest_of(whole)) == whole


def at_once(
    clients: list[httpx.Client], location: str, contents: list[bytes], headers: dict[str, str]
) -> list[httpx.Response]:
    """PATCH a session through several replicas, each of which gets a content in pieces."""
    together = threading.Barrier(len(clients))

    def write(client: httpx.Client, content: bytes) -> httpx.Response:
        length = {"Content-Length": str(len(content))} if headers else {}
        together.wait(120)
        return client.patch(location, content=pieces(content, MIB), headers={**headers, **length})

    with ThreadPoolExecutor(len(clients)) as pool:
        return list(pool.map(write, clients, contents))


def test_of_several_that_close_a_session_at_once_one_publishes(replicas: list[httpx.Client], repository: str) -> None:
    for size in (100, 3 * KIB, 6 * MIB):
        content = random_bytes(size)
        query = {"digest": digest_of(content)}
        location = replicas[0].post(f"/v2/{repository}/blobs/uploads/").headers["location"]
        assert replicas[1].patch(location, content=content).status_code == 202
        with ThreadPoolExecutor(len(replicas)) as pool:
            closing = [pool.submit(client.put, location, params=query) for client in replicas]
        statuses = [one.result().status_code for one in closing]
        assert statuses.count(201) == 1, statuses
        assert set(statuses) <= {201, 404, 409}, statuses
        for client in replicas:
            assert pull_blob(client, repository, query["digest"]) == content


def test_nginx_asks_every_replica(front: httpx.Client, fleet: Fleet, repository: str) -> None:
    """The tests above can fail: one client's requests, on one connection, go to all three."""
    path = f"/v2/{repository}/tags/list"
    for _ in range(9):
        assert front.get(path).status_code == 404
    eventually(lambda: len(fleet.front.served_by(path)) == 9)  # nginx writes down what it has answered already
    asked = [address for address, _ in fleet.front.served_by(path)]
    assert {asked.count(replica.address) for replica in fleet.replicas} == {3}
