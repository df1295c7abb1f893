"""The composition root: builds everything once, from one frozen Settings."""

import asyncio
import importlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp

from auth.policy import OpenPolicy, Policy
from registry import logs
from registry.api.paths import ROUTES as API_ROUTES
from registry.api.when_asked import Late, Mounted
from registry.background import JOBS, Runner, build_runners, provide_webhooks
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
from registry.http.routes import NAMES as ROUTE_NAMES
from registry.http.server import Served
from registry.metrics.board import Board
from registry.metrics.database import MeasuredDatabase
from registry.metrics.families import NO_ROUTE, Layout, families
from registry.metrics.figures import Figures
from registry.metrics.storage import MeasuredDriver
from registry.services.audit import Auditor
from registry.services.blobs import Blobs
from registry.services.deletion import Deletion
from registry.services.expiry_labels import ExpiryLabels
from registry.services.feed import Feed
from registry.services.maintenance import Maintenance
from registry.services.manifests import Manifests
from registry.services.pull_events import PullEvents
from registry.services.pulls import Pulls
from registry.services.stores import Stores
from registry.services.uploads import Uploads
from registry.settings import Settings
from registry.tracing import Tracing, start_tracing, untraced
from storage.contents import Contents
from storage.driver import BlobDriver

if TYPE_CHECKING:
    from registry.identity import Identities

_PAGES = {
    "/healthz": "healthz",
    "/readyz": "readyz",
    "/metrics": "metrics",
    "/auth/login": "login",
    "/auth/callback": "login_callback",
}
"""The routes beside the distribution API, by path."""


def new_board() -> Board:
    """Return the memory that the workers of a server count in."""
    names = (*dict.fromkeys(ROUTE_NAMES.values()), *_PAGES.values(), *API_ROUTES, NO_ROUTE)
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
    context, identities = _build_context(settings, figures, tracing)
    runners = build_runners(context, figures, instance, [] if identities is None else identities.jobs)
    runners += _writers(context, identities)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await context.driver.start()
        await context.database.start()
        await context.maintenance.start()
        await provide_webhooks(context)
        if identities is not None:
            identities.start()
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
            if identities is not None:
                await identities.stop()
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
    routes = [] if identities is None else identities.routes()
    app = Starlette(routes=routes if is_apart else [*pages, *routes], lifespan=lifespan)
    operations = Starlette(routes=pages) if is_apart else None
    if operations is not None:
        operations.state = app.state
    rest = _open_api(app, context, figures) if identities is None else identities.around(app, context.maintenance)
    # Around the whole app, not a middleware in it: Starlette's own outermost ones cost every request 4 µs.
    api: ASGIApp = DistributionApi(rest, context)
    if settings.http.trusted_proxies:
        api = TrustedProxies(api, settings.http.trusted_proxies)
    counted = figures if settings.metrics.enabled else None
    observer = Observer(counted, pages=_PAGES, access_log=access_log, tracing=tracing)
    return Served(app=api, observer=observer, operations=operations, ending=context.feed.close)


def _writers(context: Context, identities: "Identities | None") -> list[Runner]:
    """Return what writes down later what requests have noted, and once more when no more of them come."""
    last_use = None if identities is None else identities.last_use
    return [writer for writer in (context.auditor, context.pulls, context.pull_events, last_use) if writer is not None]


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


def prepare_identities(settings: Settings) -> Path | None:
    """Make what logging in needs, where it is missing, once the database is prepared.

    Returns:
        The file with the first admin's password, if one was made up.

    Raises:
        Unavailable: it can't be made; the message says why and what to do.
    """
    if settings.auth.mode == "open":
        return None
    made: Path | None = _identity().prepare(settings)
    return made


def described_identities(settings: Settings) -> str:
    """Say who is asked who they are, for the log."""
    return "open" if settings.auth.mode == "open" else str(_identity().described(settings))


async def _try_storage(settings: Settings) -> None:
    await try_driver(build_driver(settings))


def _build_access_log(settings: Settings, instance: str, figures: Figures) -> AccessLog | None:
    if not settings.logs.access or settings.logs.level not in {"debug", "info"}:
        return None
    log = AccessLog(logs.STDERR, as_json=not logs.is_text(settings.logs), instance=instance)
    figures.follow(lambda: log.dropped, "access_log_dropped_lines")
    return log


def _identity() -> Any:
    """Import what only `auth.mode: users` needs: a fifth of a second, which others should not wait for."""
    return importlib.import_module("registry.identity")


def _open_api(app: ASGIApp, context: Context, figures: Figures) -> ASGIApp:
    """Return an application that answers what belongs to the API of `auth.mode: open`, imported when somebody asks.

    A server imports nothing of what is about people until then: a twentieth of the time that its start takes.
    """
    undone = figures.counters("undo_requests")

    def build() -> ASGIApp:
        built: ASGIApp = importlib.import_module("registry.open_api").build_api(context, undone)
        return built

    return Mounted(app, Late(build, name="import the API"))


def _build_context(
    settings: Settings, figures: Figures, tracing: Tracing | None
) -> "tuple[Context, Identities | None]":
    unmeasured = place_of(settings).open()
    part = untraced if tracing is None else tracing.part
    is_measured = settings.metrics.enabled or tracing is not None

    def measured(driver: BlobDriver) -> BlobDriver:
        return MeasuredDriver(driver, figures, part) if is_measured else driver

    database: Database = MeasuredDatabase(unmeasured, figures, part) if is_measured else unmeasured
    driver = measured(build_driver(settings))
    stores = Stores(database, driver, partial(build_imported, settings), measured)
    auditor = Auditor(database, enabled=settings.requests_are_audited, pulls=settings.audit.pulls)
    figures.follow(lambda: auditor.lost, "audit_lost_entries")
    feed = Feed(database, most=settings.events.watchers, most_each=settings.events.watchers_each)
    identities: Identities | None = None
    if settings.auth.mode == "users":
        identities = _identity().build(settings, database, auditor, feed, figures.counters("undo_requests"))
    policy: Policy = OpenPolicy() if identities is None else identities.policy
    contents = Contents(settings.storage.cache)
    figures.follow(lambda: unmeasured.batches, "database_batches")
    figures.follow(lambda: contents.hits, "cache_hits", "blobs")
    figures.follow(lambda: contents.misses, "cache_misses", "blobs")
    figures.follow(lambda: contents.used, "cache_bytes", "blobs")
    hold_s = settings.collection.hold
    in_projects = identities is not None and identities.founding is not None
    blobs = Blobs(database, driver, stores, policy, contents, hold_s=hold_s, in_projects=in_projects)
    pulls = PullEvents(database) if settings.events.pulls else None
    if pulls is not None:
        figures.follow(lambda: pulls.lost, "event_lost_pulls")
    context = Context(
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
        manifests=Manifests(
            database,
            sparse=settings.manifests.sparse,
            in_projects=in_projects,
            labels=ExpiryLabels(database, blobs) if settings.retention.labels else None,
        ),
        deletion=Deletion(database, hold_s=hold_s),
        maintenance=Maintenance(database),
        auditor=auditor,
        over_quota={what: figures.counter("quota_refusals", what) for what in ("bytes", "tags")},
        login=None if identities is None else identities.login,
        founding=None if identities is None else identities.founding,
        pulls=Pulls(database),
        pull_events=pulls,
        feed=feed,
    )
    return context, identities
