"""Storage that fails: an error to the client, nothing acknowledged that is not there, and a way on afterwards."""

import os
from pathlib import Path

from storage.digest import digest_bytes
from tests.factories import assert_error
from tests.support.server import Connect, ServerFactory


def block(folder: Path) -> Path:
    """Put a file where the folder of blobs was, so that nothing can be published. Return where the folder is now."""
    aside = folder.with_name("aside")
    folder.rename(aside)
    folder.write_text("in the way")
    return aside


def test_a_blob_that_can_not_be_published_is_not_acknowledged_and_its_session_ends(
    fresh_server: ServerFactory, connect: Connect, repository: str
) -> None:
    server = fresh_server()
    client, blobs = connect(server), server.data / "storage" / "blobs"
    before, content = b"pushed before", os.urandom(100_000)
    uploads = f"/v2/{repository}/blobs/uploads/"
    assert client.post(uploads, params={"digest": digest_bytes(before)}, content=before).status_code == 201
    location = client.post(uploads).headers["location"]
    assert client.patch(location, content=content).status_code == 202
    aside = block(blobs / "sha256")
    digest = digest_bytes(content)
    refused = client.put(location, params={"digest": digest})
    assert_error(refused, 503, "TOOMANYREQUESTS")
    assert int(refused.headers["retry-after"]) > 0
    assert client.get(location).status_code == 404
    assert_error(client.post(uploads, params={"digest": digest}, content=content), 503, "TOOMANYREQUESTS")
    (blobs / "sha256").unlink()
    aside.rename(blobs / "sha256")
    assert client.head(f"/v2/{repository}/blobs/{digest}").status_code == 404
    assert client.get(f"/v2/{repository}/blobs/{digest_bytes(before)}").content == before
    assert client.post(uploads, params={"digest": digest}, content=content).status_code == 201
    assert list((server.data / "storage" / "uploads").iterdir()) == []


def test_not_ready_while_the_storage_is_gone(fresh_server: ServerFactory, connect: Connect) -> None:
    server = fresh_server()
    root = server.data / "storage"
    root.rename(server.data / "elsewhere")
    found = connect(server).get("/readyz")
    assert found.status_code == 503
    assert found.json()["database"] == "ok"
    assert str(root) in found.json()["storage"]
    assert connect(server).get("/healthz").status_code == 200
    (server.data / "elsewhere").rename(root)
    assert connect(server).get("/readyz").status_code == 200
