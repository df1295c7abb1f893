"""Many clients of two servers do anything to a few repositories at once; what the database holds then makes sense."""

import json
import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.factories import OCI_INDEX, OCI_MANIFEST, descriptor, digest_of, image_manifest, index_manifest
from tests.support.fleet import BACKENDS, shared_backend
from tests.support.server import Server, new_client

LONG = os.environ.get("STOWAGE_LONG") == "1"
CLIENTS = 8
ROUNDS = 1500 if LONG else 60
REPOSITORIES = ("one", "two")
TAGS = ("a", "b")
BLOBS = [f"blob {number}".encode() * 50 for number in range(4)]
DIGESTS = [digest_of(content) for content in BLOBS]

# Each must find nothing.
RULES = {
    "a manifest that can be seen refers to a blob that can't": """
        SELECT m.digest FROM manifests m JOIN manifest_blobs e ON e.manifest_id = m.id
        JOIN links l ON l.repository_id = e.repository_id AND l.blob_id = e.blob_id
        WHERE m.deleted_at IS NULL AND l.deleted_at IS NOT NULL""",
    "a manifest refers to a blob of another repository": """
        SELECT m.digest FROM manifests m JOIN manifest_blobs e ON e.manifest_id = m.id
        WHERE m.repository_id <> e.repository_id""",
    "an index that can be seen lists a manifest that can't": """
        SELECT p.digest FROM manifests p JOIN manifest_children e ON e.manifest_id = p.id
        JOIN manifests c ON c.id = e.child_id
        WHERE p.deleted_at IS NULL AND (c.deleted_at IS NOT NULL OR c.repository_id <> p.repository_id)""",
    "a manifest has lost its edges": """
        SELECT m.digest FROM manifests m WHERE NOT EXISTS (SELECT 1 FROM manifest_blobs e WHERE e.manifest_id = m.id)
        AND NOT EXISTS (SELECT 1 FROM manifest_children e WHERE e.manifest_id = m.id)""",
    "a tag names a manifest that can't be seen": """
        SELECT t.name FROM tags t JOIN manifests m ON m.id = t.manifest_id
        WHERE m.deleted_at IS NOT NULL OR m.repository_id <> t.repository_id""",
    "a tag's history does not end with what it names": """
        SELECT t.name FROM tags t WHERE (SELECT count(*) FROM tag_history h WHERE h.repository_id = t.repository_id
        AND h.tag = t.name AND h.ended_at IS NULL AND h.manifest_id = t.manifest_id) <> 1""",
    "a tag that is gone has a history that goes on": """
        SELECT h.tag FROM tag_history h WHERE h.ended_at IS NULL AND NOT EXISTS
        (SELECT 1 FROM tags t WHERE t.repository_id = h.repository_id AND t.name = h.tag)""",
}


@pytest.fixture(params=BACKENDS)
def servers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Server, Server]]:
    """Two servers that share database and storage."""
    settings = shared_backend(request.param)
    one = Server(tmp_path / "a", settings, ("--workers", "1"))
    other = Server(tmp_path / "b", settings, ("--workers", "1", "--data", str(tmp_path / "a" / "data")))
    with one, other:
        yield one, other


