"""What is under `/api/v1`, built when somebody asks for it first.

Most of it takes long to import, and many registries are never asked: none must start more slowly for it.
"""

import asyncio
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from registry.api.paths import is_below


class Late:
    """An application that is built in a thread with its first request, which waits for that.

    Args:
        build: returns it. Run once; again, with the next request, if it failed.
        name: of the task that builds it.
    """

    def __init__(self, build: Callable[[], ASGIApp], *, name: str) -> None:
        self._build = build
        self._name = name
        self._building: asyncio.Task[ASGIApp] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if self._building is None:
            self._building = asyncio.create_task(asyncio.to_thread(self._build), name=self._name)
        try:
            built = await asyncio.shield(self._building)
        except Exception:
            self._building = None
            raise
        await built(scope, receive, send)


class Mounted:
    """Has the API answer what is under `/api/v1`, and another application the rest."""

    def __init__(self, app: ASGIApp, api: ASGIApp) -> None:
        self._app = app
        self._api = api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        is_api = scope["type"] == "http" and is_below(scope["path"])
        await (self._api if is_api else self._app)(scope, receive, send)
