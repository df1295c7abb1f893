"""Registries whose storage is taken over, and a registry of ours that takes over."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pysqlite3 as sqlite3
import pytest

from tests.cli.commands import stowage
from tests.support.peers import Peer
from tests.support.server import Connect, ServerFactory


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Peer]:
    """CNCF distribution v3, running."""
    with Peer("distribution", tmp_path / "peer") as running:
        yield running


@dataclass(frozen=True)
class Ours:
    """A registry of ours, by its data: a server may run on it."""

    data: Path

    def take_over(self, root: Path, *arguments: str, status: int = 0, **settings: str) -> dict[str, Any]:
        """Run `stowage import --json` and return what it says."""
        done = stowage("import", "--from", str(root), "--data", str(self.data), "--json", *arguments, **settings)
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
def serving(fresh_server: ServerFactory, connect: Connect) -> Serving:
    """A running server with two workers."""
    server = fresh_server("--workers", "2")
    return Serving(server.data, connect(server))


@pytest.fixture
def ours(tmp_path: Path, new_data: Path) -> Ours:
    """A new registry that no server runs on."""
    return Ours(Path(shutil.copytree(new_data, tmp_path / "ours")))


def findings(report: dict[str, Any], which: str = "leftOut") -> list[tuple[str, str, str]]:
    """Reason, repository and item of everything that was left out, or kept."""
    listed = report[which]["listed"]
    assert report[which]["count"] == len(listed) == sum(report[which]["reasons"].values())
    return sorted((one["reason"], one["repository"], one["item"]) for one in listed)
