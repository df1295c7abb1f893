"""Registries whose files can be damaged: on a folder, on S3, and with PostgreSQL."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.commands import stowage
from tests.support import postgresql
from tests.support.s3 import S3Server, server_settings
from tests.support.server import Connect, Server, ServerFactory

QUIET = {
    "STOWAGE_SCRUB__ENABLED": "false",
    "STOWAGE_BACKUP__ENABLED": "false",  # what a copy of the database names is not deleted
    "STOWAGE_HTTP__WORKERS": "1",
}
"""Servers that leave it to the test when what is looked at."""


@dataclass(frozen=True)
class Site:
    """A registry that serves, its settings as commands need them, and the folder that its objects are files in."""

    server: Server
    client: httpx.Client
    settings: dict[str, str]
    objects: Path

    def file(self, digest: str) -> Path:
        """The file that holds a blob, by what the database says."""
        ((key,),) = self.server.sql(f"SELECT key FROM blobs WHERE digest = '{digest}'")
        (file,) = self.objects.rglob(Path(key).name)
        return file

    def run(self, *arguments: str, status: int = 0) -> dict[str, Any]:
        """Run a command with --json, and return what it prints."""
        done = stowage(*arguments, "--json", "--data", str(self.server.data), **self.settings)
        assert done.returncode == status, done.stderr + done.stdout
        assert done.stderr == ""
        printed: dict[str, Any] = json.loads(done.stdout)
        return printed

    def scrub(self, *arguments: str, status: int = 0) -> dict[str, Any]:
        """Scrub as fast as it goes."""
        return self.run("scrub", "--rate", "0", *arguments, status=status)

    def fsck(self, *arguments: str, status: int = 0) -> dict[str, Any]:
        """Compare database and storage."""
        return self.run("fsck", *arguments, status=status)

    def faults(self) -> dict[str, list[str]]:
        """What fsck finds, by its name, in order; nothing is repaired."""
        found: dict[str, list[str]] = {}
        for one in self.fsck(status=3)["findings"]:
            assert one["repaired"] is False
            found.setdefault(one["problem"], []).append(one["subject"])
        return {name: sorted(subjects) for name, subjects in found.items()}

    def unchecked(self, statements: str) -> None:
        """Change the database as nothing does that keeps its constraints."""
        if self.settings.get("STOWAGE_DATABASE__URL"):
            statements = f"SET session_replication_role = replica; {statements}"
        self.server.sql(statements)


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A running S3 server, whose objects are files."""
    with S3Server(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture(params=["folder", "s3", "postgresql"])
def site(
    request: pytest.FixtureRequest, fresh_server: ServerFactory, connect: Connect, tmp_path: Path
) -> Iterator[Site]:
    """A registry without content. What asks for it runs on a folder, on S3, and with PostgreSQL."""
    settings, objects = dict(QUIET), tmp_path / "servers/server-0/data/storage"
    cluster = None
    if request.param == "s3":
        running: S3Server = request.getfixturevalue("s3")
        settings |= server_settings(running.url, tmp_path.name)
        objects = running.data
    if request.param == "postgresql":
        cluster = postgresql.shared_cluster()
        settings["STOWAGE_DATABASE__URL"] = cluster.create()
    server = fresh_server(**settings)
    yield Site(server, connect(server), settings, objects)
    server.stop()
    if cluster is not None:
        cluster.drop(settings["STOWAGE_DATABASE__URL"])


Damage = Callable[[Path], None]


def flipped(file: Path) -> None:
    """Change one bit in the middle."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    with file.open("r+b") as opened:  # the same file: an S3 server's own notes are attached to it
        opened.write(content)


def truncated(file: Path) -> None:
    """Leave out the end."""
    os.truncate(file, file.stat().st_size - 1)


def missing(file: Path) -> None:
    """Remove it."""
    file.unlink()
