"""`/v2/`, `/healthz` and `/readyz`: is this a registry, is it alive, can it serve."""

from starlette.requests import Request as PageRequest
from starlette.responses import JSONResponse, PlainTextResponse, Response

from auth.policy import Action
from registry.errors import Unavailable
from registry.http.context import Context
from registry.http.replies import JSON, Answer, Reply
from registry.http.request import Request
from storage.errors import StorageError


async def support(context: Context, request: Request) -> Answer:
    """Say that the distribution specification is implemented here: 200 (spec, "Determining Support")."""
    await context.authorize(request, Action.PULL, None)
    return Reply(200, [(b"content-type", JSON)], b"{}")


async def alive(request: PageRequest) -> Response:
    """Say that the process answers: 200."""
    return PlainTextResponse("ok\n")


async def ready(request: PageRequest) -> Response:
    """Say whether database and storage answer: 200, or 503 naming which does not and why."""
    context: Context = request.app.state.context
    found = {"database": "ok", "storage": "ok"}
    try:
        await context.database.check()
    except Unavailable as error:
        found["database"] = str(error)
    try:
        await context.driver.check()
    except StorageError as error:
        found["storage"] = str(error)
    return JSONResponse(found, status_code=200 if set(found.values()) == {"ok"} else 503)
