"""What one run found: counts, the verdict, and what is said of them at the end."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from conformance.check import Level, Outcome, Section
from conformance.leftovers import Removal
from conformance.official import OfficialResult
from conformance.result import Result

COLUMNS = {
    Outcome.PASS: "passed",
    Outcome.FAIL: "failed",
    Outcome.LACKS: "lacking",
    Outcome.NOT_APPLICABLE: "not applicable",
}
"""What the columns of counts are called, in their order."""


@dataclass(frozen=True)
class Report:
    """All that one run found.

    Attributes:
        url: the registry.
        repositories: how the names of the repositories used begin.
        left_out: how many checks `--only` left out.
        fail_on: the least binding level whose requirements, when they are not met, fail the run.
        official: what the official suite reported, None when it was not asked for.
        removal: what became of what was pushed, None when it was to be kept.
    """

    url: str
    repositories: str
    started: datetime
    seconds: float
    results: Sequence[Result]
    left_out: int = 0
    fail_on: Level = Level.MUST
    official: OfficialResult | None = None
    removal: Removal | None = None

    @property
    def conforming(self) -> bool:
        """Whether no MUST failed, and the official suite, if it ran, passed."""
        return self._holds(Level.MUST)

    @property
    def ok(self) -> bool:
        """Whether the run is to be taken for a success: nothing that is as binding as `fail_on` is not met."""
        return self._holds(self.fail_on)

    @property
    def verdict(self) -> str:
        """In a few words."""
        if not self.conforming:
            return "does not conform"
        return "conforms" if self.ok else f"conforms, but not in all that it {self.fail_on.value} do"

    @property
    def extent(self) -> str:
        """How much was checked, and how long it took."""
        tried, seconds = len(self.results), f"{self.seconds:.1f} s"
        if self.left_out:
            return f"{tried} of {tried + self.left_out} checks in {seconds}"
        return f"{tried} checks in {seconds}"

    @property
    def findings(self) -> list[Result]:
        """What is not met, the most binding first."""
        levels = list(Level)
        found = [result for result in self.results if result.finding]
        return sorted(found, key=lambda one: levels.index(one.check.level))

    def of_level(self, level: Level) -> Counter[Outcome]:
        """How many checks of a level ended how."""
        return count(result for result in self.results if result.check.level is level)

    def by_section(self) -> Iterator[tuple[Section, list[Result]]]:
        """The results of each section that has some, in the specification's order."""
        for section in Section:
            found = [result for result in self.results if result.check.section is section]
            if found:
                yield section, found

    def _holds(self, level: Level) -> bool:
        ours = not any(result.breaks(level) for result in self.results)
        return ours and (self.official is None or self.official.ok)


def count(results: Iterable[Result]) -> Counter[Outcome]:
    """How many ended how."""
    return Counter(result.outcome for result in results)


def summary(report: Report) -> list[str]:
    """What is said at the end: counts, what is not met, and the verdict."""
    lines = ["", f"{'':<8}" + "".join(f"{title:>16}" for title in COLUMNS.values())]
    for level in Level:
        counts = report.of_level(level)
        lines.append(f"{level.value:<8}" + "".join(f"{counts[outcome]:>16}" for outcome in COLUMNS))
    for outcome, title in ((Outcome.FAIL, "Failed:"), (Outcome.LACKS, "Lacking, as it may be:")):
        found = [result for result in report.findings if result.outcome is outcome]
        if found:
            lines += ["", title]
        for result in found:
            lines.append(f"  {result.check.level.value} {result.check.name}: {result.check.title}")
            lines.append(f"      {result.message}")
    if report.official is not None:
        lines += ["", *_official_lines(report.official)]
    lines += ["", removal_line(report)] if report.removal is not None else []
    return [*lines, "", f"{report.url} {report.verdict} ({report.extent})"]


def removal_line(report: Report) -> str:
    """What became of what was pushed."""
    if report.removal is None:
        return f"What was pushed was kept, in {report.repositories}-*"
    said = f"Removed {report.removal.removed} manifests, blobs and upload sessions again"
    if report.removal.left:
        said += f"; {report.removal.left} are left in {report.repositories}-*: {report.removal.reason}"
    return said


def _official_lines(official: OfficialResult) -> list[str]:
    counts = ("passed", "failed", "errors", "skipped", "disabled")
    lines = ["Official suite: " + ", ".join(f"{getattr(official, name)} {name}" for name in counts)]
    lines += [f"  {line}" for line in official.problem.splitlines()]
    for case in official.not_passed:
        reason = case.message.partition("\n")[0]
        lines.append(f"  {case.status}: {case.name}" + (f": {reason}" if reason else ""))
    return lines
