"""`stowage scrub`: read what is stored, have nobody served what is damaged, and take right bytes from elsewhere."""

import json
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from registry.cli.database import registry_settings
from registry.cli.opened import in_registry
from registry.cli.options import ConfigOption, DataOption, JsonOption, examples, fail, parser_of
from registry.cli.progress import bar, shown, size
from registry.db import scrub as scrub_rows
from registry.db.connection import Transaction
from registry.logs import escaped
from registry.opened import Opened
from registry.services.scrub import Finding, Outcome, Pace, Scrubber
from registry.services.scrub_source import Folder, Origin, Registry, Source
from registry.setting_types import DurationOrNone, Size
from registry.settings import SOURCE_LOGIN, SettingsError, source_login
from storage.remote import Login, NotARegistry, RemoteRegistry

EXAMPLES = examples(
    "stowage scrub",
    "stowage scrub --older-than 7d --rate 100MiB",
    "stowage scrub --quarantined --from /mnt/backup/stowage --data /var/lib/stowage",
    "stowage scrub --quarantined --from https://registry.example.org",
    "stowage scrub --json --data /var/lib/stowage",
)
FOUND = 3
"""Exit status of a run that came to its end and found something that is still wrong."""

_MOST = 1_000_000_000


_duration = parser_of(DurationOrNone, "a duration like 0s, 12h, 7d or 4w")
_rate = parser_of(Size, "a size like 20MiB; 0 is without limit")

AgeOption = Annotated[
    int,
    typer.Option(
        "--older-than",
        metavar="TIME",
        help="Leave out what was found right since. [default: 0s, read everything]",
        parser=_duration,
        show_default=False,
    ),
]
RateOption = Annotated[
    int | None,
    typer.Option(
        "--rate",
        metavar="SIZE",
        help="Most bytes a second, instead of `scrub.rate`; 0 is without limit.",
        parser=_rate,
        show_default=False,
    ),
]
FromOption = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="DIR|URL",
        help="Take the bytes of damaged blobs from there: storage of Stowage or of CNCF distribution, an OCI layout; "
        f"or another registry, https://HOST, with NAME:PASSWORD in ${SOURCE_LOGIN} if it asks for that.",
        show_default=False,
    ),
]
OnlyOption = Annotated[bool, typer.Option("--quarantined", help="Read only what is in quarantine already.")]
StrictOption = Annotated[
    bool,
    typer.Option(
        "--unreadable", help="Quarantine also what can't be read, again and again, though the storage answers."
    ),
]


