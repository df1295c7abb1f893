"""A registry in this process that takes a header's word for who asks, so that permission can be tested alone."""

from functools import partial
from pathlib import Path
from typing import Self

import httpx

from auth.errors import InsufficientScope, Unauthenticated
from auth.principal import ANONYMOUS, Principal
from registry.db.connection import Database
from registry.drivers import build_imported
from registry.http import routes
from registry.http.context import Context
from registry.http.errors import error_reply
from registry.http.replies import Answer, json_reply
from registry.http.request import Receive, Request, Scope, Send
from registry.services.audit import Auditor
from registry.services.blobs import Blobs
from registry.services.deletion import Deletion
from registry.services.feed import Feed
from registry.services.founding import Founding
from registry.services.maintenance import Maintenance
from registry.services.manifests import Manifests
from registry.services.permissions import CreateProjects
from registry.services.stores import Stores
from registry.services.uploads import Uploads
from registry.settings import Settings
from storage.contents import Contents
from storage.memory import MemoryDriver
from tests.support.rights import People

_WHO = "x-who"


class Asking:
    """The distribution API over a database, and those who ask. The database must have been started."""

    def __init__(self, database: Database, create_projects: CreateProjects = "deny") -> None:
        self.people = People(database, create_projects)
        self._principals: dict[str, Principal] = {}
        self._context = _context(database, self.people)
        self._transport = httpx.ASGITransport(self._serve)

    async def __aenter__(self) -> Self:
        await self._context.maintenance.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._context.maintenance.stop()

    def client(self, principal: Principal) -> httpx.AsyncClient:
        """Return a client whose requests come from somebody."""
        key = str(len(self._principals))
        self._principals[key] = principal
        return httpx.AsyncClient(transport=self._transport, base_url="http://registry", headers={_WHO: key})

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        request.principal = self._principals.get(request.header(_WHO.encode()) or "", ANONYMOUS)
        await (await self._answer(request)).send(request, send)

    async def _answer(self, request: Request) -> Answer:
        try:
            handler, arguments = routes.find(request.method, request.path)
            return await handler(self._context, request, **arguments)
        except (Unauthenticated, InsufficientScope) as error:
            return json_reply(401, {"errors": [{"code": "UNAUTHORIZED", "message": str(error), "detail": None}]})
        except Exception as error:  # noqa: BLE001 - as the registry does
            return error_reply(error)


def _context(database: Database, people: People) -> Context:
    driver, contents, settings = MemoryDriver(), Contents(0), Settings(data=Path("nowhere"))
    stores = Stores(database, driver, partial(build_imported, settings))
    blobs = Blobs(database, driver, stores, people.policy, contents, hold_s=3600, in_projects=True)
    return Context(
        settings=settings,
        database=database,
        driver=driver,
        stores=stores,
        contents=contents,
        policy=people.policy,
        blobs=blobs,
        uploads=Uploads(database, driver, blobs, max_sessions=10_000, expire_s=3600),
        manifests=Manifests(database, sparse="deny", in_projects=True),
        deletion=Deletion(database, hold_s=3600),
        maintenance=Maintenance(database),
        auditor=Auditor(database, enabled=False, pulls=0.0),
        over_quota={},
        feed=Feed(database, most=1),
        founding=Founding(people.policy, people.projects),
    )
