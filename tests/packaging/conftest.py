"""Fixtures of the packaging tests."""

from collections.abc import Iterator

import pytest

from tests.packaging.containers import Images, built
from tests.support.certificates import Certificate, make_certificate


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate for 127.0.0.1."""
    return make_certificate(tmp_path_factory.mktemp("tls") / "127.0.0.1")


@pytest.fixture(scope="session")
def images() -> Iterator[Images]:
    """The image, built once."""
    with built() as made:
        yield made
