"""How fast garbage is found and removed, where most is none: `stowage gc --now` on filled data."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pysqlite3

from bench.filling import Filled, fill
from bench.sections import Figures, Section, Setting
from bench.servers import Server, ServerFailed, Stowage
from bench.targets import Target
from tests.support.s3 import S3Server, server_settings

_FIND, _REMOVE, _REMOVE_ON_S3 = "collection: finding candidates", "collection: deleting", "collection: deleting on S3"
_HARBOR = Target(300 / 60, " blobs/s")
"""What users of a widespread registry report as the most: 300 a minute (goharbor/harbor#22117)."""
_PER_REPOSITORY = 1000

_MAKING = (
    "DELETE FROM tags WHERE manifest_id IN (SELECT id FROM chosen)",
    "UPDATE tag_history SET ended_at = :ago WHERE manifest_id IN (SELECT id FROM chosen)",
    "UPDATE manifests SET deleted_at = :ago WHERE id IN (SELECT id FROM chosen)",
    "UPDATE links SET held_until = :ago",
    "INSERT INTO candidates SELECT 0, repository_id, id, 1, :ago, :ago FROM manifests WHERE deleted_at IS NOT NULL",
)
"""What deletions some time ago would have left."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the blobs of a filled registry are.

    Attributes:
        name: for people.
        store: what their rows call it.
        objects: the folder in which each key is a file.
        settings: what a command needs to know of it, as environment variables.
    """

    name: str
    store: str
    objects: Path
    settings: Mapping[str, str] = field(default_factory=dict)


class Collection(Section):
    """A registry with many blobs, a part of which is garbage: manifests deleted long ago, with a layer each.

    Args:
        blobs: how many there are.
        garbage: how many of those nothing needs.
    """

    key = "collection"
    names: tuple[str, ...] = (_FIND, _REMOVE)

    def __init__(self, blobs: int = 1_000_000, garbage: int = 100_000) -> None:
        self._blobs, self._garbage = blobs, garbage

    def programs(self, peers: Sequence[type[Server]]) -> Sequence[type[Server]]:
        """Return Stowage: the peers can't collect while they serve."""
        return [Stowage]

    def measure(self, chosen: Sequence[str], setting: Setting) -> list[Figures]:
        """Fill, measure, print and return the figures."""
        folder = setting.folder / "collection"
        try:
            with self._place(folder) as place:
                return self._measure(chosen, folder / "data", place)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def _place(self, folder: Path) -> Iterator[_Place]:
        yield _Place("on a folder", "filesystem", folder / "data/storage")

    def _measure(self, chosen: Sequence[str], data: Path, place: _Place) -> list[Figures]:
        tags = min(_PER_REPOSITORY, self._blobs)
        fill(data, (Filled(f"filled/r{number}", tags) for number in range(self._blobs // tags)), own_layers=True)
        files = self._make_garbage(data, place)
        print(f"\nCollection of {self._garbage:,} of {self._blobs:,} blobs, {place.name}", flush=True)
        found: list[Figures] = []
        if _FIND in chosen:
            seconds = _dry_run(data, place)
            print(
                f"{'candidates found and explained':34}{self._garbage / seconds:>10,.0f} /s  in {seconds:.1f} s",
                flush=True,
            )
            found.append({"name": _FIND, "candidates": self._garbage, "seconds": seconds})
        for name in {_REMOVE, _REMOVE_ON_S3}.intersection(chosen):
            began = time.monotonic()
            done = json.loads(_stowage(data, place, "gc", "--now", "--grace", "0s", "--window", "0s", "--json"))
            seconds = time.monotonic() - began
            left = sum(os.path.exists(file) for file in files)
            if done["blobs"] != self._garbage or left:
                raise ServerFailed(f"{done['blobs']} blobs were deleted, not {self._garbage}; {left} objects are left")
            rate = done["blobs"] / seconds
            judged = _HARBOR.judge(rate)
            print(f"{'blobs deleted':34}{rate:>10,.0f} /s  in {seconds:.1f} s  {judged.text}")
            found.append({"name": name, **done, "seconds": seconds, "met": judged.met})
        return found

    def _make_garbage(self, data: Path, place: _Place) -> list[str]:
        """Delete every so many of the manifests, an hour ago and more, and give their layers objects: files."""
        connection = pysqlite3.connect(data / "stowage.sqlite3", isolation_level=None)
        try:
            step, ago = self._blobs // self._garbage, (time.time_ns() // 1000) - 7200 * 1_000_000
            connection.execute("BEGIN")
            connection.execute("CREATE TEMP TABLE chosen (id INTEGER PRIMARY KEY)")
            connection.execute("INSERT INTO chosen SELECT id FROM manifests WHERE id % ? = 0", (step,))
            for statement in _MAKING:
                connection.execute(statement, {"ago": ago})
            keys = connection.execute(
                "SELECT key FROM blobs JOIN manifest_blobs ON blob_id = blobs.id JOIN chosen ON chosen.id = manifest_id"
                " WHERE role = 'layer'"
            ).fetchall()
            connection.execute("UPDATE blobs SET store = ?", (place.store,))
            connection.execute("COMMIT")
        finally:
            connection.close()
        files = [os.path.join(place.objects, key) for (key,) in keys]
        _make_files(files)
        return files


class CollectionOnS3(Collection):
    """The same, with the blobs in a bucket of versitygw."""

    key = "collection_on_s3"
    names = (_REMOVE_ON_S3,)

    def __init__(self, blobs: int = 100_000, garbage: int = 20_000) -> None:
        super().__init__(blobs, garbage)

    @contextmanager
    def _place(self, folder: Path) -> Iterator[_Place]:
        with S3Server(folder / "versitygw") as store:
            yield _Place("on S3", "s3", store.folder("filled/objects"), server_settings(store.url, "filled"))


def _make_files(files: Sequence[str]) -> None:
    content = bytes(4096)
    for folder in {os.path.dirname(file) for file in files}:
        os.makedirs(folder, exist_ok=True)
    for file in files:
        Path(file).write_bytes(content)


def _dry_run(data: Path, place: _Place) -> float:
    """Return the seconds that it takes to look at every candidate."""
    began = time.monotonic()
    _stowage(data, place, "gc", "--dry-run", "--grace", "0s", "--window", "0s", "--json")
    return time.monotonic() - began


def _stowage(data: Path, place: _Place, *arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "registry", *arguments, "--data", str(data)],
        env={**os.environ, **place.settings},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ServerFailed(done.stderr)
    return done.stdout
