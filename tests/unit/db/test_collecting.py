"""The queue that collection works from: what is due is found by its index, and what was there before it is in it."""

from pathlib import Path

import pysqlite3 as sqlite3

from registry.db import candidates
from registry.db.migrate import migrate_sqlite
from tests.support.schemas import take_back


def test_what_is_due_is_found_by_its_index(path: Path) -> None:
    raw = sqlite3.connect(path)
    due = candidates._DUE.sqlite
    [(*_, plan)] = raw.execute(f"EXPLAIN QUERY PLAN {due}", {"kind": 0, "limit": 1}).fetchall()
    raw.close()
    assert "USING INDEX ix_candidates_kind_due_at (kind=? AND due_at<?)" in plan


def test_what_there_was_before_there_was_a_queue_is_queued(tmp_path: Path) -> None:
    path = tmp_path / "db"
    migrate_sqlite(path)
    take_back(path, "0003")
    raw = sqlite3.connect(path)
    for statement in (
        "INSERT INTO repositories VALUES (1, 'a', 0)",
        "INSERT INTO blobs SELECT value, 'd' || value, 1, 's', 'k' || value, 0, 0 FROM json_each('[1, 2, 3]')",
        "INSERT INTO links SELECT 1, value, 0, 0, CASE value WHEN 3 THEN 7 END FROM json_each('[1, 2, 3]')",
        "INSERT INTO manifests (id, repository_id, digest, media_type, size, pushed_at, deleted_at, content)"
        " SELECT value, 1, 'm' || value, 't', 1, 0, CASE value WHEN 4 THEN 5 END, '' FROM json_each('[1, 2, 3, 4]')",
        "INSERT INTO tags VALUES (1, 't', 1, 0)",
        "INSERT INTO manifest_children VALUES (1, 2)",
        "INSERT INTO manifest_blobs VALUES (1, 'layer', 1, 1)",
    ):
        raw.execute(statement)
    raw.commit()
    raw.close()
    assert migrate_sqlite(path).before == "0003"
    raw = sqlite3.connect(path)
    found = raw.execute("SELECT kind, item_id, cause, since < 10 FROM candidates ORDER BY kind, item_id").fetchall()
    raw.close()
    deleted, untagged, uploaded = (
        int(one) for one in (candidates.Cause.DELETED, candidates.Cause.UNTAGGED, candidates.Cause.UPLOADED)
    )
    assert found == [(0, 3, untagged, 0), (0, 4, deleted, 1), (1, 2, uploaded, 0), (1, 3, deleted, 1)]
