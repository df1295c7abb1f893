"""The command: `python -m conformance --url URL`.

Exit status: 0 when nothing failed that `--fail-on` names (and the official suite, if asked for, passed), 1 otherwise,
2 when the arguments are wrong, the registry cannot be reached or a report cannot be written, 130 when interrupted.
"""

import argparse
import os
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from conformance import official, report, reports, runner
from conformance.check import Check, Level
from conformance.client import TIMEOUT, Client, ClientError, Credentials, TokenError
from conformance.leftovers import Removal
from conformance.progress import Progress
from conformance.trial import Names

CONFORMING, NOT_CONFORMING, NOT_RUN, INTERRUPTED = 0, 1, 2, 130
USERNAME, PASSWORD = "CONFORMANCE_USERNAME", "CONFORMANCE_PASSWORD"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if not (options.url or options.list):
        parser.error("the following arguments are required: --url")
    checks = runner.select(options.only)
    if not checks:
        return _give_up(f"no check matches {' or '.join(options.only)}")
    if options.list:
        return _list(checks)
    program = official.find(options.official) if options.official else None
    if options.official and program is None:
        return _give_up(f"{options.official} is no program that can be run")
    try:
        credentials = _credentials(options)
    except ValueError as error:
        return _give_up(str(error))
    progress = Progress()
    try:
        with Client(options.url, credentials, options.timeout) as client:
            problem = _unreachable(client)
            if problem:
                return _give_up(client.secrets.line(problem, runner.LONGEST_TEXT))
            found = _run(options, checks, client, program, progress)
    except KeyboardInterrupt:
        progress.passing("")
        _give_up("interrupted")
        return INTERRUPTED
    for line in report.summary(found):
        progress.line(line)
    if options.report is not None:
        try:
            reports.write(found, options.report)
        except OSError as error:
            return _give_up(f"the report cannot be written: {error}")
        progress.line(f"Reports: {options.report}/report.html, results.yaml, junit.xml")
    return CONFORMING if found.ok else NOT_CONFORMING


def _run(
    options: argparse.Namespace, checks: Sequence[Check], client: Client, program: str | None, progress: Progress
) -> report.Report:
    """Run the checks, and the official suite, and remove what they pushed."""
    names = Names(options.repository)
    started, begun = datetime.now(UTC), time.monotonic()
    theirs = None
    try:
        results = runner.run(checks, client, names, progress)
        if program is not None:
            theirs = _run_official(options, program, names, client, progress)
    finally:
        removal = _remove(options, client, progress)
    return report.Report(
        url=options.url,
        repositories=f"{names.prefix}/{names.run}",
        started=started,
        seconds=time.monotonic() - begun,
        results=results,
        left_out=len(runner.select([])) - len(results),
        fail_on=options.fail_on,
        official=theirs,
        removal=removal,
    )


def _run_official(
    options: argparse.Namespace, program: str, names: Names, client: Client, progress: Progress
) -> official.OfficialResult:
    with ExitStack() as stack:
        folder = options.report or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder = (folder / "official").resolve()
        variables = official.environment(options.url, names, client.credentials, folder, sparse=options.sparse)
        return official.run(program, variables, folder, progress, secrets=client.secrets)


def _remove(options: argparse.Namespace, client: Client, progress: Progress) -> Removal | None:
    """Remove what was pushed, None when it is to be kept."""
    if options.keep:
        return None

    def ask(method: str, url: str) -> int | None:
        client.forget()
        try:
            return client.request(method, url).status_code
        except ClientError:
            return None

    removal = client.leftovers.remove(ask, lambda done, total: progress.bar(done, total, "removing what was pushed"))
    progress.passing("")
    return removal


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m conformance",
        description="Check a registry against the OCI distribution specification. It pushes into new repositories, and "
        "removes what it pushed where the registry allows that.",
        epilog="Exit status: 0 nothing failed that --fail-on names, 1 something did, 2 wrong arguments, no registry or "
        "no report, 130 interrupted. For a certificate of your own, set SSL_CERT_FILE. NO_COLOR is respected. "
        "Example: python -m conformance --url https://registry.example.org --username me --report build/report",
    )
    parser.add_argument("--url", type=_url, help="the registry, e.g. http://127.0.0.1:5000")
    parser.add_argument("--username", help=f"shown to the registry when it asks (default: ${USERNAME})")
    parser.add_argument(
        "--password",
        help=f"the user's password, or a token that stands for it; better in ${PASSWORD}, since others on this machine "
        "see arguments",
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="PATTERN",
        help="run checks with this in their name, or like a*b; may be given several times",
    )
    parser.add_argument("--list", action="store_true", help="list the checks, level and name and what each requires")
    parser.add_argument(
        "--fail-on",
        type=lambda text: Level(text.upper()),
        choices=list(Level),
        default=Level.MUST,
        metavar="{must,should,may}",
        help="the least binding level that is to be met for status 0 (default: must)",
    )
    parser.add_argument(
        "--repository",
        type=_prefix,
        default="conformance",
        metavar="PREFIX",
        help="repositories are named PREFIX/RUN-..., RUN anew each time (default: %(default)s)",
    )
    parser.add_argument("--keep", action="store_true", help="leave on the registry what was pushed")
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=TIMEOUT,
        metavar="SECONDS",
        help="how long one request may take until its answer is whole (default: %(default)g)",
    )
    parser.add_argument("--report", type=Path, metavar="DIR", help="write report.html, results.yaml, junit.xml there")
    parser.add_argument("--official", metavar="PATH", help="run this program, the official suite, too")
    parser.add_argument(
        "--official-sparse",
        "--sparse",
        dest="sparse",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="for the official suite: the registry is configured to accept manifests of which parts are missing",
    )
    return parser


def _credentials(options: argparse.Namespace) -> Credentials | None:
    """The user and the password, from arguments or the environment.

    Raises:
        ValueError: there is a password, but no user.
    """
    username = options.username or os.environ.get(USERNAME)
    password = options.password if options.password is not None else os.environ.get(PASSWORD, "")
    if not username:
        if options.password:
            raise ValueError("there is a password, but no user: give --username")
        return None
    return Credentials(username, password)


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no URL: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise argparse.ArgumentTypeError(f"{text!r} does not look like http://HOST:PORT or https://HOST:PORT")
    if parts.username is not None or parts.password is not None:
        raise argparse.ArgumentTypeError("the URL holds a user; give --username and --password")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise argparse.ArgumentTypeError(f"{text!r} goes on after the port; a registry's API is at /v2/")
    return f"{parts.scheme}://{parts.netloc}"


def _prefix(text: str) -> str:
    if _NAME.fullmatch(text) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no repository name")
    return text


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 3600")
    return seconds


def _list(checks: Sequence[Check]) -> int:
    for one in checks:
        print(f"{one.level.value:<6} {one.name}: {one.title}")
    return CONFORMING


def _unreachable(client: Client) -> str:
    """Why checks would be pointless; empty when the registry answers and takes our credentials."""
    try:
        response = client.request("GET", "/v2/")
    except TokenError as error:
        return f"{client.url} does not let us in: {error}"
    except ClientError as error:
        return f"{client.url} cannot be reached: {error}"
    if response.status_code in (401, 403):
        asked = (
            "refuses these credentials" if client.credentials else "asks for credentials: give --username, --password"
        )
        return f"{client.url} {asked}"
    return ""


def _give_up(message: str) -> int:
    print(f"conformance: {message}", file=sys.stderr)
    return NOT_RUN
