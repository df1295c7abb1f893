"""The command as it is run: exit statuses, what it prints, the report's files."""

import _thread
import os
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml

from conformance.check import registered
from conformance.client import Credentials
from conformance.command import main
from tests.unit.conformance.serving import PASSWORD, USER, Asking, certificate, serving, tiny
from tests.unit.conformance.tiny import Answer, Request, Tiny

ROOT = Path(__file__).resolve().parents[3]


def program(folder: Path, *, passed: int = 2, failures: int = 0) -> Path:
    """A script that writes a report as the official suite does."""
    cases = '<testcase name="T/one" time="0.1" status="passed"/>' * passed
    cases += '<testcase name="T/two" status="failure"><system-out>why \u00e9</system-out></testcase>' * failures
    text = f'<testsuites tests="{passed + failures}" failures="{failures}"><testsuite>{cases}</testsuite></testsuites>'
    script = folder / "official-suite"
    script.write_text(f"#!/bin/sh\ncat > junit.xml <<'END'\n{text}\nEND\nexit {min(failures, 1)}\n")
    script.chmod(0o755)
    return script


@pytest.fixture(autouse=True)
def no_credentials_of_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONFORMANCE_USERNAME", "CONFORMANCE_PASSWORD"):
        monkeypatch.delenv(name, raising=False)


def junit(folder: Path) -> ElementTree.Element:
    return ElementTree.parse(folder / "junit.xml").getroot()  # noqa: S314 # we wrote it


def test_a_registry_that_conforms(capsys: pytest.CaptureFixture[str]) -> None:
    with tiny() as url:
        assert main(["--url", url + "/", "--only", "pulling-manifests/"]) == 0
    printed = capsys.readouterr()
    assert f"{url} conforms (" in printed.out
    assert "PASS  MUST   pulling-manifests/get-by-tag\n" in printed.out
    assert printed.err == ""


def test_a_failed_must_is_status_1_and_a_failed_should_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    with tiny("no digest header", "parameters on types") as url:
        assert main(["--url", url, "--only", "pulling-manifests/content-type"]) == 0
        assert main(["--url", url, "--only", "pulling-manifests/digest-header"]) == 1
    out = capsys.readouterr().out
    assert "SHOULD pulling-manifests/content-type: The Content-Type of a manifest is the one" in out
    assert f"{url} does not conform (1 of {len(registered())} checks in " in out


