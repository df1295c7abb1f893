"""Runs that are killed, and the end of a takeover."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench.takeover import write_storage
from tests.cli.commands import printed, refused, stowage
from tests.support.server import ROOT
from tests.takeover.conftest import Ours, findings

_IMAGES = 150
_IN_BUCKET = 70
"""Fewer: a dozen requests each, and several repositories at once."""
_KILLED_AT = 4
"""Which repository it does not come to record: each has ten images."""
_COUNTS = "SELECT (SELECT count(*) FROM tags), (SELECT count(*) FROM manifests), (SELECT count(*) FROM blobs)"


@pytest.mark.parametrize("copy", [False, True], ids=["in place", "copied"])
def test_a_run_that_is_killed_goes_on_where_it_was(ours: Ours, copy: bool) -> None:
    images = _IMAGES if ours.there.store is None else _IN_BUCKET
    write_storage(ours.there.root, images)
    more = ("--copy",) if copy else ()
    command = [sys.executable, "-m", "tests.takeover.killed", str(_KILLED_AT), "import", *ours.between, *more]
    environment = {**os.environ, **ours.there.settings}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr
    (tags, _, _), *_ = ours.rows(_COUNTS)
    assert 0 < tags < images
    assert ours.rows("SELECT imported_at FROM stores") == [(None,)]
    assert "no import" in ours.refused("--finish", "--yes")

    report = ours.take_over(*more)
    assert findings(report) == findings(report, "kept") == []
    assert report["tags"] == images - tags
    assert ours.rows(_COUNTS) == [(images, images, 2 * images)]
    assert ours.rows("SELECT count(*) FROM tag_history WHERE ended_at IS NULL") == [(images,)]
    assert ours.rows("SELECT count(*) FROM manifest_blobs") == [(2 * images,)]
    assert ours.rows("PRAGMA foreign_key_check") == []
    if copy:
        keys = {row[0] for row in ours.rows("SELECT key FROM blobs WHERE store = 'filesystem'")}
        there_are = {str(file.relative_to(ours.data / "storage")) for file in ours.stored()}
        assert keys <= there_are
        # What the kill left is swept later, and is as much as was copied at once.
        assert len(there_are - keys) <= 8


def test_a_takeover_ends_when_somebody_says_so(ours: Ours) -> None:
    write_storage(ours.there.root, 12)
    data, settings = ours.between, ours.there.settings
    assert "no import" in ours.refused("--finish", "--yes")
    ours.take_over()
    not_asked = stowage("import", *data, "--finish", **settings)
    assert (not_asked.returncode, not_asked.stdout) == (1, "")
    assert "may delete layers" in not_asked.stderr and "--yes" in not_asked.stderr
    assert ours.rows("SELECT finished_at FROM stores") == [(None,)]
    for wrong in (("--finish", "--copy"), ("--finish", "--dry-run"), ("--yes",)):
        assert "--finish" in refused("import", *data, *wrong, status=2)

    [(place,)] = ours.rows("SELECT place FROM stores")
    assert printed("import", *data, "--finish", "--yes", **settings) == f"the takeover of {place} is finished"
    assert ours.rows("SELECT (SELECT count(*) FROM imported_tags) + (SELECT count(*) FROM imported_manifests)") == [
        (0,)
    ]
    assert "finished already" in printed("import", *data, "--finish", "--yes", **settings)
    assert "was finished" in ours.refused()
    assert ours.rows("SELECT count(*) FROM tags") == [(12,)]


def test_people_are_told_what_to_do_next(tmp_path: Path, ours: Ours) -> None:
    write_storage(ours.there.root, 1)
    said = printed("import", *ours.between, **ours.there.settings)
    assert "1 new, 0 moved" in said
    assert "garbage collection off" in said and "--finish" in said
    nothing = refused("import", "--from", ours.there.source, "--data", str(tmp_path / "none"))
    assert "there is no registry's database" in nothing
