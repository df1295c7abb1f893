"""The composition root: builds everything once, from one frozen Settings."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp

from auth.policy import OpenPolicy
from registry.db.migrate import Migrated, migrate_sqlite
from registry.db.reserve import Reserve
from registry.db.sqlite import SqliteDatabase
from registry.http.context import Context
from registry.http.health import alive, ready
from registry.http.middleware import DistributionApi
from registry.http.proxies import TrustedProxies
from registry.jobs.old_events import old_events
from registry.jobs.orphans import orphans
from registry.jobs.runner import JobRunner
from registry.jobs.stale_uploads import stale_uploads
from registry.services.blobs import Blobs
from registry.services.deletion import Deletion
from registry.services.manifests import Manifests
from registry.services.uploads import Uploads
from registry.settings import Settings
from storage.contents import Contents
from storage.driver import BlobDriver
from storage.filesystem import FilesystemDriver


def build_app(settings: Settings) -> ASGIApp:
    """Return the ASGI application. Its lifespan opens and closes database and storage, and runs the jobs.

    `prepare` must have been called before.
    """
    context = _build_context(settings)
    runner = _build_runner(context)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await context.driver.start()
        await context.database.start()
        runner.start()
        try:
            yield
        finally:
            await runner.stop()
            await context.database.stop()
            await context.driver.close()

    app = Starlette(
        routes=[Route("/healthz", alive), Route("/readyz", ready)],
        lifespan=lifespan,
    )
    app.state.context = context
    # Around the whole app, not a middleware in it: Starlette's own outermost ones cost every request 4 µs.
    api = DistributionApi(app, context)
    return TrustedProxies(api, settings.http.trusted_proxies) if settings.http.trusted_proxies else api


def prepare(settings: Settings) -> Migrated:
    """Bring the database to this version's schema and try the storage, so that what is wrong is said in one line.

    Raises:
        Unavailable, StorageUnavailable: they can't be used; the message says why and what to do.
    """
    Reserve(settings.sqlite_path, settings.database.reserve).make_way()
    migrated = migrate_sqlite(settings.sqlite_path)
    asyncio.run(_try_storage(FilesystemDriver(settings.filesystem_root)))
    return migrated


async def _try_storage(driver: BlobDriver) -> None:
    try:
        await driver.start()
    finally:
        await driver.close()


def _build_context(settings: Settings) -> Context:
    path, storage = settings.sqlite_path, settings.storage.filesystem
    database = SqliteDatabase(path, Reserve(path, settings.database.reserve))
    driver = FilesystemDriver(settings.filesystem_root, reserve=storage.reserve)
    policy = OpenPolicy()
    contents = Contents(settings.storage.cache)
    blobs = Blobs(database, driver, policy, contents)
    return Context(
        settings=settings,
        database=database,
        driver=driver,
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
        deletion=Deletion(database),
    )


def _build_runner(context: Context) -> JobRunner:
    settings, database, driver = context.settings, context.database, context.driver
    return JobRunner(
        database,
        [
            stale_uploads(database, driver, context.uploads, expire_s=settings.uploads.expire),
            orphans(database, driver),
            old_events(database, keep_s=settings.events.keep),
        ],
        owner=str(uuid.uuid4()),
    )