def test_the_command_run_as_a_module(tmp_path: Path) -> None:
    with tiny("support is 500") as url:
        done = subprocess.run(
            [sys.executable, "-m", "conformance", "--url", url, "--only", "determining", "--report", str(tmp_path)],
            cwd=ROOT,
            env=dict(os.environ),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == ""
    assert "FAIL  MUST   determining-support/v2: GET /v2/ answered 500, expected 200" in done.stdout
    assert sorted(file.name for file in tmp_path.iterdir()) == ["junit.xml", "report.html", "results.yaml"]


def test_a_registry_that_cannot_be_reached_is_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with tiny() as url:
        pass
    assert main(["--url", url]) == 2
    assert capsys.readouterr().err.startswith(f"conformance: {url} cannot be reached: GET /v2/: ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--url"),
        (["--url", "127.0.0.1:5000"], "does not look like http://HOST:PORT"),
        (["--url", "http://127.0.0.1:99999"], "is no URL"),
        (["--url", "http://user:secret@127.0.0.1:1"], "give --username and --password"),
        (["--url", "http://127.0.0.1:1/v2/"], "goes on after the port"),
        (["--url", "http://127.0.0.1:1", "--repository", "Upper"], "'Upper' is no repository name"),
        (["--url", "http://127.0.0.1:1", "--nonsense"], "--nonsense"),
    ],
)
def test_wrong_arguments_are_status_2(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert "secret" not in printed.err


def test_a_pattern_that_matches_nothing_and_a_program_that_is_none_are_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with tiny() as url:
        assert main(["--url", url, "--only", "nonsense"]) == 2
        assert main(["--url", url, "--official", str(tmp_path / "missing")]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "conformance: no check matches nonsense",
        f"conformance: {tmp_path / 'missing'} is no program that can be run",
    ]


def test_credentials(capsys: pytest.CaptureFixture[str]) -> None:
    for scheme in ("basic", "bearer"):
        with serving(Asking(scheme, Tiny())) as url:
            named = ["--url", url, "--only", "get-by-digest", "--username", USER, "--password"]
            assert main([*named, PASSWORD]) == 0
            assert main([*named, "wrong"]) == 2
            assert main(["--url", url]) == 2
    printed = capsys.readouterr()
    assert PASSWORD not in printed.out + printed.err
    assert "refuses these credentials" in printed.err
    assert "does not let us in: no token from /token: it answered 401" in printed.err
    assert "asks for credentials: give --username, --password" in printed.err


def test_the_report_holds_every_check_and_the_official_suite(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "report"
    faults = ("no digest header", "no ranges", "parameters on types")
    arguments = ["--only", "pulling-", "--repository", "some/where", "--report", str(folder)]
    with tiny(*faults) as url:
        arguments += ["--url", url, "--official", str(program(tmp_path, failures=1))]
        assert main(arguments) == 1
    value = yaml.safe_load((folder / "results.yaml").read_text(encoding="utf-8"))
    assert value["url"] == url
    assert value["conforming"] is False
    assert value["repositories"].startswith("some/where/")
    outcomes = {one["name"]: one for one in value["checks"]}
    assert outcomes["pulling-manifests/get-by-tag"]["outcome"] == "pass"
    assert "message" not in outcomes["pulling-manifests/get-by-tag"]
    failed = outcomes["pulling-manifests/digest-header"]
    assert (failed["outcome"], failed["level"], failed["section"]) == ("fail", "MUST", "Pulling manifests")
    assert failed["message"].endswith("without the header Docker-Content-Digest")
    assert any(line.endswith("-> 201") for line in failed["exchanges"])
    assert outcomes["pulling-blobs/range-closed"]["outcome"] == "not applicable"
    assert outcomes["pulling-blobs/range-closed"]["see"] == "pulling-blobs/range-is-supported"
    counted = sum(count for level in value["counts"].values() for count in level.values())
    assert counted == len(value["checks"])
    assert value["official"]["passed"] == 2
    assert value["official"]["not_passed"] == [{"name": "T/two", "status": "failed", "message": "why \u00e9"}]

    root = junit(folder)
    cases = {case.get("name"): case for case in root.iter("testcase")}
    assert int(root.attrib["tests"]) == len(list(root.iter("testcase"))) == len(outcomes) + 3
    assert int(root.attrib["failures"]) == 2 == len(list(root.iter("failure")))
    assert cases["pulling-manifests/digest-header"].find("failure") is not None
    skipped = cases["pulling-manifests/content-type"].find("skipped")
    assert skipped is not None
    assert skipped.attrib["message"].startswith("SHOULD is not met: ")
    assert [suite.get("name") for suite in root] == ["distribution-spec", "official"]
    assert (folder / "official" / "output.txt").exists()


def test_the_official_suite_decides_the_status_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    only = ["--only", "determining"]
    with tiny() as url:
        assert main(["--url", url, *only, "--official", str(program(tmp_path))]) == 0
        assert main(["--url", url, *only, "--official", str(program(tmp_path, failures=1))]) == 1
        silent = tmp_path / "silent"
        silent.write_text("#!/bin/sh\n")
        silent.chmod(0o755)
        assert main(["--url", url, *only, "--official", str(silent), "--report", str(tmp_path / "report")]) == 1
    out = capsys.readouterr().out
    assert "Official suite: 2 passed, 0 failed, 0 errors, 0 skipped, 0 disabled\n" in out
    assert "  failed: T/two: why \u00e9\n" in out
    assert f"  {silent} ended with status 0; it wrote no junit.xml\n" in out
    root = junit(tmp_path / "report")
    assert [error.get("message") for error in root.iter("error")] == [
        f"{silent} ended with status 0; it wrote no junit.xml"
    ]


def test_a_report_stays_well_formed_whatever_the_registry_sends(tmp_path: Path) -> None:
    odd = 'a "quoted" # \u00e9 \U0001f40d ]]> &amp; <b> : - \\n %'
    body = (
        b'{"errors":[{"code":"\\u0000\\u001b\\uffff\\ud800 ' + odd.replace('"', '\\"').replace("\\n", "\\\\n").encode()
    )
    with serving(lambda request: Answer(418, {}, body + b'"}]}')) as url:
        assert main(["--url", url, "--only", "*/v2", "--report", str(tmp_path)]) == 1
    [check] = yaml.safe_load((tmp_path / "results.yaml").read_text(encoding="utf-8"))["checks"]
    assert check["message"] == f"GET /v2/ answered 418 (\ufffd\ufffd\ufffd\ufffd {odd}), expected 200"
    failure = next(junit(tmp_path).iter("failure"))
    assert failure.attrib["message"] == check["message"]


def test_a_report_that_cannot_be_written_is_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    with tiny() as url:
        assert main(["--url", url, "--only", "determining", "--report", str(tmp_path / "file" / "report")]) == 2
    assert "conformance: the report cannot be written: " in capsys.readouterr().err


def test_levels_that_fail_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    only = ["--only", "listing-tags/link", "--only", "pulling-manifests/content-type"]
    with tiny("no Link") as url:
        arguments = ["--url", url, *only, "--fail-on"]
        assert [main([*arguments, level]) for level in ("must", "should", "may")] == [0, 0, 1]
        assert main([*arguments, "MAY", "--report", str(tmp_path)]) == 1
    assert f"{url} conforms, but not in all that it MAY do (" in capsys.readouterr().out
    with tiny("parameters on types") as url:
        arguments = ["--url", url, *only, "--fail-on"]
        assert [main([*arguments, level]) for level in ("must", "should", "may")] == [0, 1, 1]
    assert [failure.get("type") for failure in junit(tmp_path).iter("failure")] == ["MAY"]
    value = yaml.safe_load((tmp_path / "results.yaml").read_text(encoding="utf-8"))
    assert (value["conforming"], value["ok"], value["fail_on"]) == (True, False, "MAY")


def test_what_was_pushed_is_removed_unless_it_is_to_be_kept(capsys: pytest.CaptureFixture[str]) -> None:
    for more, left in (([], False), (["--keep"], True)):
        registry = Tiny()
        with serving(registry.handle) as url:
            assert main(["--url", url, "--only", "nested-index", "--only", "first-chunk", *more]) == 0
        stored = [*registry.uploads, *(one for r in registry.repositories.values() for one in (*r.manifests, *r.blobs))]
        assert bool(stored) == left
        assert ("Removed " in capsys.readouterr().out) != left


def test_a_registry_that_deletes_nothing_says_so_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with tiny("no deletion") as url:
        assert main(["--url", url, "--only", "get-by-digest", "--report", str(tmp_path)]) == 0
    removal = yaml.safe_load((tmp_path / "results.yaml").read_text(encoding="utf-8"))["removal"]
    assert removal == {"removed": 0, "left": 6, "reason": "DELETE of a manifest answered 405"}
    assert "6 are left in conformance/" in capsys.readouterr().out


def test_an_interrupted_run_removes_what_it_pushed(capsys: pytest.CaptureFixture[str]) -> None:
    registry, asked = Tiny(), []

    def interrupted(request: Request) -> Answer:
        asked.append(request.method)
        if len(asked) == 12:  # the first GET
            _thread.interrupt_main()
        return registry.handle(request)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may ignore it
    try:
        with serving(interrupted) as url:
            assert main(["--url", url, "--only", "get-by-digest"]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == "conformance: interrupted\n"
    assert asked[11:13] == ["GET", "DELETE"]
    assert not [one for r in registry.repositories.values() for one in (*r.manifests, *r.blobs)]


def test_credentials_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CONFORMANCE_PASSWORD", PASSWORD)
    with serving(Asking("basic", Tiny(["no digest header"]))) as url:
        arguments = ["--url", url, "--only", "digest-header", "--report", str(tmp_path)]
        assert main(arguments) == 2
        assert main([*arguments, "--username", USER]) == 1
        monkeypatch.setenv("CONFORMANCE_USERNAME", USER)
        assert main(arguments) == 1
        assert main([*arguments, "--password", "wrong"]) == 2
        monkeypatch.delenv("CONFORMANCE_USERNAME")
        assert main([*arguments, "--password", PASSWORD]) == 2
    printed = capsys.readouterr()
    assert printed.err.endswith("conformance: there is a password, but no user: give --username\n")
    shown = printed.out + printed.err + "".join(file.read_text() for file in tmp_path.iterdir())
    assert "Authorization: Basic ***" in shown
    assert not [word for word in Credentials(USER, PASSWORD).secrets() if word in shown]


def test_the_list_of_checks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(registered())
    assert main(["--list", "--only", "warnings/", "--only", "*/v2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "MUST   determining-support/v2: GET /v2/ answers 200."
    assert lines[1].startswith("MUST   warnings/warnings: Each Warning in the whole run")


def test_tls_that_is_not_trusted_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(Tiny().handle, tls=certificate(tmp_path)) as url:
        assert main(["--url", url]) == 2
    [said] = capsys.readouterr().err.splitlines()
    assert said.startswith(f"conformance: {url} cannot be reached: GET /v2/: ")
    assert "CERTIFICATE_VERIFY_FAILED" in said
    assert said.endswith("; for a certificate of your own, set SSL_CERT_FILE")


def test_a_certificate_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pem = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    with serving(Tiny().handle, tls=pem) as url:
        assert main(["--url", url, "--only", "get-by-tag"]) == 0


@pytest.mark.parametrize("missing", ["httpx", "jinja2"])
def test_a_missing_dependency_is_named_with_what_brings_it(missing: str) -> None:
    hidden = f"import runpy, sys; sys.modules['{missing}'] = None; runpy.run_module('conformance', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", hidden], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == f"conformance: {missing} is missing: pip install 'stowage[conformance]' brings it\n"
