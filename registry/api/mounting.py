"""Where `/api/v1` begins: who asks, how much they send, and the application that answers, imported when it is needed.

FastAPI and the models take a second to import, and some 30 MB in each worker. Many registries are never asked here,
and none must start more slowly for it: so the first request to a worker imports them, in a thread, and waits for that.
"""

import importlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from starlette.types import ASGIApp

from auth import secret_tokens
from auth.errors import Denied, Unauthenticated
from auth.principal import ANYBODY, Principal
from registry.api.paths import ASKED, DOCUMENT, MODULES, route_of
from registry.api.problems import BodyTooLarge, MediaTypeUnsupported, Problem, problem_of
from registry.api.when_asked import Late
from registry.errors import Unavailable
from registry.http.access_log import PRINCIPAL
from registry.http.observer import ROUTE
from registry.http.request import Message, Receive, Request, Scope, Send
from registry.services.maintenance import Maintenance

if TYPE_CHECKING:
    from registry.api.context import Api
    from registry.http.login import Login

_WHOEVER = Principal(ANYBODY, is_admin=True)
"""Who asks where nobody is asked who they are."""

LARGEST_BODY = 64 * 1024
_READING = frozenset({"GET", "HEAD"})
_REFUSED = frozenset({401, 403})
_WITH_BODY = frozenset({"PATCH", "POST"})


class ApiMount:
    """Answers everything under `/api/v1`.

    Whoever asks is found out here, before anything that they sent is looked at; what they may do is asked in each
    handler. There are no cookies, and a POST is JSON or refused, so that no page elsewhere can make a browser send one.

    Args:
        login: finds out who asks; None where nobody is asked, and whoever comes may do everything.
        modules: what of the API is there.
    """

    def __init__(
        self,
        api: "Api",
        login: "Login | None",
        maintenance: Maintenance,
        *,
        modules: Sequence[str] = MODULES,
    ) -> None:
        self._api = api
        self._login = login
        self._maintenance = maintenance
        self._modules = modules
        self._application = Late(self._build, name="build the API")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        scope[ROUTE] = route_of(scope["path"])
        request = Request(scope, receive)
        answer = _Answer(self._api, request, send)
        try:
            await self._meet(request)
            body = await _body(request)
            method = "GET" if request.method == "HEAD" else request.method  # the server leaves the body out
            await self._application({**scope, "method": method, ASKED: request}, _replay(body), answer.send)
        except Exception as error:  # noqa: BLE001 - the table decides; what is not in it becomes a 500
            if answer.begun:  # what went wrong was answered, and logged, already
                return
            await answer.problem(problem_of(error))

    async def _meet(self, request: Request) -> None:
        """Find out who asks. Everybody may read the document.

        Raises:
            Unauthenticated, Denied: they have not said who they are, or with what is not for this.
            ReadOnly: nothing may be changed now.
        """
        if request.method not in _READING:
            self._maintenance.admit()
        if self._login is None:
            request.principal = _WHOEVER
            return
        await self._login.meet(request)
        if request.path == DOCUMENT:
            return
        if request.refusal is not None:
            raise request.refusal
        principal = request.principal
        if principal.is_anonymous:
            raise Unauthenticated("authentication is required")
        scheme, _, token = (request.header(b"authorization") or "").partition(" ")
        if scheme.lower() == "bearer" and not secret_tokens.is_one(token.strip()):
            raise Unauthenticated("tokens of the token server are for repositories, and no good here", bearer=True)
        request.scope[PRINCIPAL] = principal.name
        if principal.bound is not None:
            raise Denied("this token is for repositories: one with a scope is no good here")

    def _build(self) -> ASGIApp:
        built: ASGIApp = importlib.import_module("registry.api.application").build_application(self._api, self._modules)
        return built


class _Answer:
    """Sends an answer, once what the request changed counts in this process."""

    def __init__(self, api: "Api", request: Request, send: Send) -> None:
        self._api = api
        self._request = request
        self._send = send
        self.begun = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            if message["status"] in _REFUSED:
                self._api.note_denial(self._request)
            if self._request.method not in _READING and message["status"] < 400:
                with suppress(Unavailable):  # the change was made; who asks next is told
                    await self._api.policy.look_again()
        await self._send(message)

    async def problem(self, problem: Problem) -> None:
        headers = [(name.encode(), value.encode("latin-1")) for name, value in problem.headers.items()]
        headers.append((b"content-length", str(len(problem.body)).encode()))
        await self.send({"type": "http.response.start", "status": problem.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": problem.body})


async def _body(request: Request) -> bytes:
    """Return the request's body, whole.

    Raises:
        BodyTooLarge, MediaTypeUnsupported: it can't be taken.
        BodyCut: the client went away.
    """
    too_large = BodyTooLarge(f"the body is larger than {LARGEST_BODY} bytes")
    length = request.header(b"content-length") or "0"
    if length.isdecimal() and int(length[:20]) > LARGEST_BODY:
        raise too_large
    body = bytearray()
    async for part in request.body():
        body += part
        if len(body) > LARGEST_BODY:
            raise too_large
    kind = (request.header(b"content-type") or "").partition(";")[0].strip().lower()
    if (body or request.method in _WITH_BODY) and kind != "application/json":
        raise MediaTypeUnsupported("the body has to be JSON, and Content-Type application/json")
    return bytes(body)


def _replay(body: bytes) -> Callable[[], Awaitable[dict[str, Any]]]:
    """Return what an application receives by: the body, which was read already."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
