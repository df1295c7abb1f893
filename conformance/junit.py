"""`junit.xml`: a report as continuous integration reads it."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence

from conformance.check import Outcome
from conformance.official import Case
from conformance.report import Report
from conformance.result import Result


def junit(report: Report) -> ElementTree.Element:
    """The report as JUnit's XML: a suite for our checks, another for the official ones.

    A failure is what fails the run (`Report.fail_on`). What else is not met, and what was not applicable, is skipped
    with the reason.
    """
    root = ElementTree.Element("testsuites", name="conformance", time=f"{report.seconds:.3f}")
    ours = [_our_case(result, report) for result in report.results]
    suites = [_suite("distribution-spec", ours)]
    if report.official is not None:
        theirs = [_official_case(case) for case in report.official.cases]
        if report.official.problem:
            problem = ElementTree.Element("testcase", classname="official", name="the suite runs")
            ElementTree.SubElement(problem, "error", message=report.official.problem)
            theirs.append(problem)
        suites.append(_suite("official", theirs))
    for name in ("tests", "failures", "errors", "skipped"):
        root.set(name, str(sum(int(suite.attrib[name]) for suite in suites)))
    suites[0].set("timestamp", report.started.isoformat())
    root.extend(suites)
    return root


def _suite(name: str, cases: Sequence[ElementTree.Element]) -> ElementTree.Element:
    seconds = sum(float(case.get("time", "0")) for case in cases)
    suite = ElementTree.Element("testsuite", name=name, time=f"{seconds:.3f}", tests=str(len(cases)))
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(attribute, str(sum(case.find(tag) is not None for case in cases)))
    suite.extend(cases)
    return suite


def _our_case(result: Result, report: Report) -> ElementTree.Element:
    check = result.check
    case = ElementTree.Element("testcase", classname=check.section.slug, name=check.name, time=f"{result.seconds:.3f}")
    if result.outcome is Outcome.PASS:
        return case
    if result.breaks(report.fail_on):
        ElementTree.SubElement(case, "failure", type=check.level.value, message=result.message)
    else:
        word = {Outcome.FAIL: f"{check.level.value} is not met", Outcome.LACKS: "lacking, as it may be"}
        said = f"{word.get(result.outcome, 'not applicable')}: {result.message}"
        ElementTree.SubElement(case, "skipped", message=said)
    lines = [f"{check.level.value}: {check.title}", check.section.link, *(one.line for one in result.exchanges)]
    ElementTree.SubElement(case, "system-out").text = "\n".join(lines)
    return case


def _official_case(case: Case) -> ElementTree.Element:
    element = ElementTree.Element("testcase", classname="official", name=case.name, time=f"{case.seconds:.3f}")
    tag = {"failed": "failure", "error": "error", "skipped": "skipped"}.get(case.status)
    if tag is not None:
        ElementTree.SubElement(element, tag, message=case.message)
    return element
