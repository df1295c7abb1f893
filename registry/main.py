"""The composition root: builds everything once, from one frozen Settings."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp

from auth.policy import OpenPolicy
from registry import logs
from registry.db.connection import Database
from registry.db.migrate import Migrated
from registry.db.place import place_of
from registry.drivers import build_driver, build_imported, try_driver
from registry.http.access_log import AccessLog
from registry.http.context import Context
from registry.http.health import Readiness, alive, ready
from registry.http.metrics import MetricsPage
from registry.http.middleware import DistributionApi
from registry.http.observer import Observer
from registry.http.proxies import TrustedProxies
from registry.http.routes import ROUTES
from registry.http.server import Served
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
from registry.metrics.board import Board
from registry.metrics.database import MeasuredDatabase
from registry.metrics.families import NO_ROUTE, Layout, families
from registry.metrics.figures import Figures
from registry.metrics.storage import MeasuredDriver
from registry.services.backups import Backups
from registry.services.blobs import Blobs
from registry.services.collection import Collector
from registry.services.deletion import Deletion
from registry.services.maintenance import Maintenance
from registry.services.manifests import Manifests
from registry.services.retention import rules_of
from registry.services.scrub import Fault, Pace, Scrubber
from registry.services.stores import Stores
from registry.services.uploads import Uploads
from registry.settings import Settings
from registry.tracing import Tracing, start_tracing, untraced
from storage.contents import Contents
from storage.driver import BlobDriver

_PAGES = {"/healthz": "healthz", "/readyz": "readyz", "/metrics": "metrics"}
"""The routes beside the distribution API, by path."""


def new_board() -> Board:
    """Return the memory that the workers of a server count in."""
    names = (*(route.name for route in ROUTES), *_PAGES.values(), NO_ROUTE)
    jobs = [one.NAME for one in (stale_uploads_job, orphans_job, old_events_job, collect_job, backup_job, scrub_job)]
    return Board(Layout(families(names, jobs)))


def build_app(settings: Settings, instance: str, figures: Figures) -> Served:
    """Return what a worker serves. The application's lifespan opens and closes database and storage, and runs the jobs.

    `prepare` must have been called before.

    Args:
        instance: id of this server's run, shown by `/readyz`.
        figures: what this worker counts.
    """
    tracing = start_tracing(settings.tracing)
    access_log = _build_access_log(settings, instance, figures)
    context = _build_context(settings, figures, tracing)
    runners = _build_runners(context, figures, instance)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await context.driver.start()
        await context.database.start()
        await context.maintenance.start()
        app.state.readiness = Readiness(context, instance=instance)
        for runner in runners:
            runner.start()
        looking = asyncio.create_task(figures.keep_looking(), name="figures")
        try:
            yield
        finally:
            looking.cancel()
            for runner in runners:
                await runner.stop()
            await context.maintenance.stop()
            await context.database.stop()
            await context.stores.close()
            await context.driver.close()
            if access_log is not None:
                access_log.close()
            if tracing is not None:
                tracing.stop()
            figures.look()

    is_apart = settings.operations.port is not None
    pages = [Route("/healthz", alive), Route("/readyz", ready)]
    if settings.metrics.enabled:
        page = MetricsPage(figures, context, settings.metrics.networks, public=is_apart)
        pages.append(Route("/metrics", page.show))
    app = Starlette(routes=[] if is_apart else pages, lifespan=lifespan)
    operations = Starlette(routes=pages) if is_apart else None
    if operations is not None:
        operations.state = app.state
    # Around the whole app, not a middleware in it: Starlette's own outermost ones cost every request 4 µs.
    api: ASGIApp = DistributionApi(app, context)
    if settings.http.trusted_proxies:
        api = TrustedProxies(api, settings.http.trusted_proxies)
    counted = figures if settings.metrics.enabled else None
    observer = Observer(counted, pages=_PAGES, access_log=access_log, tracing=tracing)
    return Served(app=api, observer=observer, operations=operations)


def prepare(settings: Settings) -> Migrated:
    """Bring the database to this version's schema and try the storage, so that what is wrong is said in one line.

    Raises:
        Unavailable, StorageUnavailable: they can't be used; the message says why and what to do.
    """
    place = place_of(settings)
    place.make_way()
    migrated = place.migrate()
    asyncio.run(_try_storage(settings))
    return migrated


@dataclass(frozen=True, slots=True)
class Opened:
    """A registry as commands work on it, beside the servers that may run."""

    database: Database
    driver: BlobDriver
    stores: Stores
    blobs: Blobs
    manifests: Manifests


@asynccontextmanager
async def open_registry(settings: Settings) -> AsyncIterator[Opened]:
    """Open database and storage for a command. The schema must be this version's.

    Raises:
        Unavailable, StorageUnavailable: they can't be used.
    """
    database = place_of(settings).open()
    driver = build_driver(settings)
    stores = Stores(database, driver, partial(build_imported, settings))
    try:
        await database.start()
        await driver.start()
        hold_s = settings.collection.hold
        blobs = Blobs(database, driver, stores, OpenPolicy(), Contents(0), hold_s=hold_s)
        yield Opened(database, driver, stores, blobs, Manifests(database, sparse=settings.manifests.sparse))
    finally:
        await database.stop()
        await stores.close()
        await driver.close()


def backups_of(settings: Settings, database: Database, driver: BlobDriver, *, instance: str = "") -> Backups | None:
    """Return what makes copies of the database; None for one on a server, which has its own tools."""
    file = place_of(settings).file
    if file is None:
        return None
    return Backups(
        database,
        driver.attic,
        file,
        reserve=settings.database.reserve,
        keep=settings.backup.keep,
        instance=instance,
    )


async def _try_storage(settings: Settings) -> None:
    await try_driver(build_driver(settings))


def _build_access_log(settings: Settings, instance: str, figures: Figures) -> AccessLog | None:
    if not settings.logs.access or settings.logs.level not in {"debug", "info"}:
        return None
    log = AccessLog(logs.STDERR, as_json=not logs.is_text(settings.logs), instance=instance)
    figures.follow(lambda: log.dropped, "access_log_dropped_lines")
    return log


def _build_context(settings: Settings, figures: Figures, tracing: Tracing | None) -> Context:
    unmeasured = place_of(settings).open()
    part = untraced if tracing is None else tracing.part
    is_measured = settings.metrics.enabled or tracing is not None

    def measured(driver: BlobDriver) -> BlobDriver:
        return MeasuredDriver(driver, figures, part) if is_measured else driver

    database: Database = MeasuredDatabase(unmeasured, figures, part) if is_measured else unmeasured
    driver = measured(build_driver(settings))
    stores = Stores(database, driver, partial(build_imported, settings), measured)
    policy = OpenPolicy()
    contents = Contents(settings.storage.cache)
    figures.follow(lambda: unmeasured.batches, "database_batches")
    figures.follow(lambda: contents.hits, "cache_hits", "blobs")
    figures.follow(lambda: contents.misses, "cache_misses", "blobs")
    figures.follow(lambda: contents.used, "cache_bytes", "blobs")
    hold_s = settings.collection.hold
    blobs = Blobs(database, driver, stores, policy, contents, hold_s=hold_s)
    return Context(
        settings=settings,
        database=database,
        driver=driver,
        stores=stores,
        contents=contents,
        policy=policy,
        blobs=blobs,
        uploads=Uploads(
            database,
            driver,
            blobs,
            max_sessions=settings.uploads.max_sessions,
            expire_s=settings.uploads.expire,
        ),
        manifests=Manifests(database, sparse=settings.manifests.sparse),
        deletion=Deletion(database, hold_s=hold_s),
        maintenance=Maintenance(database),
    )


def _build_runners(context: Context, figures: Figures, instance: str) -> list[JobRunner]:
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
