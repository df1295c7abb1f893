"""Writes what a run found: `junit.xml` for continuous integration, `results.yaml` for people and programs."""

import json
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

from conformance.check import Level, Outcome
from conformance.official import Case, OfficialResult
from conformance.runner import Result

Value: TypeAlias = "str | int | float | bool | Mapping[str, Value] | Sequence[Value] | None"
"""What `results.yaml` is made of."""

_PLAIN = re.compile(r"[A-Za-z_]{3,}")


@dataclass(frozen=True)
class Report:
    """All that one run found.

    Attributes:
        url: the registry.
        repositories: how the names of the repositories used begin.
        official: what the official suite reported, None when it was not asked for.
    """

    url: str
    repositories: str
    started: datetime
    seconds: float
    results: Sequence[Result]
    official: OfficialResult | None

    @property
    def conforming(self) -> bool:
        """Whether no MUST failed, and the official suite, if it ran, passed."""
        ours = not any(result.violation for result in self.results)
        return ours and (self.official is None or self.official.ok)


def write(report: Report, folder: Path) -> None:
    """Write `junit.xml` and `results.yaml` into a folder, which is made when missing.

    Raises:
        OSError: they cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tree = ElementTree.ElementTree(junit(report))
    ElementTree.indent(tree)
    tree.write(folder / "junit.xml", encoding="utf-8", xml_declaration=True)
    text = "".join(f"{line}\n" for line in yaml_lines(results(report)))
    (folder / "results.yaml").write_text(text, encoding="utf-8")


def summary(report: Report) -> list[str]:
    """What is said at the end: counts, what did not pass, and the verdict."""
    lines = ["", f"{'':<8}{'passed':>8}{'failed':>8}{'unsupported':>13}"]
    for level in Level:
        counts = Counter(result.outcome for result in report.results if result.check.level is level)
        numbers = f"{counts[Outcome.PASS]:>8}{counts[Outcome.FAIL]:>8}{counts[Outcome.UNSUPPORTED]:>13}"
        lines.append(f"{level.value:<8}{numbers}")
    failed = [result for result in report.results if result.outcome is Outcome.FAIL]
    if failed:
        lines += ["", "Failed:"]
        for result in failed:
            lines.append(f"  {result.check.level.value} {result.check.name}: {result.check.title}")
            lines.append(f"      {result.message}")
    if report.official is not None:
        lines += ["", *_official_lines(report.official)]
    verdict = "conforms" if report.conforming else "does not conform"
    return [*lines, "", f"{report.url} {verdict} ({len(report.results)} checks, {report.seconds:.1f} s)"]


def junit(report: Report) -> ElementTree.Element:
    """The report as JUnit's XML: a suite for our checks, another for the official ones.

    Only a failed MUST is a failure there; what a registry leaves out, or does against a SHOULD or MAY, is skipped with
    the reason.
    """
    root = ElementTree.Element("testsuites", name="conformance", time=f"{report.seconds:.3f}")
    ours = [_our_case(result) for result in report.results]
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


def results(report: Report) -> dict[str, Value]:
    """The report as `results.yaml` holds it."""
    counts: dict[str, Value] = {}
    for level in Level:
        of_level = Counter(result.outcome for result in report.results if result.check.level is level)
        counts[level.value] = {outcome.value: of_level[outcome] for outcome in Outcome}
    value: dict[str, Value] = {
        "url": report.url,
        "repositories": report.repositories,
        "started": report.started.isoformat(),
        "seconds": round(report.seconds, 3),
        "conforming": report.conforming,
        "counts": counts,
        "checks": [_result(result) for result in report.results],
    }
    if report.official is not None:
        value["official"] = _official(report.official)
    return value


def yaml_lines(value: Value, indent: int = 0) -> Iterator[str]:
    """A value as lines of YAML 1.2 in block style; scalars as JSON writes them, which YAML reads alike."""
    pad = "  " * indent
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if _is_block(inner):
                yield f"{pad}{_key(name)}:"
                yield from yaml_lines(inner, indent + 1)
            else:
                yield f"{pad}{_key(name)}: {_scalar(inner)}"
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for inner in value:
            first, *others = yaml_lines(inner, indent + 1) if _is_block(inner) else [_scalar(inner)]
            yield f"{pad}- {first.lstrip()}"
            yield from others
    else:
        yield f"{pad}{_scalar(value)}"


def _is_block(value: Value) -> bool:
    return isinstance(value, Mapping | Sequence) and not isinstance(value, str) and bool(value)


def _key(name: str) -> str:
    plain = _PLAIN.fullmatch(name) is not None and name.lower() not in ("true", "false", "null", "yes", "off")
    return name if plain else _scalar(name)


def _scalar(value: Value) -> str:
    return json.dumps(value, ensure_ascii=False)


def _result(result: Result) -> dict[str, Value]:
    check = result.check
    value: dict[str, Value] = {
        "name": check.name,
        "section": check.section.value,
        "link": check.section.link,
        "level": check.level.value,
        "title": check.title,
        "outcome": result.outcome.value,
        "seconds": round(result.seconds, 3),
    }
    if result.outcome is not Outcome.PASS:
        value |= {"message": result.message, "exchanges": list(result.exchanges)}
    return value


def _official(official: OfficialResult) -> dict[str, Value]:
    return {
        "ok": official.ok,
        "problem": official.problem,
        "passed": official.passed,
        "failed": official.failed,
        "errors": official.errors,
        "skipped": official.skipped,
        "disabled": official.disabled,
        "summary": dict(official.summary),
        "not_passed": [
            {"name": case.name, "status": case.status, "message": case.message} for case in official.not_passed
        ],
    }


def _official_lines(official: OfficialResult) -> list[str]:
    counts = ("passed", "failed", "errors", "skipped", "disabled")
    lines = ["Official suite: " + ", ".join(f"{getattr(official, name)} {name}" for name in counts)]
    lines += [f"  {line}" for line in official.problem.splitlines()]
    for case in official.not_passed:
        reason = case.message.partition("\n")[0]
        lines.append(f"  {case.status}: {case.name}" + (f": {reason}" if reason else ""))
    return lines


def _suite(name: str, cases: Sequence[ElementTree.Element]) -> ElementTree.Element:
    seconds = sum(float(case.get("time", "0")) for case in cases)
    suite = ElementTree.Element("testsuite", name=name, time=f"{seconds:.3f}", tests=str(len(cases)))
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(attribute, str(sum(case.find(tag) is not None for case in cases)))
    suite.extend(cases)
    return suite


def _our_case(result: Result) -> ElementTree.Element:
    check = result.check
    case = ElementTree.Element("testcase", classname=check.section.slug, name=check.name, time=f"{result.seconds:.3f}")
    if result.violation:
        ElementTree.SubElement(case, "failure", type=check.level.value, message=result.message)
    elif result.outcome is not Outcome.PASS:
        word = "unsupported" if result.outcome is Outcome.UNSUPPORTED else f"{check.level.value} is not met"
        ElementTree.SubElement(case, "skipped", message=f"{word}: {result.message}")
    if result.outcome is not Outcome.PASS:
        ElementTree.SubElement(case, "system-out").text = "\n".join(
            [check.title, check.section.link, *result.exchanges]
        )
    return case


def _official_case(case: Case) -> ElementTree.Element:
    element = ElementTree.Element("testcase", classname="official", name=case.name, time=f"{case.seconds:.3f}")
    tag = {"failed": "failure", "error": "error", "skipped": "skipped"}.get(case.status)
    if tag is not None:
        ElementTree.SubElement(element, tag, message=case.message)
    return element
