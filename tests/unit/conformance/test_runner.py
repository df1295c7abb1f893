import io
import itertools

import pytest

from conformance import expect
from conformance.check import Check, Level, Outcome, Section
from conformance.client import Client, Credentials
from conformance.content import padded
from conformance.expect import Failed
from conformance.progress import Progress
from conformance.runner import LONGEST_TEXT, SILENT_CHECKS, run, run_one, select
from conformance.trial import Names, Trial
from tests.unit.conformance.serving import serving, tiny
from tests.unit.conformance.tiny import Answer, Tiny


def test_patterns_select_by_part_of_the_name_or_by_the_whole_of_it() -> None:
    assert len(select([])) > 80
    assert {one.section for one in select(["deleting-tags/"])} == {Section.DELETING_TAGS}
    assert [one.name for one in select(["*/v2"])] == ["determining-support/v2"]
    assert [one.name for one in select(["support/v?", "warnings/w"])] == ["warnings/warnings"]
    assert select(["nothing-of-that-name"]) == []


def test_a_registry_that_hangs_up_fails_its_checks_and_the_run_goes_on() -> None:
    with serving(lambda request: None) as url, Client(url) as client:
        results = run(select(["pulling-manifests/"]), client, Names("test"), Progress(io.StringIO()))
    assert len(results) > 5
    assert {result.outcome for result in results} == {Outcome.FAIL}
    assert all("GET" in result.message or "POST" in result.message for result in results[:SILENT_CHECKS])
    assert all(result.message.startswith("not tried: ") for result in results[SILENT_CHECKS:])


def test_a_registry_that_answers_now_and_then_is_tried_to_the_end() -> None:
    turns = itertools.cycle([Answer(500), None])
    with serving(lambda request: next(turns)) as url, Client(url) as client:
        results = run(select(["pulling-manifests/"]), client, Names("test"), Progress(io.StringIO()))
    assert not [result for result in results if result.message.startswith("not tried")]


def test_answers_that_nobody_thought_of_fail_the_check() -> None:
    def strange(trial: Trial) -> None:
        trial.get("/v2/").json()["key"][3]

    one = Check("api/strange", Section.API, Level.MUST, "Strange.", strange)
    with tiny() as url, Client(url) as client:
        result = run_one(one, client, Names("test"))
    assert result.violation
    assert "could not be understood: KeyError" in result.message
    assert [one.line for one in result.exchanges] == ["GET /v2/ -> 200"]


@pytest.mark.parametrize(("level", "violation"), [(Level.MUST, True), (Level.SHOULD, False), (Level.MAY, False)])
def test_only_a_failed_must_is_a_violation(level: Level, violation: bool) -> None:
    def failing(trial: Trial) -> None:
        raise Failed("because", "something")

    with tiny() as url, Client(url) as client:
        result = run_one(Check("api/failing", Section.API, level, "Fails.", failing), client, Names("test"))
    assert (result.outcome, result.violation) == (Outcome.FAIL, violation)
    assert (result.message, result.found, result.expected) == ("because, expected something", "because", "something")


def test_control_characters_of_a_registry_do_not_reach_the_terminal() -> None:
    body = b'{"errors":[{"code":"\\u001b[31mRED\\u0000\\r\\n::error::ours"}]}'
    with serving(lambda request: Answer(418, {}, body)) as url, Client(url) as client:
        [result] = [run_one(one, client, Names("test")) for one in select(["*/v2"])]
    assert result.message == "GET /v2/ answered 418 (\ufffd[31mRED\ufffd\ufffd ::error::ours), expected 200"


def test_a_failure_names_the_request_that_shows_it() -> None:
    def failing(trial: Trial) -> None:
        first = trial.get("/v2/", [("n", "1")])
        trial.get("/v2/", [("n", "2")])
        expect.header(first, "Nonsense")

    with tiny() as url, Client(url) as client:
        result = run_one(Check("api/failing", Section.API, Level.MUST, "Fails.", failing), client, Names("test"))
    assert result.shown is not None
    assert result.exchanges[result.shown].line == "GET /v2/?n=1 -> 200"


def test_a_long_message_and_a_password_in_it_are_cut() -> None:
    body = b'{"errors":[{"code":"hush-hush' + b"x" * 100_000 + b'"}]}'
    answer = serving(lambda request: Answer(418, {}, body))
    with answer as url, Client(url, Credentials("me", "hush-hush")) as client:
        [result] = [run_one(one, client, Names("test")) for one in select(["*/v2"])]
    assert result.message.startswith("GET /v2/ answered 418 (***xxx")
    assert len(result.message) == LONGEST_TEXT
    assert "hush-hush" not in repr(result)


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
