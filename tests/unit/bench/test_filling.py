"""Rows that are written in bulk are those that pushes leave: whole, and without a broken reference."""

import hashlib
from pathlib import Path
from typing import Any

import pysqlite3
import pytest

from bench.filling import Filled, Inconsistent, check_references, fill


@pytest.mark.parametrize(("own_layers", "blobs"), [(False, 2), (True, 26)])
def test_every_tag_has_a_manifest_whose_blobs_are_linked(tmp_path: Path, own_layers: bool, blobs: int) -> None:
    data = tmp_path / "data"
    fill(data, [Filled("a/x", 5), Filled("a/y", 20)], own_layers=own_layers)
    assert _all(data, "SELECT name FROM repositories ORDER BY id") == ["a/x", "a/y"]
    assert _all(data, "SELECT count(*) FROM blobs") == [blobs]
    assert _all(data, "SELECT count(*) FROM tags GROUP BY repository_id ORDER BY 1") == [5, 20]
    assert _all(data, "SELECT count(*) FROM tag_history WHERE ended_at IS NULL") == [25]
    assert _all(data, "SELECT count(*) FROM manifest_blobs") == [50]
    assert _all(data, "SELECT count(DISTINCT digest) FROM manifests WHERE size = length(content)") == [25]
    assert _all(data, "PRAGMA foreign_key_check") == []
    assert _all(data, "PRAGMA integrity_check") == ["ok"]
    assert _all(data, "PRAGMA journal_mode") == ["wal"]


def test_shared_blobs_have_their_bytes(tmp_path: Path) -> None:
    data = tmp_path / "data"
    fill(data, [Filled("a/x", 1)])
    for key, digest in zip(_all(data, "SELECT key FROM blobs"), _all(data, "SELECT digest FROM blobs"), strict=True):
        content = (data / "storage" / key).read_bytes()
        assert digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert _all(data, "SELECT size FROM blobs") == [4096, 4096]


def test_a_broken_reference_is_found(tmp_path: Path) -> None:
    data = tmp_path / "data"
    fill(data, [Filled("a/x", 1)])
    connection = pysqlite3.connect(data / "stowage.sqlite3")
    connection.execute("INSERT INTO tags (repository_id, name, manifest_id, updated_at) VALUES (1, 'lost', 99, 1)")
    with pytest.raises(Inconsistent, match="1 broken references, the first: \\('tags'"):
        check_references(connection)
    connection.close()


def _all(data: Path, statement: str) -> list[Any]:
    connection = pysqlite3.connect(data / "stowage.sqlite3")
    found = [row[0] for row in connection.execute(statement)]
    connection.close()
    return found
