"""Registries whose storage is taken over, and a registry of ours that takes over."""

import json
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pysqlite3 as sqlite3
import pytest

from tests.cli.commands import stowage
from tests.support.peers import Peer
from tests.support.s3 import S3Server
from tests.support.server import Connect, ServerFactory
from tests.takeover.places import There, in_bucket, in_folder


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A running S3 server with an empty bucket."""
    with S3Server(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture(params=["folder", "bucket"])
def there(request: pytest.FixtureRequest, tmp_path: Path) -> There:
    """Each kind of place from which can be taken over."""
    folder = tmp_path / f"there-{uuid.uuid4().hex[:8]}"
    if request.param == "folder":
        return in_folder(folder)
    return in_bucket(folder, request.getfixturevalue("s3"))


@pytest.fixture
def peer(there: There) -> Iterator[Peer]:
    """CNCF distribution v3, running."""
    with there.peer() as running:
        yield running


@dataclass(frozen=True)
class Ours:
    """A registry of ours, by its data: a server may run on it."""

    data: Path
    there: There

    @property
    def between(self) -> tuple[str, ...]:
        """Arguments of `stowage import`: from where, and to where."""
        return ("--from", self.there.source, "--data", str(self.data))

    def refused(self, *arguments: str) -> str:
        """Run a `stowage import` that must fail, and return what it says."""
        done = stowage("import", *self.between, *arguments, **self.there.settings)
        assert (done.returncode, done.stdout) == (1, ""), done.stderr
        return done.stderr

    def take_over(self, *arguments: str, status: int = 0) -> dict[str, Any]:
        """Run `stowage import --json` and return what it says."""
        done = stowage("import", *self.between, "--json", *arguments, **self.there.settings)
        assert done.returncode == status, done.stderr + done.stdout
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    def rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Ask the database."""
        raw = sqlite3.connect(f"file:{self.data}/stowage.sqlite3?mode=ro", uri=True)
        try:
            found: list[tuple[Any, ...]] = raw.execute(query, parameters).fetchall()
            return found
        finally:
            raw.close()

    def stored(self) -> list[Path]:
        """Every file in our storage."""
        return [file for file in (self.data / "storage").rglob("*") if file.is_file()]


@dataclass(frozen=True)
class Serving(Ours):
    """A registry of ours that runs while it takes over."""

    client: httpx.Client


@pytest.fixture
def serving(fresh_server: ServerFactory, connect: Connect, there: There) -> Serving:
    """A running server with two workers."""
    server = fresh_server("--workers", "2", **there.settings)
    return Serving(server.data, there, connect(server))


@pytest.fixture
def ours(tmp_path: Path, new_data: Path, there: There) -> Ours:
    """A new registry that no server runs on."""
    return Ours(Path(shutil.copytree(new_data, tmp_path / "ours")), there)


def findings(report: dict[str, Any], which: str = "leftOut") -> list[tuple[str, str, str]]:
    """Reason, repository and item of everything that was left out, or kept."""
    listed = report[which]["listed"]
    assert report[which]["count"] == len(listed) == sum(report[which]["reasons"].values())
    return sorted((one["reason"], one["repository"], one["item"]) for one in listed)
