"""The official suite's program is stood in for by shell scripts that write what it would write, or do not."""

import io
from pathlib import Path

import pytest

from conformance import official
from conformance.client import Credentials
from conformance.exchange import Secrets
from conformance.progress import Progress
from conformance.trial import Names

REPORT = """<testsuites tests="{tests}" failures="{failures}" skipped="{skipped}" disabled="{disabled}">
  <testsuite name="OCI Conformance Test" tests="{tests}">{cases}</testsuite></testsuites>"""
PASSED = '<testcase name="T/ping" classname="" time="0.25" status="passed"/>'
FAILED = """<testcase name="T/a &lt;b&gt;" classname="" time="0.5" status="failure">
  <system-out>expected 416&#xA;received 202</system-out><system-err>~~~ REQUEST ~~~</system-err></testcase>"""
SKIPPED = """<testcase name="T/mount" status="skipped"><system-out>not supported</system-out></testcase>"""
BROKEN = '<testcase name="T/engine" status="error"/>'
SUMMARY = """config:
  registry: 127.0.0.1:1
  apis:
    push: true
apis:
  Blob push: Pass
  Tag listing: FAIL
data:
  Image: Pass
"""


def report(*cases: str, failures: int = 0, skipped: int = 0, disabled: int = 0) -> str:
    return REPORT.format(tests=len(cases), failures=failures, skipped=skipped, disabled=disabled, cases="".join(cases))


class Suite:
    """A folder with a script in it, and what running it gave."""

    def __init__(self, folder: Path) -> None:
        self.results = folder / "results"
        self.program = folder / "suite"
        self.output = io.StringIO()

    def run(self, script: str, *, junit: str | None = None, time_limit: float = 30.0) -> official.OfficialResult:
        self.program.write_text(f"#!/bin/sh\n{script}\n")
        self.program.chmod(0o755)
        if junit is not None:
            (self.program.parent / "junit.xml").write_text(junit)
            (self.program.parent / "results.yaml").write_text(SUMMARY)
        variables = official.environment("http://127.0.0.1:5000", Names("test"), None, self.results)
        return official.run(str(self.program), variables, self.results, Progress(self.output), time_limit)


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    return Suite(tmp_path)


COPY = 'cp ../junit.xml ../results.yaml "$OCI_RESULTS_DIR"'


def test_a_suite_that_passes(suite: Suite) -> None:
    log = 'echo \'time=1 level=INFO msg="passing test" name="T/ping"\' >&2'
    result = suite.run(f"{log}; {COPY}; pwd; env", junit=report(PASSED))
    assert result.ok
    assert (result.passed, result.failed, result.errors, result.skipped, result.disabled) == (1, 0, 0, 0, 0)
    assert result.cases == (official.Case("T/ping", "passed", "", 0.25),)
    assert result.summary == (("Blob push", "Pass"), ("Tag listing", "FAIL"), ("Image", "Pass"))
    kept = (suite.results / "output.txt").read_text()
    assert "OCI_REGISTRY=127.0.0.1:5000\n" in kept
    assert f"\n{suite.results}\n" in kept  # its working folder
    assert suite.output.getvalue() == ""


def test_what_did_not_pass_is_counted_and_named(suite: Suite) -> None:
    log = 'echo \'time=1 level=WARN msg="failed test" name="T/a \\"b\\"" error="..."\''
    cases = report(PASSED, FAILED, SKIPPED, BROKEN, failures=3, skipped=1)
    cases = cases.replace('tests="4" failures', 'tests="20" errors="1" failures')  # groups of tests count too
    result = suite.run(f"{log}; {COPY}; exit 1", junit=cases)
    assert not result.ok
    assert not result.problem
    assert (result.passed, result.failed, result.errors, result.skipped) == (15, 3, 1, 1)
    assert [(case.name, case.status, case.message) for case in result.not_passed] == [
        ("T/a <b>", "failed", "expected 416\nreceived 202"),
        ("T/mount", "skipped", "not supported"),
        ("T/engine", "error", ""),
    ]
    assert suite.output.getvalue() == 'official: failed test: T/a \\"b\\"\n'


def test_a_skip_is_not_ok_but_what_we_disabled_is(suite: Suite) -> None:
    assert not suite.run(COPY, junit=report(PASSED, SKIPPED, skipped=1)).ok
    assert suite.run(COPY, junit=report(PASSED, SKIPPED, disabled=1)).ok


