"""A repository of one's own, in a project whose people are known."""

import pytest

from tests.support.people import PROJECT


@pytest.fixture
def mine(repository: str) -> str:
    """A repository that no other test uses, in the project whose people are known."""
    return f"{PROJECT}/{repository.partition('/')[2]}"
