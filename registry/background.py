"""What a worker does beside answering requests: its jobs, built from the settings, and what runs them."""

import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Protocol

from registry.errors import Unavailable
from registry.http.context import Context
from registry.jobs import audit as audit_job
from registry.jobs import backup as backup_job
from registry.jobs import collect as collect_job
from registry.jobs import deliver as deliver_job
from registry.jobs import expire as expire_job
from registry.jobs import old_events as old_events_job
from registry.jobs import old_logins as old_logins_job
from registry.jobs import orphans as orphans_job
from registry.jobs import quotas as quotas_job
from registry.jobs import retain as retain_job
from registry.jobs import scrub as scrub_job
from registry.jobs import sequence as sequence_job
from registry.jobs import signing_keys as signing_keys_job
from registry.jobs import stale_uploads as stale_uploads_job
from registry.jobs.audit import look_after_audit
from registry.jobs.backup import backup
from registry.jobs.clock import Clock
from registry.jobs.collect import collect
from registry.jobs.deliver import OUTCOMES
from registry.jobs.delivery_process import DeliveryProcess
from registry.jobs.expire import expire
from registry.jobs.leased import LeasedWork
from registry.jobs.old_events import old_events
from registry.jobs.orphans import orphans
from registry.jobs.quotas import count_quotas
from registry.jobs.retain import retain
from registry.jobs.runner import Job, JobRunner
from registry.jobs.sequence import Sequencer
from registry.jobs.stale_uploads import stale_uploads
from registry.metrics.figures import Figures
from registry.services.audit_lines import Lines
from registry.services.backups import backups_of
from registry.services.collection import Collector
from registry.services.endpoints import configured
from registry.services.quotas import Quotas
from registry.services.retention import rules_of
from registry.services.scrub import Fault, Pace, Scrubber
from registry.services.tag_expiry import TagExpiry
from registry.services.tag_retention import Retention

JOBS = [
    one.NAME
    for one in (
        stale_uploads_job,
        orphans_job,
        old_events_job,
        collect_job,
        backup_job,
        scrub_job,
        signing_keys_job,
        old_logins_job,
        quotas_job,
        audit_job,
        sequence_job,
        expire_job,
        retain_job,
    )
]
"""The names of all jobs, whether the settings ask for them or not."""


async def provide_webhooks(context: Context) -> None:
    """Have webhooks that are new in the settings told of what happens from now on; if need be a little later."""
    with suppress(Unavailable):
        await deliver_job.provide(context.database, configured(context.settings.webhooks))


class Runner(Protocol):
    """What does something all the time."""

    def start(self) -> None:
        """Begin, in a task of its own."""

    async def stop(self) -> None:
        """Stop at once."""


def build_runners(context: Context, figures: Figures, instance: str, more: list[Job]) -> list[Runner]:
    """Return what runs the jobs: one after the other those that are done soon, and beside them those that are not.

    And what else goes on beside requests.

    Args:
        more: jobs that are done soon.
    """
    settings, database, driver, feed = context.settings, context.database, context.driver, context.feed
    jobs = [
        stale_uploads(database, driver, context.uploads, expire_s=settings.uploads.expire),
        orphans(database, driver),
        old_events(database, keep_s=settings.events.keep),
        count_quotas(Quotas(database)),
        look_after_audit(
            database,
            Lines(database, file=settings.audit.file, stdout=settings.audit.stdout),
            keep_s=settings.audit.keep,
            enabled=settings.requests_are_audited,
        ),
        *more,
    ]
    audited = settings.requests_are_audited
    if settings.retention.labels:
        expiry = TagExpiry(database, audited=audited, told=_counting(figures, "expiry"))
        jobs.append(expire(expiry))
    if settings.collection.enabled:
        collector = Collector(
            database,
            context.stores,
            rules_of(settings),
            rate=settings.collection.rate,
            window_s=settings.backup.window,
        )
        figures.follow(lambda: collector.objects, "collection_objects")
        figures.follow(lambda: collector.bytes, "collection_bytes")
        age_s = max(settings.collection.grace, 2 * settings.collection.hold)
        jobs.append(collect(collector, every_s=settings.collection.interval, age_s=age_s))
    backups = backups_of(settings, database, driver, instance=instance)
    if settings.backup.enabled and backups is not None:  # the last: it may take long
        jobs.append(backup(backups, every_s=settings.backup.interval))
    slow = [_build_scrub(context, figures)] if settings.scrub.enabled else []
    retaining = []
    if settings.retention.enabled:  # apart from others: a repository may have a million tags
        told = _counting(figures, "retention")
        retaining.append(retain(database, Retention(database, audited=audited, told=told)))
    clock, owner = Clock(database), str(uuid.uuid4())
    figures.follow(lambda: feed.followers, "event_watchers")
    sequencer = Sequencer(
        database, owner=owner, paused=lambda: context.maintenance.on, record=figures.job, placed=feed.wake
    )
    runners = [
        JobRunner(
            database,
            some,
            owner=owner,
            clock=clock,
            paused=lambda: context.maintenance.on,
            record=figures.job,
        )
        for some in (jobs, slow, retaining)
        if some
    ]
    return [*runners, sequencer, _build_delivery(context, figures, instance, owner), feed]


def _build_delivery(context: Context, figures: Figures, instance: str, owner: str) -> LeasedWork:
    """Return what has webhooks told. Raises Unavailable: a file that the settings name for one can't be used."""
    settings, database = context.settings, context.database
    known = configured(settings.webhooks)
    counts = {outcome: figures.counter("webhook_tries", outcome) for outcome in OUTCOMES}

    def count(outcome: str, number: int) -> None:
        for _ in range(number):
            counts[outcome]()

    return LeasedWork(
        database,
        deliver_job.NAME,
        owner=owner,
        is_wanted=lambda: deliver_job.is_wanted(database, known),
        work=DeliveryProcess(settings, instance, count).work,
        paused=lambda: context.maintenance.on,
    )


def _counting(figures: Figures, by: str) -> Callable[[int], None]:
    """Return what counts tags that went."""
    total = 0

    def count(number: int) -> None:
        nonlocal total
        total += number

    figures.follow(lambda: total, "tags_dropped", by)
    return count


def _build_scrub(context: Context, figures: Figures) -> Job:
    settings = context.settings.scrub
    scrubber = Scrubber(context.database, context.stores, Pace(settings.rate), told=scrub_job.tell)
    done = scrubber.done
    figures.follow(lambda: done.blobs, "scrub_blobs")
    figures.follow(lambda: done.bytes, "scrub_bytes")
    for fault in Fault:
        figures.follow(partial(done.faults.__getitem__, fault), "scrub_faults", fault)
    return scrub_job.scrub(scrubber, interval_s=settings.interval, every_s=settings.every)