def scrub(
    older_than: AgeOption = 0,
    rate: RateOption = None,
    source: FromOption = None,
    quarantined: OnlyOption = False,
    unreadable: StrictOption = False,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read blobs, compare them with their digests, and have nobody served what is damaged.

    A blob whose bytes are wrong, or missing, is quarantined: it counts as not there until it is pushed again, or its
    bytes are right again, or --from has them. Servers do this by themselves, slowly (`scrub.every`); pushes and pulls
    go on meanwhile, and both may be at it at once. To go on after an interruption, say --older-than.

    Exit status: 0 if everything was right, 3 if something is damaged, 1 if it failed.
    """
    settings = registry_settings(config, data)
    remote = _remote(source)
    pace = Pace(settings.scrub.rate if rate is None else rate)
    report = _Report(as_json=as_json)

    async def run(opened: Opened) -> int:
        async with AsyncExitStack() as stack:
            elsewhere = None
            if source is not None:
                origin = await _origin(source, remote, opened)
                stack.push_async_callback(origin.close)
                elsewhere = Source(origin, opened.database, opened.driver)
            scrubber = Scrubber(
                opened.database,
                opened.stores,
                pace,
                told=report.tell,
                replace=None if elsewhere is None else elsewhere.replace,
                strict=unreadable,
            )
            if sys.stderr.isatty() and not quarantined:
                report.blobs, _ = await scrub_rows.total(opened.database)
            await scrubber.run(_unfenced, every_s=older_than, quarantined_only=quarantined, outcome=report.outcome)
            report.trouble = "" if elsewhere is None else elsewhere.trouble
            return await scrub_rows.count_quarantined(opened.database, most=_MOST)

    with shown(report.progress, sys.stderr):
        left = in_registry(settings, run)
    report.end(left)
    if report.wrong:
        raise typer.Exit(FOUND)


def _remote(source: str | None) -> RemoteRegistry | None:
    """Return the registry that an address names; None for a folder. Ends the command if it is neither."""
    if source is None or "://" not in source:
        return None
    try:
        login = source_login()
        return RemoteRegistry(source, None if login is None else Login(*login))
    except (NotARegistry, SettingsError) as error:
        fail(f"--from: {error}")


async def _origin(source: str, remote: RemoteRegistry | None, opened: Opened) -> Origin:
    """Open the other place. Raises StorageUnavailable if there are no blobs, or nobody answers."""
    if remote is None:
        return Folder(Path(source), opened.driver)
    await remote.check()
    return Registry(remote, opened.database, opened.driver)


async def _unfenced(transaction: Transaction) -> None:
    """Let every transaction be: a row is changed only if it still is what was read, whoever else scrubs."""


class _Report:
    """Collects what was found, of which there is little, and prints it.

    Attributes:
        blobs: how many there are, as far as is known.
        wrong: how many are damaged and were not repaired.
        trouble: what was wrong with the place to take bytes from.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._found: list[dict[str, Any]] = []
        self.outcome = Outcome()
        self.blobs = 0
        self.wrong = 0
        self.trouble = ""

    def tell(self, finding: Finding) -> None:
        """Take in a finding."""
        self.wrong += not finding.repaired
        if self._as_json:
            self._found.append(_described(finding))
        else:
            typer.echo(escaped(_sentence(finding)))

    def progress(self) -> str:
        """Return the line on the terminal."""
        done = self.outcome
        return f"{bar(done.blobs, self.blobs)}{done.blobs:,} blobs, {size(done.bytes)}, {done.found:,} damaged"

    def end(self, quarantined: int) -> None:
        """Print what all came to. `quarantined`: how many are now."""
        done = self.outcome
        if self._as_json:
            totals = {
                "blobs": done.blobs,
                "bytes": done.bytes,
                "damaged": done.found,
                "repaired": done.found - self.wrong,
                "recovered": done.recovered,
                "quarantined": quarantined,
            }
            found = {"found": self._found, "trouble": self.trouble or None, "summary": totals}
            typer.echo(json.dumps(found, indent=2))
            return
        if self.trouble:
            typer.echo(escaped(f"what --from has could not always be used; the last was {self.trouble}"))
        repaired = done.found - self.wrong
        typer.echo(
            f"{done.blobs:,} blobs read, {size(done.bytes)}: {done.found:,} damaged, {repaired:,} of them repaired; "
            f"{done.recovered:,} are right again; {quarantined:,} in quarantine now"
        )


def _described(finding: Finding) -> dict[str, Any]:
    blob = finding.blob
    return {
        "fault": finding.fault,
        "digest": blob.digest,
        "size": blob.size,
        "store": blob.store,
        "key": blob.key,
        "why": finding.why,
        "repositories": list(finding.repositories),
        "quarantined": finding.quarantined and not finding.repaired,
        "repaired": finding.repaired,
    }


def _sentence(finding: Finding) -> str:
    blob = finding.blob
    fate = "repaired" if finding.repaired else "quarantined" if finding.quarantined else "left as it is"
    seen = ", ".join(finding.repositories[:3]) + (", ..." if len(finding.repositories) > 3 else "")
    return (
        f"{finding.fault} {blob.digest}: {finding.why}; {fate} (store {blob.store}, key {blob.key}, in {seen or '-'})"
    )
