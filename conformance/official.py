"""Runs the official conformance suite of distribution-spec, a program of its own, and reads what it reports.

Source: distribution-spec `conformance/README.md`: the environment variables, `junit.xml`, `results.yaml`.
"""

import os
import re
import shutil
import subprocess
import threading
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from conformance.client import Credentials
from conformance.exchange import Secrets, clean
from conformance.progress import Progress
from conformance.trial import Names

TIME_LIMIT = 1800.0
"""Seconds after which the program is ended."""
LARGEST_REPORT = 512 * 1024 * 1024
SHOWN_LINES = 10
OUTPUT = "output.txt"
"""All that it wrote on its standard outputs."""

_REPORTS = ("junit.xml", "results.yaml", "report.html")

_TEST_LINE = re.compile(r'level=(?:INFO|WARN|ERROR) msg="([^"]*)" name="((?:[^"\\]|\\.)*)"')
_STATUS = {"passed": "passed", "skipped": "skipped", "failure": "failed", "error": "error"}
_ON = (
    "OCI_API_BLOBS_DIGEST_HEADER",
    "OCI_API_BLOBS_UPLOAD_CANCEL",
    "OCI_API_MANIFESTS_DIGEST_HEADER",
    "OCI_API_MANIFESTS_TAG_PARAM",
)


@dataclass(frozen=True)
class Case:
    """One test of the suite. `status` is passed, failed, error or skipped; `message` says why."""

    name: str
    status: str
    message: str
    seconds: float


@dataclass(frozen=True)
class OfficialResult:
    """What the suite reported.

    Attributes:
        passed, failed, errors, skipped, disabled: the suite's own counts, to which a group of tests adds one.
        cases: the single tests.
        summary: what `results.yaml` says of APIs and kinds of data, by name.
        problem: why there is no report to rely on, empty when there is one.
    """

    passed: int = 0
    failed: int = 0
    errors: int = 0
    skipped: int = 0
    disabled: int = 0
    cases: tuple[Case, ...] = ()
    summary: tuple[tuple[str, str], ...] = ()
    problem: str = ""

    @property
    def ok(self) -> bool:
        """Whether tests ran, and each passed or was disabled by us."""
        return not self.problem and self.passed > 0 and self.failed + self.errors + self.skipped == 0

    @property
    def not_passed(self) -> list[Case]:
        """The single tests that did not pass."""
        return [case for case in self.cases if case.status != "passed"]


def find(program: str) -> str | None:
    """The program's absolute path, None when there is no such program."""
    found = shutil.which(program)
    return None if found is None else str(Path(found).resolve())


def environment(
    url: str, names: Names, credentials: Credentials | None, folder: Path, *, sparse: bool = False
) -> dict[str, str]:
    """The variables that configure the suite, beside those that were there; what was there of its own is left out."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    values = {
        "OCI_VERSION": "dev",
        "OCI_TLS": "enabled" if parts.scheme == "https" else "disabled",
        "OCI_REGISTRY": f"{host}:{port}",
        "OCI_REPO1": names.fresh("official"),
        "OCI_REPO2": names.fresh("official"),
        "OCI_RESULTS_DIR": str(folder),
        "OCI_LOG": "info",
        "OCI_DATA_SPARSE": "true" if sparse else "false",
        **dict.fromkeys(_ON, "true"),
    }
    if credentials is not None:
        values |= {"OCI_USERNAME": credentials.username, "OCI_PASSWORD": credentials.password}
    return {name: value for name, value in os.environ.items() if not name.startswith("OCI_")} | values


def run(
    program: str,
    variables: dict[str, str],
    folder: Path,
    progress: Progress,
    time_limit: float = TIME_LIMIT,
    *,
    secrets: Secrets | None = None,
) -> OfficialResult:
    """Run the suite and read its report.

    Args:
        program: the executable.
        variables: its whole environment, from `environment()`.
        folder: where its reports and `output.txt`, all that it wrote, go; made when missing. Reports of an earlier run
            are removed first.
        progress: told of each test.
        time_limit: seconds after which it is ended.
        secrets: words that are taken out of all that it wrote.

    Returns:
        What it reported; whatever goes wrong is told in `problem`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in _REPORTS:
        (folder / name).unlink(missing_ok=True)
    try:
        status, tail = _execute(program, variables, folder, progress, time_limit)
    except OSError as error:
        return OfficialResult(problem=f"{program} could not be run: {error.strerror or error}")
    _hide(folder, secrets or Secrets())
    result = read(folder)
    if status < 0:
        problem = f"{program} was ended by signal {-status}"
    elif result.problem:
        problem = f"{program} ended with status {status}; {result.problem}"
    elif status != 0 and result.ok:
        problem = f"{program} ended with status {status}, though its report shows no failure"
    else:
        return result
    return replace(result, problem=clean((secrets or Secrets()).hide("\n".join([problem, *tail]))))


