"""`/v2/`, `/healthz` and `/readyz`: is this a registry, is it alive, can it serve."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request as PageRequest
from starlette.responses import JSONResponse, PlainTextResponse, Response

from auth.policy import Action
from registry.errors import Unavailable
from registry.http.context import Context
from registry.http.replies import JSON, Answer, Reply
from registry.http.request import Request
from storage.errors import StorageError

OK = "ok"
_PATIENCE_S = 5.0

_logger = logging.getLogger("stowage.health")


async def support(context: Context, request: Request) -> Answer:
    """Say that the distribution specification is implemented here: 200 (spec, "Determining Support")."""
    await context.authorize(request, Action.ENTER, None)
    return Reply(200, [(b"content-type", JSON)], b"{}")


async def alive(request: PageRequest) -> Response:
    """Say that the process answers: 200."""
    return PlainTextResponse("ok\n")


async def ready(request: PageRequest) -> Response:
    """Say whether database and storage answer: 200, or 503 naming which does not and why. `Readiness` has the shape."""
    readiness: Readiness = request.app.state.readiness
    found = await readiness.look()
    return JSONResponse(found, status_code=200 if found["ready"] else 503, headers={"cache-control": "no-store"})


class Readiness:
    """What `/readyz` answers.

    `database`, `storage` and `imported` (stores that were taken over, where layers still lie in them) are "ok" or say
    what is wrong; `ready` whether all are ok. `maintenance` is whether the
    registry is read-only, which leaves it ready. `instance` is the id of this server's run, `data` a mark of its
    database: two servers on the same data show the same.

    However many ask at once, each check runs once. One that takes longer than `patience_s` counts as failed, and is
    not begun again before it has ended: a disk that hangs takes one thread, not one for each question.
    """

    def __init__(self, context: Context, *, instance: str, patience_s: float = _PATIENCE_S) -> None:
        self._context = context
        self._about = {"instance": instance}
        self._patience_s = patience_s
        self._running: dict[str, asyncio.Task[str]] = {}

    async def look(self) -> dict[str, Any]:
        """Run every check, at once."""
        checks = {
            "database": self._check_database,
            "storage": self._context.driver.check,
            "imported": self._context.stores.check_imported,
        }
        answers = await asyncio.gather(*(self._answer(name, check) for name, check in checks.items()))
        found = dict(zip(checks, answers, strict=True))
        is_ready = set(answers) == {OK}
        state = {"maintenance": self._context.maintenance.on, "data": self._context.database.mark()}
        return {"ready": is_ready, **found, **self._about, **state}

    async def _check_database(self) -> None:
        await self._context.database.check()
        # A worker that was started without its database refuses writes until it knows whether there is maintenance.
        await self._context.maintenance.learn()

    async def _answer(self, name: str, check: Callable[[], Awaitable[None]]) -> str:
        task = self._running.get(name)
        if task is None or task.done():
            task = self._running[name] = asyncio.create_task(_outcome(check), name=f"check of {name}")
        done, _ = await asyncio.wait([task], timeout=self._patience_s)
        answer = task.result() if done else f"no answer within {self._patience_s:g} s"
        if answer != OK:
            _logger.warning("not ready: %s: %s", name, answer)
        return answer


async def _outcome(check: Callable[[], Awaitable[None]]) -> str:
    try:
        await check()
    except (Unavailable, StorageError) as error:
        return str(error)
    except Exception:
        _logger.exception("a check failed unexpectedly")
        return "the check itself failed; the server's log says why"
    return OK
