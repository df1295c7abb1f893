"""An S3 server for these tests, and Stowage servers that keep their blobs there."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import httpx
import pytest

from tests.support.s3 import S3Server, server_settings
from tests.support.server import Server, ServerFactory, new_client


class S3ServerFactory(Protocol):
    """Starts Stowage servers on the S3 server."""

    def __call__(self, *, endpoint: str = "", prefix: str = "", **more: str) -> Server:
        """Start one. `endpoint`: instead of the S3 server's own; `more`: settings of `storage.s3`."""


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A running S3 server with an empty bucket."""
    with S3Server(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture
def on_s3(s3: S3Server, fresh_server: ServerFactory, tmp_path: Path) -> S3ServerFactory:
    """Starts servers whose blobs are under a prefix of this test's own."""

    def start(*, endpoint: str = "", prefix: str = "", **more: str) -> Server:
        settings = server_settings(endpoint or s3.url, prefix or tmp_path.name, **more)
        return fresh_server(**settings, STOWAGE_HTTP__WORKERS="1")

    return start


@pytest.fixture(scope="session")
def shared(s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Stowage server on S3 with two workers, for tests that need nothing of their own."""
    with Server(
        tmp_path_factory.mktemp("stowage"), {**server_settings(s3.url), "STOWAGE_HTTP__WORKERS": "2"}
    ) as server:
        yield server


@pytest.fixture(scope="session")
def client(shared: Server) -> Iterator[httpx.Client]:
    """A client of the shared server."""
    with new_client(shared) as connected:
        yield connected
