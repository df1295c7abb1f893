"""The conformance suite against a registry on PostgreSQL behind PgBouncer. `tests/replicas` has all of it without."""

import os
from pathlib import Path

from tests.conformance.test_registries import Process
from tests.postgresql.pgbouncer import PgBouncer
from tests.support.postgresql import Cluster
from tests.support.server import Server

LONG = os.environ.get("STOWAGE_LONG") == "1"
SOME = ("post-then-put/*", "pushing-a-blob-in-chunks/*", "mounting*", "listing-tags/*", "deleting-*")
ONLY = () if LONG else [word for pattern in SOME for word in ("--only", pattern)]
"""What works with sessions, with pages, and with what several tables say."""


def test_nothing_is_found_and_nothing_is_left_out(cluster: Cluster, url: str, tmp_path: Path) -> None:
    with PgBouncer(cluster, url) as pooler:
        settings = {"STOWAGE_DATABASE__URL": pooler.url, "STOWAGE_DATABASE__PREPARED": "false"}
        with Server(tmp_path / "server", settings) as server:
            run = Process(server.url, tmp_path / "report", "--fail-on", "may", *ONLY).wait()
    assert run.status == 0, run.output
    counts = run.results["counts"]
    assert not any(n for level in counts.values() for outcome, n in level.items() if outcome != "pass"), run.output
    assert sum(level["pass"] for level in counts.values()) > (200 if LONG else 40)
