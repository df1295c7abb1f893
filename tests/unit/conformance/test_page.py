"""The page, as a browser reads it that knows nothing of scripts."""

from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest

from conformance.check import Check, Level, Outcome, Section, registered
from conformance.exchange import Exchange
from conformance.leftovers import Removal
from conformance.official import Case, OfficialResult
from conformance.page import SHOWN_EXCHANGES, page
from conformance.report import Report
from conformance.result import Result
from conformance.trial import Trial

HOSTILE = '</pre></details><script>alert(1)</script><img src=x onerror=alert(1)>" onload="x\' {{ 7 * 7 }}'
VOID = {"meta", "input", "br"}


class Page(HTMLParser):
    """Elements with their attributes, text, and whether all that was opened was closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def result(
    name: str, outcome: Outcome, level: Level = Level.MUST, exchanges: tuple[Exchange, ...] = (), text: str = "because"
) -> Result:
    def nothing(trial: Trial) -> None:
        del trial

    check = Check(f"api/{name}", Section.API, level, f"Title of {name}.", nothing)
    passed = outcome is Outcome.PASS
    return Result(
        check,
        outcome,
        "" if passed else text,
        found=text if outcome is Outcome.FAIL else "",
        expected=f"expected: {text}" if outcome is Outcome.FAIL else "",
        see="api/failing" if outcome is Outcome.NOT_APPLICABLE else "",
        note=f"note: {text}" if passed else "",
        exchanges=exchanges,
    )


def report(*results: Result, official: OfficialResult | None = None) -> Report:
    started = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
    removal = Removal(3, 1, "DELETE of a blob answered 405")
    return Report("http://r:1", "p/run", started, 1.25, results, official=official, removal=removal)


def test_a_page_holds_every_check_and_a_link_to_each_section() -> None:
    results = [Result(check, Outcome.PASS) for check in registered()]
    shown = Page(page(report(*results)))
    hrefs = {one["href"] for one in shown.all("a")}
    for check in registered():
        assert check.name in shown.text
        assert check.section.link in hrefs
    assert "It conforms" in shown.text
    assert "Nothing: all that was checked is met." in shown.text
    assert "Removed 3 manifests, blobs and upload sessions again; 1 are left" in shown.text


def test_a_failure_shows_what_was_asked_answered_and_expected() -> None:
    asked = Exchange(
        "PUT",
        "/v2/x/manifests/v1",
        (("Content-Type", "a/b"), ("Authorization", "Bearer ***")),
        "7 bytes",
        500,
        received=(("Retry-After", "9"),),
        answer='{"errors":[]}',
    )
    shown = Page(page(report(result("failing", Outcome.FAIL, exchanges=(asked,)), result("passing", Outcome.PASS))))
    for text in (
        "PUT http://r:1/v2/x/manifests/v1\nContent-Type: a/b\nAuthorization: Bearer ***\n\n(7 bytes)",
        '500\nRetry-After: 9\n\n{"errors":[]}',
        "expected: because",
        "MUST: Title of failing.",
        "It does not conform",
        "note: because",
    ):
        assert text in shown.text
    assert {"api/failing", "section-api"} <= {str(one.get("id")) for one in shown.all("details")}


def test_what_a_registry_sends_is_text_and_nothing_else() -> None:
    hostile = Exchange("GET", HOSTILE, ((HOSTILE, HOSTILE),), HOSTILE, None, HOSTILE, ((HOSTILE, HOSTILE),), HOSTILE)
    answer = Exchange("GET", HOSTILE, status=200, received=((HOSTILE, HOSTILE),), answer=HOSTILE)
    official = OfficialResult(
        1, 1, 0, 0, 0, (Case(HOSTILE, "failed", HOSTILE, 0.1),), ((HOSTILE, HOSTILE),), problem=HOSTILE
    )
    outcomes = [result(one.name.lower(), one, Level.MAY, (hostile, answer), HOSTILE) for one in Outcome]
    plain = Page(page(report(*(result(one.name.lower(), one, Level.MAY, (answer, answer), "x") for one in Outcome))))
    shown = Page(page(report(*outcomes, official=official)))
    assert shown.text.count("<script>alert(1)</script>") > 10
    assert "{{ 7 * 7 }}" in shown.text
    assert {name for name, _ in shown.elements} - {name for name, _ in plain.elements} <= {"pre"}
    assert not [one for one in shown.elements if {"onload", "onerror", "src", "style"} & set(one[1])]


def test_nothing_is_fetched_and_nothing_runs() -> None:
    text = page(report(result("failing", Outcome.FAIL)))
    shown = Page(text)
    assert not {"script", "link", "img", "iframe", "object", "form"} & {name for name, _ in shown.elements}
    assert {"default-src 'none'; style-src 'unsafe-inline'"} <= {str(one.get("content")) for one in shown.all("meta")}
    assert "url(" not in text
    assert "@import" not in text
    for words in ("prefers-color-scheme: dark", "@media print", "details::details-content"):
        assert words in text


@pytest.mark.parametrize("number", [0, 20, 39, None])
def test_of_many_requests_the_one_that_shows_the_failure_is_there(number: int | None) -> None:
    exchanges = tuple(Exchange("GET", f"/v2/{one}/", status=200) for one in range(40))
    failing = result("failing", Outcome.FAIL, exchanges=exchanges)
    shown = Page(page(report(Result(**{**vars(failing), "shown": number})))).text
    culprit = 39 if number is None else number
    assert shown.count(f"GET http://r:1/v2/{culprit}/\n") == 2
    assert shown.count("GET http://r:1/v2/") == 1 + SHOWN_EXCHANGES
    assert f"{SHOWN_EXCHANGES} of\n40 requests of this check" in shown


def test_a_result_without_any_request_is_shown() -> None:
    assert "because" in Page(page(report(result("failing", Outcome.FAIL)))).text


def test_the_official_suite_is_part_of_it() -> None:
    official = OfficialResult(
        1, 1, 0, 0, 0, (Case("T/a", "passed", "", 0.1), Case("T/b", "failed", "why", 0.1)), (("Blob push", "Pass"),)
    )
    shown = Page(page(report(result("passing", Outcome.PASS), official=official))).text
    for text in ("The official suite", "1 passed, 1 failed", "T/b", "why", "Blob push", "All 2 tests"):
        assert text in shown
    assert "The official suite" not in Page(page(report(result("passing", Outcome.PASS)))).text
