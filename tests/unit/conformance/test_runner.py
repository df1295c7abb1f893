import io

import pytest

from conformance.check import Check, Level, Outcome, Section
from conformance.client import Client
from conformance.content import padded
from conformance.expect import Failed
from conformance.runner import Progress, clean, describe, run, run_one, select
from conformance.trial import Names, Trial
from tests.unit.conformance.serving import serving, tiny
from tests.unit.conformance.tiny import Answer, Tiny


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_patterns_select_by_part_of_the_name_or_by_the_whole_of_it() -> None:
    assert len(select([])) > 80
    assert {one.section for one in select(["deleting-tags/"])} == {Section.DELETING_TAGS}
    assert [one.name for one in select(["*/v2"])] == ["determining-support/v2"]
    assert [one.name for one in select(["support/v?", "warnings/w"])] == ["warnings/warnings"]
    assert select(["nothing-of-that-name"]) == []


def test_progress_is_a_line_for_each_check_where_there_is_no_terminal() -> None:
    written = io.StringIO()
    with tiny("no ranges", "support is 500") as url, Client(url) as client:
        results = run(select(["determining-support/v2", "range-closed"]), client, Names("test"), Progress(written))
    lines = written.getvalue().splitlines()
    assert lines == [describe(result) for result in results]
    assert lines[0].split(None, 3)[:3] == ["UNSUPPORTED", "MUST", "pulling-blobs/range-closed:"]
    assert lines[1].startswith("FAIL        MUST   determining-support/v2: GET /v2/ answered 500, expected 200")
    assert "\x1b" not in written.getvalue()


def test_progress_on_a_terminal_keeps_only_failures() -> None:
    written = Terminal()
    with tiny("support is 500") as url, Client(url) as client:
        run(select(["determining-support/v2", "get-by-tag"]), client, Names("test"), Progress(written))
    kept = [line.rpartition("\x1b[K")[2] for line in written.getvalue().split("\n")[:-1]]
    assert [line.split()[2] for line in kept] == [
        "determining-support/v2:",
        "determining-support/v2-without-slash:",
    ]
    assert "get-by-tag" in written.getvalue()


def test_a_registry_that_hangs_up_fails_its_checks_and_the_run_goes_on() -> None:
    with serving(lambda request: None) as url, Client(url) as client:
        results = run(select(["pulling-manifests/"]), client, Names("test"), Progress(io.StringIO()))
    assert len(results) > 5
    assert {result.outcome for result in results} == {Outcome.FAIL}
    assert all("GET" in result.message or "POST" in result.message for result in results)


def test_answers_that_nobody_thought_of_fail_the_check() -> None:
    def strange(trial: Trial) -> None:
        trial.get("/v2/").json()["key"][3]

    one = Check("api/strange", Section.API, Level.MUST, "Strange.", strange)
    with tiny() as url, Client(url) as client:
        result = run_one(one, client, Names("test"))
    assert result.violation
    assert "could not be understood: KeyError" in result.message
    assert result.exchanges == ("GET /v2/ -> 200",)


@pytest.mark.parametrize(("level", "violation"), [(Level.MUST, True), (Level.SHOULD, False), (Level.MAY, False)])
def test_only_a_failed_must_is_a_violation(level: Level, violation: bool) -> None:
    def failing(trial: Trial) -> None:
        raise Failed("because")

    with tiny() as url, Client(url) as client:
        result = run_one(Check("api/failing", Section.API, level, "Fails.", failing), client, Names("test"))
    assert (result.outcome, result.violation) == (Outcome.FAIL, violation)
    assert describe(result) == f"FAIL        {level.value:<6} api/failing: because"


def test_control_characters_of_a_registry_do_not_reach_the_terminal() -> None:
    body = b'{"errors":[{"code":"\\u001b[31mRED\\u0000"}]}'
    with serving(lambda request: Answer(418, {}, body)) as url, Client(url) as client:
        [result] = [run_one(one, client, Names("test")) for one in select(["*/v2"])]
    assert result.message == "GET /v2/ answered 418 (\ufffd[31mRED\ufffd), expected 200"
    assert clean("line\n\ttab \u00e9 \x7f\x85\ud800") == "line\n\ttab \u00e9 \ufffd\ufffd\ufffd"


def test_each_run_and_each_call_gives_another_repository_name() -> None:
    names = [Names("a/b") for _ in range(2)]
    given = [one.fresh("label") for one in names for _ in range(3)]
    assert len(set(given)) == 6
    assert all(name.startswith("a/b/") and name.endswith("-label") for name in given)


def test_checks_of_one_run_do_not_share_repositories() -> None:
    registry = Tiny()
    with serving(registry.handle) as url, Client(url) as client:
        names = Names("test")
        for _ in range(2):
            [result] = [run_one(one, client, names) for one in select(["pulling-manifests/get-by-tag"])]
            assert result.outcome is Outcome.PASS
    assert len(registry.repositories) == 2
    assert all(name.startswith(f"test/{names.run}-") for name in registry.repositories)


@pytest.mark.parametrize("size", [1000, 1001, 65536])
def test_a_padded_manifest_has_exactly_the_size_asked_for(size: int) -> None:
    assert len(padded(size).data) == size
