"""`stowage fsck`: compare database and storage both ways, say what is wrong, and repair it."""

import json
import sys
import time
from typing import Annotated, Any

import typer

from registry.cli.database import registry_settings
from registry.cli.opened import in_registry
from registry.cli.options import ConfigOption, DataOption, JsonOption, examples
from registry.cli.progress import shown
from registry.logs import escaped
from registry.opened import Opened
from registry.services.fsck import Fsck
from registry.services.fsck_report import REPAIRS, Found, Report
from registry.services.retention import rules_of

EXAMPLES = examples(
    "stowage fsck",
    "stowage fsck --json --data /var/lib/stowage",
    "stowage fsck --repair --config /etc/stowage/stowage.yaml",
)
FOUND = 3
"""Exit status of a run that came to its end and found something."""


def fsck(
    repair: Annotated[
        bool, typer.Option("--repair", help="Do what is said of each finding. Nothing that is right is touched.")
    ] = False,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the database with itself and with the storage, both ways, and say what is wrong.

    Servers may run meanwhile. The content of blobs is not read: `stowage scrub` does that. Nothing is
    deleted from storage that was taken over from another registry.

    Exit status: 0 if nothing is wrong, 3 if something is (or was, with --repair), 1 if the check failed.
    """
    settings = registry_settings(config, data)
    printer = _Printer(as_json=as_json)
    report = Report(printer.tell)

    async def run(opened: Opened) -> None:
        checking = Fsck(opened.database, opened.stores, opened.driver, rules_of(settings), report, repair=repair)
        await checking.run(time.time())

    with shown(lambda: _progress(report), sys.stderr):
        in_registry(settings, run)
    printer.end(report, repair=repair)
    if report.found:
        raise typer.Exit(FOUND)


def _progress(report: Report) -> str:
    figures = ", ".join(f"{count:,} {kind}" for kind, count in report.looked_at.items())
    return f"{report.doing}: {figures or 'nothing yet'}; {report.found:,} found"


class _Printer:
    """Prints findings as they come: there may be many."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._is_first = True

    def tell(self, found: Found) -> None:
        """Print a finding."""
        if self._as_json:
            typer.echo(f"{self._separator()}{json.dumps(_described(found))}")
        else:
            typer.echo(escaped(_sentence(found)))

    def end(self, report: Report, *, repair: bool) -> None:
        """Print what all came to."""
        looked_at = {kind: report.looked_at[kind] for kind in sorted(report.looked_at)}
        if self._as_json:
            counts = {str(problem): count for problem, count in sorted(report.problems.items())}
            summary = {
                "found": report.found,
                "repaired": report.repaired,
                "problems": counts,
                "lookedAt": looked_at,
            }
            opening = '{"findings": [\n' if self._is_first else ""
            typer.echo(f'{opening}], "summary": {json.dumps(summary)}}}')
            return
        figures = ", ".join(f"{count:,} {kind}" for kind, count in looked_at.items())
        text = f"{report.found:,} found" if report.found else "nothing is wrong"
        if repair:
            text += f", {report.repaired:,} repaired"
        typer.echo(f"{text}; looked at {figures or 'nothing, since nothing is there'}")
        if report.found and not repair:
            typer.echo("--repair does what is said of each")

    def _separator(self) -> str:
        first, self._is_first = self._is_first, False
        return '{"findings": [\n' if first else ","


def _described(found: Found) -> dict[str, Any]:
    return {
        "problem": found.problem,
        "subject": found.subject,
        "message": found.message,
        "repair": REPAIRS[found.problem] or None,
        "repaired": found.repaired,
    }


def _sentence(found: Found) -> str:
    repair = REPAIRS[found.problem]
    if found.repaired:
        fate = "repaired"
    else:
        fate = f"--repair {repair}" if repair else "a person has to look at this"
    return f"{found.problem} {found.subject}: {found.message}; {fate}"
