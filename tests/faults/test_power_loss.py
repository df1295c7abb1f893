"""Power loss takes what was not synced: an upload's file may keep its length and lose its bytes."""

import os

import pysqlite3 as sqlite3
import pytest

from storage.digest import digest_bytes
from tests.factories import assert_error
from tests.support.server import Connect, Server, ServerFactory

CONTENT = os.urandom(300_000)


def lose_power(server: Server, *, bytes_lost: int) -> None:
    """Leave the data as a restarted machine may find it: the rows, and zeros where bytes were not synced."""
    server.kill()
    database = sqlite3.connect(server.data / "stowage.sqlite3")
    database.execute("UPDATE upload_sessions SET state = 'an-earlier-run-of-the-machine'")
    database.commit()
    database.close()
    for file in (server.data / "storage" / "uploads").iterdir():
        with file.open("r+b") as written:
            written.seek(-bytes_lost, os.SEEK_END)
            written.write(bytes(bytes_lost))
    server.start()


@pytest.mark.parametrize("last_chunk", [b"", b"and more"])
def test_what_was_lost_is_never_acknowledged(
    fresh_server: ServerFactory, connect: Connect, repository: str, last_chunk: bytes
) -> None:
    server = fresh_server()
    location = connect(server).post(f"/v2/{repository}/blobs/uploads/").headers["location"]
    assert connect(server).patch(location, content=CONTENT).status_code == 202
    lose_power(server, bytes_lost=4096)
    digest = digest_bytes(CONTENT + last_chunk)
    closing = connect(server).put(location, params={"digest": digest}, content=last_chunk)
    assert_error(closing, 404, "BLOB_UPLOAD_UNKNOWN")
    assert connect(server).head(f"/v2/{repository}/blobs/{digest}").status_code == 404
    assert connect(server).get(location).status_code == 404
    assert list((server.data / "storage" / "uploads").iterdir()) == []


def test_what_was_not_lost_goes_on(fresh_server: ServerFactory, connect: Connect, repository: str) -> None:
    server = fresh_server()
    location = connect(server).post(f"/v2/{repository}/blobs/uploads/").headers["location"]
    assert connect(server).patch(location, content=CONTENT).status_code == 202
    lose_power(server, bytes_lost=0)
    digest = digest_bytes(CONTENT)
    assert connect(server).put(location, params={"digest": digest}).status_code == 201
    assert connect(server).get(f"/v2/{repository}/blobs/{digest}").content == CONTENT
