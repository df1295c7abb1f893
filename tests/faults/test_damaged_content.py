"""Content that somebody damaged, in a folder or in a bucket: never a wrong byte with a right status."""

import os
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.factories import (
    errors_of,
    pull_blob,
    push_blob,
    random_bytes,
)
from tests.support.server import Server

SMALL, LARGE = 3000, 3_000_000


def outcome(client: httpx.Client, url: str, **more: str) -> httpx.Response | None:
    """What a GET came to; None if the connection was cut."""
    try:
        return client.get(url, headers=more)
    except httpx.RemoteProtocolError:
        return None


def assert_refused(response: httpx.Response | None) -> None:
    """Assert that nobody takes this for content: an error in JSON, or a connection cut in the middle."""
    if response is not None:
        assert response.status_code in {404, 503}, response.status_code
        errors_of(response)


def assert_never_served(client: httpx.Client, repository: str, digest: str) -> None:
    """Assert that a blob can neither be pulled, nor seen, nor mounted."""
    url = f"/v2/{repository}/blobs/{digest}"
    assert_refused(outcome(client, url))
    assert_refused(outcome(client, url, range="bytes=0-9"))
    assert client.head(url).status_code in {404, 503}
    mount = {"mount": digest, "from": repository}
    assert client.post(f"/v2/{repository}/else/blobs/uploads/", params=mount).status_code in {202, 503}


def truncated(file: Path) -> None:
    """Leave out the end."""
    os.truncate(file, file.stat().st_size - 1)


def empty(file: Path) -> None:
    """Leave nothing, as a filesystem does after power loss."""
    os.truncate(file, 0)


def grown(file: Path) -> None:
    """Add a byte."""
    with file.open("ab") as content:
        content.write(b"x")


def missing(file: Path) -> None:
    """Remove it."""
    file.unlink()


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("damage", [truncated, empty, grown, missing])
def test_a_damaged_object_is_never_served_as_the_blob(
    server: Server, client: httpx.Client, repository: str, damage: Callable[[Path], None], size: int
) -> None:
    content = random_bytes(size)
    digest = push_blob(client, repository, content)
    damage(server.object_of(digest))
    assert_never_served(client, repository, digest)
    push_blob(client, repository, content)
    assert pull_blob(client, repository, digest) == content


def test_a_blob_that_is_cut_short_while_it_is_sent_ends_the_connection(
    server: Server, client: httpx.Client, repository: str
) -> None:
    content = random_bytes(32 * 1024 * 1024)  # more than sockets hold on the way
    digest = push_blob(client, repository, content)
    with client.stream("GET", f"/v2/{repository}/blobs/{digest}") as response:
        assert response.status_code == 200
        received = response.iter_raw(65536)
        assert next(received) == content[:65536]
        os.truncate(server.object_of(digest), 24 * 1024 * 1024)
        with pytest.raises(httpx.RemoteProtocolError):
            for _ in received:
                pass
    push_blob(client, repository, content)
    assert pull_blob(client, repository, digest) == content