class Client(threading.Thread):
    """Does something at random, again and again; what is refused is refused for a reason that there can be."""

    def __init__(self, server: Server, seed: str) -> None:
        super().__init__(daemon=True)
        self.faults: list[str] = []
        self._server = server
        self._random = random.Random(seed)

    def run(self) -> None:
        doings = [self._push, self._push, self._mount, self._image, self._image, self._index, self._delete_blob]
        doings += [self._delete_manifest, self._delete_tag, self._look]
        try:
            with new_client(self._server) as client:
                for _ in range(ROUNDS):
                    self._random.choice(doings)(client, f"/v2/{self._random.choice(REPOSITORIES)}")
        except BaseException as error:  # noqa: BLE001 - told by the test
            self.faults.append(repr(error))

    def _expect(self, response: httpx.Response, *statuses: int) -> httpx.Response:
        if response.status_code not in statuses:
            asked = response.request
            self.faults.append(f"{asked.method} {asked.url}: {response.status_code} {response.text}")
        return response

    def _push(self, client: httpx.Client, at: str) -> None:
        content = self._random.choice(BLOBS)
        query = {"digest": digest_of(content)}
        if self._random.random() < 0.5:
            self._expect(client.post(f"{at}/blobs/uploads/", params=query, content=content), 201)
        else:
            location = self._expect(client.post(f"{at}/blobs/uploads/"), 202).headers["location"]
            self._expect(client.put(location, params=query, content=content), 201)

    def _mount(self, client: httpx.Client, at: str) -> None:
        query = {"mount": self._random.choice(DIGESTS), "from": self._random.choice(REPOSITORIES)}
        response = self._expect(client.post(f"{at}/blobs/uploads/", params=query), 201, 202)
        if response.status_code == 202:
            self._expect(client.delete(response.headers["location"]), 204)

    def _image(self, client: httpx.Client, at: str) -> None:
        config, layer = self._random.sample(BLOBS, 2)
        self._put(client, at, image_manifest(config, [layer]), OCI_MANIFEST)

    def _index(self, client: httpx.Client, at: str) -> None:
        config, layer = self._random.sample(BLOBS, 2)
        child = descriptor(image_manifest(config, [layer]), OCI_MANIFEST)
        self._put(client, at, index_manifest([child]), OCI_INDEX)

    def _put(self, client: httpx.Client, at: str, content: bytes, media_type: str) -> None:
        reference = self._random.choice([*TAGS, digest_of(content)])
        headers = {"Content-Type": media_type}
        self._expect(client.put(f"{at}/manifests/{reference}", content=content, headers=headers), 201, 404)

    def _delete_blob(self, client: httpx.Client, at: str) -> None:
        self._expect(client.delete(f"{at}/blobs/{self._random.choice(DIGESTS)}"), 202, 403, 404)

    def _delete_tag(self, client: httpx.Client, at: str) -> None:
        self._expect(client.delete(f"{at}/manifests/{self._random.choice(TAGS)}"), 202, 404)

    def _delete_manifest(self, client: httpx.Client, at: str) -> None:
        found = client.get(f"{at}/manifests/{self._random.choice(TAGS)}")
        if found.status_code == 200:
            digest = found.headers["docker-content-digest"]
            self._expect(client.delete(f"{at}/manifests/{digest}"), 202, 403, 404)

    def _look(self, client: httpx.Client, at: str) -> None:
        """What a manifest that is there refers to may go before it is asked for, but no content is ever another's."""
        digest = self._random.choice(DIGESTS)
        response = self._expect(client.get(f"{at}/blobs/{digest}"), 200, 404)
        if response.status_code == 200 and digest_of(response.content) != digest:
            self.faults.append(f"{digest} has other content")


@pytest.mark.timeout(3600 if LONG else 900)
def test_whatever_is_done_at_once_the_rules_hold(servers: tuple[Server, Server]) -> None:
    seed = os.environ.get("STOWAGE_SEED") or os.urandom(4).hex()
    print(f"STOWAGE_SEED={seed}")
    clients = [Client(servers[number % 2], f"{seed}-{number}") for number in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(3000 if LONG else 600)
        assert not client.is_alive(), "a client hangs"
    assert [fault for client in clients for fault in client.faults] == []
    server = servers[0]
    assert {rule: found for rule, sql in RULES.items() if (found := server.sql(sql))} == {}
    assert {key for (key,) in server.sql("SELECT key FROM blobs")} == server.stored.objects().keys()
    assert replayed(server) == {(repository, tag): digest for repository, tag, digest in server.sql(CURRENT)}


CURRENT = """
    SELECT r.name, t.name, m.digest FROM tags t JOIN repositories r ON r.id = t.repository_id
    JOIN manifests m ON m.id = t.manifest_id"""
TAGGINGS = "SELECT repository, action, payload FROM outbox WHERE action IN ('tag', 'untag') ORDER BY id"


def replayed(server: Server) -> dict[tuple[str, str], str]:
    """What the tags name by the events, in their order."""
    named: dict[tuple[str, str], str] = {}
    for repository, action, payload in server.sql(TAGGINGS):
        facts = json.loads(payload)
        if action == "tag":
            named[repository, facts["tag"]] = facts["digest"]
        else:
            del named[repository, facts["tag"]]
    return named