def test_failing_tests_are_believed_rather_than_a_count_that_leaves_them_out(suite: Suite) -> None:
    result = suite.run(COPY, junit=report(PASSED, FAILED, SKIPPED))
    assert (result.ok, result.failed, result.skipped) == (False, 1, 1)


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("echo failed to load config >&2", "ended with status 0; it wrote no junit.xml\nfailed to load config"),
        ("exit 3", "ended with status 3; it wrote no junit.xml"),
        ('echo "<testsuites" > "$OCI_RESULTS_DIR/junit.xml"', "its junit.xml cannot be read"),
        ('printf "\\000\\377 garbage"; printf "\\377" > "$OCI_RESULTS_DIR/junit.xml"', "its junit.xml cannot be read"),
        ('echo "<testsuites/>" > "$OCI_RESULTS_DIR/junit.xml"', "holds no test that passed"),
        ('echo "<a><testcase/></a>" > "$OCI_RESULTS_DIR/junit.xml"', "is not as expected"),
        ('echo "<a tests=\'many\'/>" > "$OCI_RESULTS_DIR/junit.xml"', "is not as expected"),
        ("kill -9 $$", "was ended by signal 9"),
    ],
)
def test_a_suite_without_a_report_to_rely_on_is_a_problem(suite: Suite, script: str, problem: str) -> None:
    result = suite.run(script)
    assert not result.ok
    assert problem in result.problem
    assert "\0" not in result.problem


def test_a_status_that_contradicts_the_report_is_a_problem(suite: Suite) -> None:
    result = suite.run(f"{COPY}; exit 5", junit=report(PASSED))
    assert not result.ok
    assert "ended with status 5, though its report shows no failure" in result.problem
    assert result.passed == 1


def test_the_report_of_an_earlier_run_is_not_taken_for_this_one(suite: Suite) -> None:
    assert suite.run(COPY, junit=report(PASSED)).ok
    assert "wrote no junit.xml" in suite.run("exit 0").problem


def test_a_suite_that_hangs_is_ended_with_what_it_started(suite: Suite) -> None:
    result = suite.run("sleep 60 & sleep 60", time_limit=0.3)
    assert not result.ok
    assert "it still ran after 0 s" in result.problem


def test_a_secret_that_comes_back_is_in_none_of_its_files(suite: Suite) -> None:
    suite.program.write_text(f"#!/bin/sh\necho sent: hush-hush\n{COPY}\nexit 7\n")
    suite.program.chmod(0o755)
    (suite.program.parent / "junit.xml").write_text(report(FAILED.replace("expected", "hush-hush"), failures=1))
    (suite.program.parent / "results.yaml").write_text(SUMMARY + "  hush-hush: Pass\n")
    variables = official.environment("http://127.0.0.1:5000", Names("test"), None, suite.results)
    progress, secrets = Progress(suite.output), Secrets(["hush-hush"])
    result = official.run(str(suite.program), variables, suite.results, progress, secrets=secrets)
    assert "sent: ***" in result.problem
    assert "hush-hush" not in repr(result)
    for name in ("junit.xml", "results.yaml", "output.txt"):
        text = (suite.results / name).read_text()
        assert "***" in text
        assert "hush-hush" not in text


def test_a_program_that_cannot_be_run_is_a_problem(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"\x7fELF no program")
    garbage.chmod(0o755)
    missing = tmp_path / "missing"
    for program in (garbage, missing):
        result = official.run(str(program), {}, tmp_path / "results", Progress(io.StringIO()))
        assert not result.ok
        assert "could not be run" in result.problem
    assert official.find(str(missing)) is None
    assert official.find(str(garbage)) == str(garbage)


def test_progress_of_many_tests_is_told_now_and_then(suite: Suite) -> None:
    log = 'i=0; while [ $i -lt 250 ]; do i=$((i+1)); echo "level=INFO msg=\\"passing test\\" name=\\"T/$i\\""; done'
    suite.run(f"{log}; {COPY}", junit=report(PASSED))
    assert suite.output.getvalue().splitlines() == ["official: 100 tests", "official: 200 tests"]


def test_the_environment_configures_the_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCI_DATA_IMAGE", "false")
    monkeypatch.setenv("OCI_PASSWORD", "of somebody else")
    monkeypatch.setenv("SSL_CERT_FILE", "/ca.pem")
    folder = Path("/results")
    values = official.environment("https://registry.example.org", Names("p"), Credentials("u", "s"), folder)
    assert values["OCI_REGISTRY"] == "registry.example.org:443"
    assert values["OCI_TLS"] == "enabled"
    assert (values["OCI_USERNAME"], values["OCI_PASSWORD"]) == ("u", "s")
    assert values["OCI_VERSION"] == "dev"
    assert values["OCI_DATA_SPARSE"] == "false"
    assert values["OCI_RESULTS_DIR"] == "/results"
    assert values["SSL_CERT_FILE"] == "/ca.pem"
    assert "OCI_DATA_IMAGE" not in values
    assert values["OCI_REPO1"] != values["OCI_REPO2"]
    for name in ("BLOBS_DIGEST_HEADER", "BLOBS_UPLOAD_CANCEL", "MANIFESTS_DIGEST_HEADER", "MANIFESTS_TAG_PARAM"):
        assert values[f"OCI_API_{name}"] == "true"
    plain = official.environment("http://[::1]:5000", Names("p"), None, folder, sparse=True)
    assert (plain["OCI_REGISTRY"], plain["OCI_TLS"]) == ("[::1]:5000", "disabled")
    assert plain["OCI_DATA_SPARSE"] == "true"
    assert "OCI_PASSWORD" not in plain
