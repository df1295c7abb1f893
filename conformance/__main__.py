"""The command: `python -m conformance --url URL`.

Exit status: 0 when no MUST failed (and the official suite, if asked for, passed), 1 otherwise, 2 when the arguments are
wrong or the registry cannot be reached.
"""

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from conformance import official, report, runner
from conformance.client import Client, ClientError, Credentials, TokenError
from conformance.trial import Names

CONFORMING, NOT_CONFORMING, NOT_RUN = 0, 1, 2
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = _parser().parse_args(arguments)
    credentials = None
    if options.username is not None:
        credentials = Credentials(options.username, options.password or "")
    names = Names(options.repository)
    progress = runner.Progress()
    checks = runner.select(options.only)
    if not checks:
        return _give_up(f"no check matches {' or '.join(options.only)}")
    program = official.find(options.official) if options.official else None
    if options.official and program is None:
        return _give_up(f"{options.official} is no program that can be run")
    with Client(options.url, credentials) as client, ExitStack() as stack:
        problem = _unreachable(client)
        if problem:
            return _give_up(problem)
        started, begun = datetime.now(UTC), time.monotonic()
        results = runner.run(checks, client, names, progress)
        theirs = None
        if program is not None:
            folder = (options.report or Path(stack.enter_context(tempfile.TemporaryDirectory()))) / "official"
            variables = official.environment(options.url, names, credentials, folder.resolve(), sparse=options.sparse)
            theirs = official.run(program, variables, folder.resolve(), progress)
        prefix = f"{names.prefix}/{names.run}"
        found = report.Report(options.url, prefix, started, time.monotonic() - begun, results, theirs)
    for line in report.summary(found):
        progress.line(line)
    if options.report is not None:
        try:
            report.write(found, options.report)
        except OSError as error:
            return _give_up(f"the report cannot be written: {error}")
    return CONFORMING if found.conforming else NOT_CONFORMING


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m conformance",
        description="Check a registry against the OCI distribution specification. It pushes into new repositories and "
        "removes nothing afterwards.",
        epilog="Exit status: 0 conforms, 1 does not, 2 wrong arguments or no registry. "
        "For a certificate of your own, set SSL_CERT_FILE.",
    )
    parser.add_argument("--url", required=True, type=_url, help="the registry, e.g. http://127.0.0.1:5000")
    parser.add_argument("--username", help="shown to the registry when it asks")
    parser.add_argument("--password", help="the user's password, or a token that stands for it")
    parser.add_argument(
        "--only", action="append", default=[], metavar="PATTERN", help="run checks with this in their name, or like a*b"
    )
    parser.add_argument(
        "--repository",
        type=_prefix,
        default="conformance",
        metavar="PREFIX",
        help="repositories are named PREFIX/RUN-..., RUN anew each time (default: %(default)s)",
    )
    parser.add_argument("--report", type=Path, metavar="DIR", help="write junit.xml and results.yaml there")
    parser.add_argument("--official", metavar="PATH", help="run this program, the official suite, too")
    parser.add_argument(
        "--official-sparse",
        "--sparse",
        dest="sparse",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="the registry is configured to accept manifests of which parts are missing",
    )
    return parser


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


if __name__ == "__main__":
    sys.exit(main())
