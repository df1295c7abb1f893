"""The conformance suite against a registry on PostgreSQL, and on PostgreSQL behind PgBouncer."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.conformance.test_registries import Process, Run
from tests.postgresql.pgbouncer import PgBouncer
from tests.support.postgresql import Cluster, shared_cluster
from tests.support.server import Server


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Run]]:
    """Both runs, at once."""
    folder, cluster = tmp_path_factory.mktemp("conformance"), shared_cluster()
    with ExitStack() as stack:
        running = {}
        for name, settings in databases(cluster, stack).items():
            server = stack.enter_context(Server(folder / name, settings))
            running[name] = Process(server.url, folder / "reports" / name, "--fail-on", "may")
            stack.callback(running[name].end)
        yield {name: process.wait() for name, process in running.items()}


def databases(cluster: Cluster, stack: ExitStack) -> dict[str, dict[str, str]]:
    """The settings of both."""
    behind = cluster.create()
    pooler = stack.enter_context(PgBouncer(cluster, behind))
    return {
        "direct": {"STOWAGE_DATABASE__URL": cluster.create()},
        "pooled": {"STOWAGE_DATABASE__URL": pooler.url, "STOWAGE_DATABASE__PREPARED": "false"},
    }


@pytest.mark.parametrize("name", ["direct", "pooled"])
def test_nothing_is_found_and_nothing_is_left_out(runs: dict[str, Run], name: str) -> None:
    run = runs[name]
    assert run.status == 0, run.output
    counts = run.results["counts"]
    assert not any(n for level in counts.values() for outcome, n in level.items() if outcome != "pass"), run.output
    assert sum(level["pass"] for level in counts.values()) > 200
