"""`stowage gc`: give back the space of what nobody needs any more, or say what would go, and what keeps it."""

import json
import sys
from typing import Annotated, Any

import typer

from registry.cli.database import in_database, registry_settings
from registry.cli.leases import take_lease
from registry.cli.opened import in_registry
from registry.cli.options import ConfigOption, DataOption, JsonOption, examples, fail, parser_of
from registry.cli.progress import shown, size
from registry.cli.times import shown_time
from registry.db import candidates, doomed, jobs
from registry.db.candidates import Cause, Kind
from registry.db.connection import Database, Reader
from registry.db.doomed import Sum
from registry.db.garbage import LinkFacts, ManifestFacts
from registry.jobs.collect import LEASE_S, NAME
from registry.jobs.runner import LeaseLost, Paused
from registry.opened import Opened
from registry.services.collection import Collected, Collector, Explained, explain
from registry.services.maintenance import Maintenance
from registry.services.retention import Keeper, Rules, rules_of
from registry.setting_types import DurationOrNone
from registry.settings import Settings

EXAMPLES = examples(
    "stowage gc --dry-run",
    "stowage gc --dry-run --json --data /var/lib/stowage",
    "stowage gc --now",
    "stowage gc --now --grace 0s --window 0s",
)
_MOST = 1_000_000
_CAUSES = {
    Cause.UPLOADED: "nothing has referred to it since it was uploaded or mounted",
    Cause.DELETED: "deleted",
    Cause.UNTAGGED: "no tag names it",
    Cause.INDEX_GONE: "the index that listed it is gone",
    Cause.SUBJECT_GONE: "what it refers to is gone",
    Cause.MANIFEST_GONE: "the manifest that referred to it is gone",
    Cause.EMPTIED: "nothing is left in it",
}
_KINDS = {Kind.MANIFEST: "manifest", Kind.LINK: "blob", Kind.REPOSITORY: "repository"}


_duration = parser_of(DurationOrNone, "a duration like 0s, 30m, 24h or 14d")

GraceOption = Annotated[
    int | None,
    typer.Option(
        "--grace",
        metavar="TIME",
        help="Instead of `collection.grace`. Holds and the history window last all the same.",
        parser=_duration,
        show_default=False,
    ),
]
WindowOption = Annotated[
    int | None,
    typer.Option(
        "--window",
        metavar="TIME",
        help="Instead of `history.window`: what is older can't be had back afterwards.",
        parser=_duration,
        show_default=False,
    ),
]


