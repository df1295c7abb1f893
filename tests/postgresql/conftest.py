"""Databases of one's own on the server that tests share, and a server of PostgreSQL that a test may stop."""

from collections.abc import Iterator

import pytest

from tests.support.postgresql import Cluster, shared_cluster


@pytest.fixture
def cluster() -> Cluster:
    """The server that all tests share. Nobody stops it."""
    return shared_cluster()


@pytest.fixture
def url(cluster: Cluster) -> Iterator[str]:
    """A database with this version's schema."""
    made = cluster.create()
    yield made
    cluster.drop(made)


@pytest.fixture
def empty_url(cluster: Cluster) -> Iterator[str]:
    """A database without a table."""
    made = cluster.create(empty=True)
    yield made
    cluster.drop(made)


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[Cluster]:
    """A server for tests that stop it; it runs when each begins."""
    made = Cluster()
    made.start()
    yield made
    made.remove()
