"""The composition root: builds everything once, from one frozen Settings."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp

from auth.policy import OpenPolicy
from registry import logs
from registry.background import JOBS, build_runners
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
from registry.metrics.board import Board
from registry.metrics.database import MeasuredDatabase
from registry.metrics.families import NO_ROUTE, Layout, families
from registry.metrics.figures import Figures
from registry.metrics.storage import MeasuredDriver
from registry.services.blobs import Blobs
from registry.services.deletion import Deletion
from registry.services.maintenance import Maintenance
from registry.services.manifests import Manifests
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
    return Board(Layout(families(names, JOBS)))


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
    runners = build_runners(context, figures, instance)

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