def gc(
    now: Annotated[bool, typer.Option("--now", help="Collect, and wait until it is done.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Change nothing: say what is garbage, why, and what keeps it meanwhile.")
    ] = False,
    grace: GraceOption = None,
    window: WindowOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give back the space of what nobody needs any more.

    Servers do this by themselves, every `collection.interval`; pushes and pulls go on meanwhile. With --now it is
    done at once, and as fast as it goes. If a server is at it, the command waits for that.
    """
    if now == dry_run:
        raise typer.TyperException("say either --now, to collect, or --dry-run, to see what would go")
    settings = registry_settings(config, data)
    rules = rules_of(settings, grace_s=grace, window_s=window)
    if dry_run:
        in_database(settings, lambda database: _show(database, rules, settings.backup.window, as_json=as_json))
    else:
        collected, waiting, held = in_registry(settings, lambda opened: _collect(opened, settings, rules))
        if as_json:
            typer.echo(json.dumps(_counts(collected, waiting, held)))
            return
        typer.echo(_told(collected))
        if waiting:
            typer.echo(f"{waiting} more wait for their time: `stowage gc --dry-run` says which, and what keeps them")
        if held.objects:
            typer.echo(_told_held(held))


async def _collect(opened: Opened, settings: Settings, rules: Rules) -> tuple[Collected, int, Sum]:
    """Collect under the lease that servers take, or end the command with what is wrong.

    Return what was removed, how many candidates are left, and what stays for the sake of copies of the database. The
    next run is due `collection.interval` later.
    """
    window_s = settings.backup.window
    database, resting, progress = opened.database, Maintenance(opened.database), _Progress()
    try:
        await resting.start()
        with shown(lambda: progress.text, sys.stderr):
            lease = await take_lease(
                database,
                NAME,
                lease_s=LEASE_S,
                command="stowage gc",
                waiting=progress.wait,
                paused=lambda: resting.on,
            )
            collector = Collector(database, opened.stores, rules, window_s=window_s, told=progress.tell)
            async with lease.kept():
                collected = await collector.run(lease.confirm, everything=True)
            await lease.give_back(pause_s=settings.collection.interval)
            waiting = await candidates.count(database, most=_MOST)
            held = await _held(database, window_s)
    except LeaseLost:
        fail("another process collects now: this one was held up for too long, and stopped")
    except Paused:
        fail("the registry is read-only for maintenance, and collection rests: `stowage maintenance off` ends that")
    finally:
        await resting.stop()
    return collected, waiting, held


class _Progress:
    """What the line on the terminal says."""

    text = ""

    def tell(self, done: Collected) -> None:
        """Say what was collected so far."""
        self.text = _told(done)

    def wait(self, holder: str) -> None:
        """Say who collects now."""
        self.text = f"waiting: {holder} is collecting"


async def _held(reader: Reader, window_s: int) -> Sum:
    return await doomed.held(reader, await doomed.limit(reader, window_s=window_s), most=_MOST)


def _told_held(held: Sum) -> str:
    return (
        f"{held.objects} blobs, {size(held.bytes)}, stay for copies of the database: `stowage backup list` shows them"
    )


def _counts(collected: Collected, waiting: int, held: Sum) -> dict[str, int]:
    return {
        "blobs": collected.objects,
        "bytes": collected.bytes,
        "manifests": collected.manifests,
        "links": collected.links,
        "repositories": collected.repositories,
        "waiting": waiting,
        "keptForBackups": held.objects,
        "keptForBackupsBytes": held.bytes,
    }


def _told(collected: Collected) -> str:
    return (
        f"{collected.objects} blobs deleted, {size(collected.bytes)} freed; {collected.manifests} manifests, "
        f"{collected.links} links and {collected.repositories} repositories removed"
    )


class _Summary:
    """Adds up what was shown."""

    def __init__(self) -> None:
        self.now = {"candidates": 0, "bytes": 0}
        self.later = {"candidates": 0, "bytes": 0}
        self.kept = {"manifests": 0, "bytes": 0}

    def add(self, one: Explained, *, due: bool) -> None:
        """Count a candidate."""
        if one.verdict.keeper is Keeper.SETTING:
            self.kept["manifests"] += 1
            self.kept["bytes"] += one.frees
            return
        into = self.now if due else self.later
        into["candidates"] += 1
        into["bytes"] += one.frees

    def __str__(self) -> str:
        text = (
            f"{self.now['candidates']} could go now, which frees {size(self.now['bytes'])} at least; "
            f"{self.later['candidates']} later, {size(self.later['bytes'])} at least"
        )
        if self.kept["manifests"]:
            text += (
                f"\n{self.kept['manifests']} manifests without a tag stay, since collection.untagged is keep: "
                f"{size(self.kept['bytes'])} at least"
            )
        return text


async def _show(database: Database, rules: Rules, window_s: int, *, as_json: bool) -> None:
    """Print candidates as they are found: there may be many."""
    clock, summary = await jobs.clock(database), _Summary()
    first = True
    if as_json:
        typer.echo('{"candidates": [')
    async for one in explain(database, rules):
        due = one.verdict.until is not None and one.verdict.until <= clock
        summary.add(one, due=due)
        if one.verdict.keeper is Keeper.SETTING:
            continue  # all that are untagged: they are counted
        if as_json:
            typer.echo(f"{'' if first else ','}{json.dumps(_described(one, due=due))}")
            first = False
        else:
            typer.echo(_sentence(one, due=due))
    held = await _held(database, window_s)
    if as_json:
        totals = {
            "now": summary.now,
            "later": summary.later,
            "keptUntagged": summary.kept,
            "keptForBackups": {"blobs": held.objects, "bytes": held.bytes},
        }
        typer.echo(f'], "summary": {json.dumps(totals)}}}')
        return
    typer.echo(str(summary))
    if held.objects:
        typer.echo(_told_held(held))


def _described(one: Explained, *, due: bool) -> dict[str, Any]:
    """Return what `--json` shows of a candidate."""
    facts, until = one.facts, one.verdict.until
    described: dict[str, Any] = {"kind": _KINDS[one.candidate.kind], "repository": facts.repository}
    if isinstance(facts, ManifestFacts | LinkFacts):
        described["digest"] = facts.digest
    return {
        **described,
        "why": _CAUSES[one.candidate.cause],
        "since": shown_time(one.candidate.since),
        "keptBy": None if due else one.verdict.keeper.value,
        "until": None if due or until is None else shown_time(until),
        "frees": one.frees,
    }


def _sentence(one: Explained, *, due: bool) -> str:
    """Return the same as a line."""
    facts, (keeper, until) = one.facts, one.verdict
    what = f"{_KINDS[one.candidate.kind]} {facts.repository}"
    if isinstance(facts, ManifestFacts | LinkFacts):
        what += f"@{facts.digest}"
    fate = "goes" if due else f"kept: {keeper.value}" + ("" if until is None else f", until {shown_time(until)}")
    why = f"{_CAUSES[one.candidate.cause]}, since {shown_time(one.candidate.since)}"
    return f"{what}: {why}; {fate}; frees {size(one.frees)}"
