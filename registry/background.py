"""What a worker does beside answering requests: its jobs, built from the settings, and what runs them."""

import uuid
from functools import partial

from registry.http.context import Context
from registry.jobs import backup as backup_job
from registry.jobs import collect as collect_job
from registry.jobs import old_events as old_events_job
from registry.jobs import orphans as orphans_job
from registry.jobs import scrub as scrub_job
from registry.jobs import stale_uploads as stale_uploads_job
from registry.jobs.backup import backup
from registry.jobs.clock import Clock
from registry.jobs.collect import collect
from registry.jobs.old_events import old_events
from registry.jobs.orphans import orphans
from registry.jobs.runner import Job, JobRunner
from registry.jobs.stale_uploads import stale_uploads
from registry.metrics.figures import Figures
from registry.services.backups import backups_of
from registry.services.collection import Collector
from registry.services.retention import rules_of
from registry.services.scrub import Fault, Pace, Scrubber

JOBS = [one.NAME for one in (stale_uploads_job, orphans_job, old_events_job, collect_job, backup_job, scrub_job)]
"""The names of all jobs, whether the settings ask for them or not."""


def build_runners(context: Context, figures: Figures, instance: str) -> list[JobRunner]:
    """Return what runs the jobs: one after the other those that are done soon, and beside them the one that is not."""
    settings, database, driver = context.settings, context.database, context.driver
    jobs = [
        stale_uploads(database, driver, context.uploads, expire_s=settings.uploads.expire),
        orphans(database, driver),
        old_events(database, keep_s=settings.events.keep),
    ]
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
    clock, owner = Clock(database), str(uuid.uuid4())
    return [
        JobRunner(
            database,
            some,
            owner=owner,
            clock=clock,
            paused=lambda: context.maintenance.on,
            record=figures.job,
        )
        for some in (jobs, slow)
        if some
    ]


def _build_scrub(context: Context, figures: Figures) -> Job:
    settings = context.settings.scrub
    scrubber = Scrubber(context.database, context.stores, Pace(settings.rate), told=scrub_job.tell)
    done = scrubber.done
    figures.follow(lambda: done.blobs, "scrub_blobs")
    figures.follow(lambda: done.bytes, "scrub_bytes")
    for fault in Fault:
        figures.follow(partial(done.faults.__getitem__, fault), "scrub_faults", fault)
    return scrub_job.scrub(scrubber, interval_s=settings.interval, every_s=settings.every)
