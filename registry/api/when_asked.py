"""What is under `/api/v1` where nobody logs in, imported when somebody asks for it first.

A server in mode open imports nothing of what is about people until then: a twentieth of the time that its start takes.
"""

import asyncio
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from registry.api.paths import is_below


class WhenAsked:
    """Has an application answer what is under `/api/v1`, and another one the rest.

    Args:
        build: returns the first of them. Run in a thread, once; again if it failed.
    """

    def __init__(self, app: ASGIApp, build: Callable[[], ASGIApp]) -> None:
        self._app = app
        self._build = build
        self._building: asyncio.Task[ASGIApp] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not is_below(scope["path"]):
            await self._app(scope, receive, send)
            return
        if self._building is None:
            self._building = asyncio.create_task(asyncio.to_thread(self._build), name="import the API")
        try:
            built = await asyncio.shield(self._building)
        except Exception:
            self._building = None
            raise
        await built(scope, receive, send)
