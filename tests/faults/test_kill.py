"""SIGKILL while eight clients write: what was acknowledged is there, and nothing is there by halves."""

import random
import time

import httpx

from tests.factories import digest_of
from tests.faults.writers import SHARED, Writer, expect
from tests.support.server import Server, ServerFactory

ROUNDS = 3
WRITERS = 8


def new_client(server: Server) -> httpx.Client:
    """A client of this server, without the time that reading certificates takes."""
    return httpx.Client(base_url=server.url, timeout=30, trust_env=False, verify=False)  # noqa: S501 - plain HTTP


def test_what_was_acknowledged_survives_sigkill(fresh_server: ServerFactory) -> None:
    server = fresh_server()
    writers = [Writer(lambda: new_client(server), number) for number in range(WRITERS)]
    for _ in range(ROUNDS):
        before = sum(writer.acknowledged for writer in writers)
        for writer in writers:
            writer.start()
        time.sleep(random.uniform(0.7, 1.5))
        server.kill()
        for writer in writers:
            writer.join(30)
            assert not writer.is_alive(), f"{writer.name} hangs"
            if writer.failure is not None:
                raise writer.failure
        assert sum(writer.acknowledged for writer in writers) > before, "no writer got anything done"
        server.start()
        with new_client(server) as client:
            for writer in writers:
                check_blobs(client, writer)
                check_manifests(client, writer)
                check_tags(client, writer)
                check_session(client, writer)
            check_shared(client, writers)
        writers = [writer.again() for writer in writers]


def check_blobs(client: httpx.Client, writer: Writer) -> None:
    """Every blob is there with its bytes, or gone, as acknowledged."""
    for digest in writer.blobs:
        response = client.get(f"/v2/{writer.repository}/blobs/{digest}")
        assert response.status_code in {200, 404}, response.text
        writer.blobs.settle(digest, response.status_code == 200)
        assert response.status_code == 404 or response.content == writer.contents[digest]


def check_manifests(client: httpx.Client, writer: Writer) -> None:
    """Every manifest is there with its bytes and all it refers to, or gone, as acknowledged."""
    for digest in writer.manifests:
        response = client.get(f"/v2/{writer.repository}/manifests/{digest}")
        assert response.status_code in {200, 404}, response.text
        writer.manifests.settle(digest, response.status_code == 200)
        if response.status_code == 200:
            assert response.content == writer.contents[digest]
            for layer in writer.layers[digest]:
                expect(client.head(f"/v2/{writer.repository}/blobs/{layer}"), 200)


def check_tags(client: httpx.Client, writer: Writer) -> None:
    """Every tag names what it was acknowledged to name, which is there; the list agrees."""
    for tag in writer.tags:
        response = client.head(f"/v2/{writer.repository}/manifests/{tag}")
        assert response.status_code in {200, 404}
        digest = response.headers["docker-content-digest"] if response.status_code == 200 else None
        writer.tags.settle(tag, digest)
        assert digest is None or writer.manifests[digest] == {True}
    expected = sorted(tag for tag in writer.tags if writer.tags[tag] != {None})
    response = client.get(f"/v2/{writer.repository}/tags/list")
    listed = response.json()["tags"] if response.status_code == 200 else []
    assert listed == expected


def check_session(client: httpx.Client, writer: Writer) -> None:
    """An open upload goes on from what the server says it has, which is what was acknowledged or more."""
    session, writer.session = writer.session, None
    if session is None:
        return
    digest = digest_of(session.content)
    response = client.get(session.location)
    if response.status_code == 404:
        assert session.ending, "an upload session that was acknowledged is gone"
        return
    last = int(expect(response, 204).headers["range"].partition("-")[2])
    received = last + 1 if last or session.received == 1 else 0
    assert session.received <= received <= len(session.content)
    span = {"Content-Range": f"{received}-{len(session.content) - 1}"} if received < len(session.content) else {}
    writer.contents[digest] = session.content
    with writer.blobs.change(digest, True):
        rest = session.content[received:]
        expect(client.put(session.location, params={"digest": digest}, content=rest, headers=span), 201)
    assert client.get(f"/v2/{writer.repository}/blobs/{digest}").content == session.content


def check_shared(client: httpx.Client, writers: list[Writer]) -> None:
    """The tag that all writers moved names a whole image, once one was acknowledged."""
    response = client.get(f"/v2/{SHARED}/manifests/latest")
    if response.status_code == 404:
        assert sum(writer.shared_acknowledged for writer in writers) == 0
        return
    manifest = expect(response, 200).json()
    for descriptor in (manifest["config"], *manifest["layers"]):
        content = expect(client.get(f"/v2/{SHARED}/blobs/{descriptor['digest']}"), 200).content
        assert digest_of(content) == descriptor["digest"]
        assert len(content) == descriptor["size"]
