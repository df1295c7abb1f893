"""How fast garbage is found and removed, where most is none: `stowage gc --now` on filled data."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pysqlite3

from bench.filling import Filled, fill
from bench.sections import Figures, Section, Setting
from bench.servers import Server, ServerFailed, Stowage
from bench.targets import Target

_FIND, _REMOVE = "collection: finding candidates", "collection: deleting"
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


class Collection(Section):
    """A registry with many blobs, a part of which is garbage: manifests deleted long ago, with a layer each.

    Args:
        blobs: how many there are.
        garbage: how many of those nothing needs.
    """

    key = "collection"

    def __init__(self, blobs: int = 1_000_000, garbage: int = 100_000) -> None:
        self._blobs, self._garbage = blobs, garbage
        self.names = (_FIND, _REMOVE)

    def programs(self, peers: Sequence[type[Server]]) -> Sequence[type[Server]]:
        """Return Stowage: the peers can't collect while they serve."""
        return [Stowage]

    def measure(self, chosen: Sequence[str], setting: Setting) -> list[Figures]:
        """Fill, measure, print and return the figures."""
        folder = setting.folder / "collection"
        try:
            return self._measure(chosen, folder / "data")
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _measure(self, chosen: Sequence[str], data: Path) -> list[Figures]:
        tags = min(_PER_REPOSITORY, self._blobs)
        fill(data, (Filled(f"filled/r{number}", tags) for number in range(self._blobs // tags)), own_layers=True)
        self._make_garbage(data)
        print(f"\nCollection of {self._garbage:,} of {self._blobs:,} blobs, on a folder", flush=True)
        found: list[Figures] = []
        if _FIND in chosen:
            seconds = _dry_run(data)
            print(
                f"{'candidates found and explained':34}{self._garbage / seconds:>10,.0f} /s  in {seconds:.1f} s",
                flush=True,
            )
            found.append({"name": _FIND, "candidates": self._garbage, "seconds": seconds})
        if _REMOVE in chosen:
            began = time.monotonic()
            done = json.loads(_stowage(data, "gc", "--now", "--grace", "0s", "--window", "0s", "--json"))
            seconds = time.monotonic() - began
            if done["blobs"] != self._garbage:
                raise ServerFailed(f"{done['blobs']} blobs were deleted, not {self._garbage}")
            rate = done["blobs"] / seconds
            judged = _HARBOR.judge(rate)
            print(f"{'blobs deleted':34}{rate:>10,.0f} /s  in {seconds:.1f} s  {judged.text}")
            found.append({"name": _REMOVE, **done, "seconds": seconds, "met": judged.met})
        return found

    def _make_garbage(self, data: Path) -> None:
        """Delete every so many of the manifests, an hour ago and more, and give their layers files."""
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
            connection.execute("COMMIT")
        finally:
            connection.close()
        _make_files(data / "storage", keys)


def _make_files(storage: Path, keys: Sequence[tuple[str]]) -> None:
    content = bytes(4096)
    for folder in {os.path.dirname(key) for (key,) in keys}:
        (storage / folder).mkdir(parents=True, exist_ok=True)
    for (key,) in keys:
        (storage / key).write_bytes(content)


def _dry_run(data: Path) -> float:
    """Return the seconds that it takes to look at every candidate."""
    began = time.monotonic()
    _stowage(data, "gc", "--dry-run", "--grace", "0s", "--window", "0s", "--json")
    return time.monotonic() - began


def _stowage(data: Path, *arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "registry", *arguments, "--data", str(data)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ServerFailed(done.stderr)
    return done.stdout
