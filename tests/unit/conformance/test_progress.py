import io
import os

import pytest

from conformance.check import Check, Level, Outcome, Section
from conformance.client import Client
from conformance.progress import Progress, describe
from conformance.result import Result
from conformance.runner import run, select
from conformance.trial import Names, Trial
from tests.unit.conformance.serving import tiny


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def usual_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


def result(outcome: Outcome, level: Level = Level.MUST) -> Result:
    def nothing(trial: Trial) -> None:
        del trial

    return Result(Check("api/one", Section.API, level, "One.", nothing), outcome, "because")


def test_progress_is_a_line_for_each_check_where_there_is_no_terminal() -> None:
    written = io.StringIO()
    with tiny("no ranges", "support is 500") as url, Client(url) as client:
        results = run(select(["determining-support/v2", "range-closed"]), client, Names("test"), Progress(written))
    lines = written.getvalue().splitlines()
    assert lines == [describe(result) for result in results]
    assert lines[0].split(None, 3)[:3] == ["N/A", "MUST", "pulling-blobs/range-closed:"]
    assert lines[1].startswith("FAIL  MUST   determining-support/v2: GET /v2/ answered 500, expected 200")
    assert "\x1b" not in written.getvalue()


def test_progress_on_a_terminal_keeps_only_failures() -> None:
    written = Terminal()
    with tiny("support is 500") as url, Client(url) as client:
        run(select(["determining-support/v2", "get-by-tag"]), client, Names("test"), Progress(written))
    kept = [line.rpartition("\x1b[K")[2] for line in written.getvalue().split("\n")[:-1]]
    assert [line.split()[2] for line in kept if line] == [
        "determining-support/v2:",
        "determining-support/v2-without-slash:",
        "determining-support/v2-of-head:",
    ]
    assert "get-by-tag" in written.getvalue()


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = result(Outcome.FAIL)
    assert Progress(Terminal()).describe(failed) == "\x1b[31mFAIL\x1b[0m  MUST   api/one: because"
    assert Progress(io.StringIO()).describe(failed) == describe(failed) == "FAIL  MUST   api/one: because"
    monkeypatch.setenv("NO_COLOR", "1")
    written = Terminal()
    progress = Progress(written)
    progress.result(failed, 1, 2)
    progress.bar(1, 2, "two")
    assert "\x1b[3" not in written.getvalue()
    assert "\r\x1b[K[############------------] 1/2 0:00 two" in written.getvalue()


def test_a_bar_fits_into_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    written = Terminal()
    Progress(written).bar(10, 20, "x" * 200)
    assert len(written.getvalue().rpartition("\x1b[K")[2]) == 39


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "TERM", "dumb")
    written = Terminal()
    progress = Progress(written)
    progress.bar(1, 2, "nothing of this")
    progress.result(result(Outcome.LACKS, Level.MAY), 1, 2)
    assert written.getvalue() == "LACKS MAY    api/one: because\n"
