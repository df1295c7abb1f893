"""Fixtures for services in this process."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.services.collected import DEFAULTS, Registry


@pytest.fixture
async def registry(tmp_path: Path, anyio_backend: str) -> AsyncIterator[Registry]:
    """A registry that keeps nothing for longer than something refers to it."""
    made = Registry(tmp_path)
    await made.database.start()
    yield made
    await made.database.stop()


@pytest.fixture
async def default(tmp_path: Path, anyio_backend: str) -> AsyncIterator[Registry]:
    """A registry with the rules of the default settings."""
    made = Registry(tmp_path / "default", DEFAULTS)
    await made.database.start()
    yield made
    await made.database.stop()
