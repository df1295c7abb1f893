"""Clients of the fleet that all tests share: of each replica, and through nginx."""

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import cycle

import httpx
import pytest

from tests.support.fleet import Fleet


class Turns:
    """Gives out clients of the replicas, one after the other, or one that goes through nginx, which does the same."""

    def __init__(self, clients: list[httpx.Client]) -> None:
        self._clients = cycle(clients)

    def next(self) -> httpx.Client:
        """Who is asked next."""
        return next(self._clients)

    def ask(self, method: str, target: str, **more: object) -> httpx.Response:
        """Send a request to the next one. `target` may be a Location that another one gave."""
        path = httpx.URL(target).raw_path.decode()
        return self.next().request(method, path, **more)  # type: ignore[arg-type]  # as httpx has them


@pytest.fixture(scope="session")
def replicas(fleet: Fleet) -> Iterator[list[httpx.Client]]:
    """A client of each replica."""
    with ExitStack() as stack:
        yield [stack.enter_context(client) for client in fleet.clients()]


@pytest.fixture(scope="session")
def front(fleet: Fleet) -> Iterator[httpx.Client]:
    """A client that goes through nginx."""
    with fleet.client() as client:
        yield client


@pytest.fixture(params=["directly", "through nginx"])
def turns(request: pytest.FixtureRequest, replicas: list[httpx.Client], front: httpx.Client) -> Turns:
    """Each request goes to another replica."""
    return Turns(replicas if request.param == "directly" else [front])
