"""A server with people and a project, for all tests of the API."""

from collections.abc import Iterator

import httpx
import pytest

from tests.api_v1.callers import Callers
from tests.support.people import settings_for
from tests.support.server import Server


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server with users, shared by all tests: use names of your own."""
    settings = {
        **settings_for({"STOWAGE_DELIVERY__MOST": "10000"}),
        "STOWAGE_AUTH__LOGINS__ATTEMPTS": "1000",
    }  # one of the callers is always wrong
    with Server(tmp_path_factory.mktemp("api"), settings, ("--workers", "1")) as running:
        yield running


@pytest.fixture(scope="session")
def callers(served: Server) -> Iterator[Callers]:
    """Everybody who asks, on the shared server."""
    with Callers(served) as everybody:
        yield everybody


@pytest.fixture
def root(callers: Callers) -> httpx.Client:
    """The system admin."""
    return callers["root"]


@pytest.fixture
def boss(callers: Callers) -> httpx.Client:
    """Who administers the project `team`, and nothing else."""
    return callers["boss"]


@pytest.fixture
def stranger(callers: Callers) -> httpx.Client:
    """Who may log in, and nothing else."""
    return callers["stranger"]