def _hide(folder: Path, secrets: Secrets) -> None:
    """Take secrets out of what it wrote; it shows whole answers, and a registry may send back what it was sent."""
    for name in (*_REPORTS, OUTPUT):
        try:
            text = (folder / name).read_text(encoding="utf-8", errors="surrogateescape")
            if secrets.hide(text) != text:
                (folder / name).write_text(secrets.hide(text), encoding="utf-8", errors="surrogateescape")
        except OSError:
            pass  # not written; that is told by whoever reads it


def read(folder: Path) -> OfficialResult:
    """Read the `junit.xml` and `results.yaml` that the suite wrote into a folder."""
    report = folder / "junit.xml"
    try:
        if report.stat().st_size > LARGEST_REPORT:
            return OfficialResult(problem=f"{report.name} is larger than {LARGEST_REPORT} bytes")
        root = ElementTree.parse(report).getroot()  # noqa: S314 # written by the program that we were told to run
    except FileNotFoundError:
        return OfficialResult(problem=f"it wrote no {report.name}")
    except (OSError, ElementTree.ParseError) as error:
        return OfficialResult(problem=f"its {report.name} cannot be read: {error}")
    try:
        cases = tuple(_case(element) for element in root.iter("testcase"))
        total, failed, errors, skipped, disabled = (
            int(root.get(name, "0")) for name in ("tests", "failures", "errors", "skipped", "disabled")
        )
    except (ValueError, KeyError) as error:
        return OfficialResult(problem=f"its {report.name} is not as expected: {error}")
    # A group counts for the suite; should the counts ever say less than the single tests, the tests are right.
    failed = max(failed, sum(case.status == "failed" for case in cases))
    errors = max(errors, sum(case.status == "error" for case in cases))
    skipped = max(skipped, sum(case.status == "skipped" for case in cases) - disabled)
    passed = total - failed - errors - skipped - disabled
    problem = "" if cases and passed > 0 else f"its {report.name} holds no test that passed"
    return OfficialResult(passed, failed, errors, skipped, disabled, cases, _summary(folder / "results.yaml"), problem)


def _case(element: ElementTree.Element) -> Case:
    lines = [line for line in (element.findtext("system-out") or "").splitlines() if line.strip()]
    return Case(
        name=clean(element.attrib["name"]),
        status=_STATUS[element.attrib["status"]],
        message=clean("\n".join(lines[:SHOWN_LINES])),
        seconds=float(element.get("time", "0")),
    )


def _summary(report: Path) -> tuple[tuple[str, str], ...]:
    """The entries of `apis` and `data` in `results.yaml`: lines `  NAME: STATUS`, which need no parser."""
    try:
        lines = report.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    found, section = [], ""
    for line in lines:
        if not line.startswith(" "):
            section = line.rstrip(":")
        elif section in ("apis", "data") and ": " in line:
            name, _, status = line.strip().rpartition(": ")
            found.append((clean(name.strip("\"'")), clean(status)))
    return tuple(found)


def _execute(
    program: str, variables: dict[str, str], folder: Path, progress: Progress, time_limit: float
) -> tuple[int, list[str]]:
    """Run the program; its exit status, and the last lines that it wrote."""
    tail: list[str] = []
    with (
        (folder / OUTPUT).open("w", encoding="utf-8") as kept,
        subprocess.Popen(
            [program],
            cwd=folder,  # where no configuration file of somebody else lies
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
            encoding="utf-8",
            errors="replace",
        ) as process,
        _ended_after(process, time_limit) as late,
    ):
        assert process.stdout is not None
        _follow(process.stdout, kept, tail, progress)
        status = process.wait()
    if late.is_set():
        tail = [f"it still ran after {time_limit:.0f} s"]
    return status, tail


def _follow(output: IO[str], kept: IO[str], tail: list[str], progress: Progress) -> None:
    """Keep all that the program writes, and tell of each test that it names."""
    tests = 0
    for line in output:
        kept.write(line)
        tail[:] = [*tail, line.rstrip()[:500]][-SHOWN_LINES:]
        test = _TEST_LINE.search(line)
        if test is None:
            continue
        tests += 1
        if test.group(1).startswith("passing"):
            so_far = f"official: {tests} tests" if tests % 100 == 0 else ""
            progress.passing(f"official [{tests}] {clean(test.group(2))}", so_far)
        elif test.group(1).endswith("test"):
            progress.line(f"official: {test.group(1)}: {clean(test.group(2))}")


@contextmanager
def _ended_after(process: subprocess.Popen[str], seconds: float) -> Iterator[threading.Event]:
    """Kill the program, and what it started, after some seconds, or when the block is left by an error."""
    late = threading.Event()

    def end() -> None:
        late.set()
        _kill(process)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield late
    except BaseException:
        _kill(process)
        raise
    finally:
        timer.cancel()


def _kill(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        try:
            os.killpg(process.pid, 9)
        except ProcessLookupError:
            pass  # it ended meanwhile
