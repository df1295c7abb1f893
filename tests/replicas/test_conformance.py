"""The conformance suite through nginx: each request of a check may go to another replica."""

from pathlib import Path

from tests.conformance.test_registries import Process
from tests.support.fleet import Fleet


def test_nothing_is_found_and_nothing_is_left_out(fleet: Fleet, tmp_path: Path) -> None:
    run = Process(fleet.front.url, tmp_path / "report", "--fail-on", "may").wait()
    assert run.status == 0, run.output
    counts = run.results["counts"]
    assert not any(n for level in counts.values() for outcome, n in level.items() if outcome != "pass"), run.output
    assert sum(level["pass"] for level in counts.values()) > 200
    removal = run.results["removal"]
    assert (removal["left"], removal["reason"]) == (0, "")
