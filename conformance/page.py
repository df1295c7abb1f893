"""`report.html`: a report as a page of its own, without scripts and without anything from elsewhere.

What registries answered is in it: the template escapes all values, and the page forbids all that could be fetched or
run (Content-Security-Policy).
"""

from collections.abc import Iterable
from importlib import resources

from jinja2 import Environment, StrictUndefined

from conformance.check import SPECIFICATION, Level, Outcome
from conformance.progress import word_of
from conformance.report import COLUMNS, Report, count, removal_line
from conformance.result import Result

SHOWN_EXCHANGES = 12
"""Exchanges of one check that are shown in full; of the others only a line."""


def page(report: Report) -> str:
    """The report as HTML."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["css_class"] = css_class
    text = resources.files("conformance").joinpath("report.html.j2").read_text(encoding="utf-8")
    return environment.from_string(text).render(
        report=report,
        levels=list(Level),
        columns=COLUMNS,
        Outcome=Outcome,
        specification=SPECIFICATION,
        count=count,
        word_of=word_of,
        shown=shown,
        removal=removal_line(report),
        worst=worst,
    )


def css_class(outcome: Outcome) -> str:
    """The outcome as the name of a class."""
    return outcome.value.replace(" ", "-")


def shown(result: Result) -> tuple[range, int]:
    """Which exchanges of a result to show in full, and the number of the one that shows the failure, else the last."""
    total = len(result.exchanges)
    culprit = total - 1 if result.shown is None else result.shown
    first = max(0, min(culprit, total - SHOWN_EXCHANGES))
    return range(first, min(total, first + SHOWN_EXCHANGES)), culprit


def worst(results: Iterable[Result]) -> str:
    """The class of the heaviest outcome among some results."""
    found = count(results)
    return css_class(
        next(one for one in (Outcome.FAIL, Outcome.LACKS, Outcome.NOT_APPLICABLE, Outcome.PASS) if found[one])
    )
