"""`results.yaml`: a report as people and programs read it."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from conformance.check import Level, Outcome
from conformance.official import OfficialResult
from conformance.report import Report
from conformance.result import Result

Value: TypeAlias = "str | int | float | bool | Mapping[str, Value] | Sequence[Value] | None"
"""What `results.yaml` is made of."""

_PLAIN = re.compile(r"[A-Za-z_]{3,}")


def results(report: Report) -> dict[str, Value]:
    """The report as `results.yaml` holds it."""
    counts: dict[str, Value] = {}
    for level in Level:
        of_level = report.of_level(level)
        counts[level.value] = {outcome.value: of_level[outcome] for outcome in Outcome}
    value: dict[str, Value] = {
        "url": report.url,
        "repositories": report.repositories,
        "started": report.started.isoformat(),
        "seconds": round(report.seconds, 3),
        "conforming": report.conforming,
        "fail_on": report.fail_on.value,
        "ok": report.ok,
        "left_out": report.left_out,
        "counts": counts,
        "checks": [_result(result) for result in report.results],
    }
    if report.removal is not None:
        removal = report.removal
        value["removal"] = {"removed": removal.removed, "left": removal.left, "reason": removal.reason}
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
    value |= {name: text for name, text in (("note", result.note), ("see", result.see)) if text}
    if result.outcome is not Outcome.PASS:
        value |= {"message": result.message, "exchanges": [one.line for one in result.exchanges]}
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
