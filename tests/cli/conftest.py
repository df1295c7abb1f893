"""Registries for commands that work here and on a server."""

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from tests.cli.ways import Way, elsewhere, here
from tests.support.people import ADMIN, settings_for
from tests.support.server import Server


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server with logins, shared by a module's tests."""
    with Server(tmp_path_factory.mktemp("served"), settings_for({}), ("--workers", "1")) as running:
        yield running


@pytest.fixture(scope="module", params=["here", "elsewhere"])
def way(request: pytest.FixtureRequest, new_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Way:
    """A registry, and one of the two ways to it."""
    if request.param == "elsewhere":
        return elsewhere(request.getfixturevalue("served"))
    found = here(Path(shutil.copytree(new_data, tmp_path_factory.mktemp("here") / "data")))
    with patch("sys.stdin", io.StringIO(ADMIN[1])):
        found.run("user", "add", ADMIN[0], "--admin", "--password-stdin")
    return found
