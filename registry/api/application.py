"""The application behind `/api/v1`: its routes, and what becomes of errors that the framework finds.

Imported by `registry.api.mounting`, when somebody asks.
"""

import asyncio
import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from auth.errors import AuthError
from registry import __version__
from registry.api.context import Api
from registry.api.document import described
from registry.api.paths import DOCUMENT, PREFIX
from registry.api.problems import Problem, ValuesInvalid, problem_of
from registry.errors import EndpointUnknown, MethodNotAllowed, RegistryError
from storage.errors import StorageError


def build_application(api: Api, modules: Sequence[str]) -> FastAPI:
    """Return an application with the routes of modules and their document. Takes long: call it in a thread.

    The document takes nearly as long again, and hardly anybody asks for it: so it is made when somebody does.
    """
    app = application_of(api, modules)
    routes = [*app.routes]
    made: asyncio.Task[dict[str, Any]] | None = None

    async def show_document(request: Request) -> Response:
        nonlocal made
        if made is None:
            work = asyncio.to_thread(described, app.title, app.version, routes)
            made = asyncio.create_task(work, name="describe the API")
        return JSONResponse(await asyncio.shield(made))

    app.add_route(DOCUMENT, show_document, methods=["GET"])
    return app


def application_of(api: Api, modules: Sequence[str]) -> FastAPI:
    """Return an application with the routes of some modules of `registry.api`, and no document.

    They are imported here: a command needs one of them, and the others would take it longer than what it does.
    """
    app = FastAPI(
        title="Stowage",
        version=__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        default_response_class=_Answer,
        separate_input_output_schemas=False,
        generate_unique_id_function=lambda route: route.name,
    )
    routers: list[APIRouter] = [importlib.import_module(f"registry.api.{name}").router for name in modules]
    for router in routers:
        app.include_router(router, prefix=PREFIX)
    app.state.api = api
    app.state.routers = routers
    for kind in (RegistryError, AuthError, StorageError, Exception):
        app.add_exception_handler(kind, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _unknown)
    return app


class _Answer(JSONResponse):
    """An answer, which nobody on the way keeps: some hold secrets, and all are about one caller alone."""

    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        """Set the headers."""
        super().init_headers({**(headers or {}), "cache-control": "no-store"})


async def _refused(request: Request, error: Exception) -> Response:
    return _response(problem_of(error))


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - it is registered for this
    found = error.errors()
    if any(one["type"] == "json_invalid" for one in found):
        return _response(Problem(400, "body-unreadable", "the body is not JSON"))
    problems = [_located(one) for one in found]
    first = problems[0]
    return _response(problem_of(ValuesInvalid(f"{first['in']}{first['pointer']}: {first['detail']}", problems)))


def _located(one: Mapping[str, Any]) -> dict[str, str]:
    """Return where a value is wrong, as a JSON pointer (RFC 6901), and why. What it is stays out: it may be secret."""
    where, *parts = one["loc"]
    pointer = "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}"[:100] for part in parts)
    return {"in": str(where), "pointer": pointer, "detail": str(one["msg"])}


async def _unknown(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for this
    if error.status_code == 404:
        return _response(problem_of(EndpointUnknown("the API has no such path: see /api/v1/openapi.json")))
    if error.status_code == 405:
        return _response(problem_of(MethodNotAllowed("the path has other methods", allowed=_methods(request))))
    return _response(Problem(error.status_code, "body-unreadable", "the request can't be read"))


def _methods(request: Request) -> list[str]:
    """Return all methods of a path: the framework knows only those of the first route that fits."""
    path = request.scope["path"]
    if path == DOCUMENT:
        return ["GET", "HEAD"]
    found: set[str] = set()
    for router in request.app.state.routers:
        for route in router.routes:
            if isinstance(route, APIRoute) and route.path_regex.match(path.removeprefix(PREFIX)):
                found |= set(route.methods or ())
    return sorted(found | {"HEAD"} if "GET" in found else found)


def _response(problem: Problem) -> Response:
    return Response(problem.body, problem.status, problem.headers)
