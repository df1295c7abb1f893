"""The ASGI application: the distribution API, and the Starlette app for the rest."""

from starlette.types import ASGIApp

from auth.policy import Action
from auth.principal import ANONYMOUS
from registry.errors import QuotaExceeded
from registry.http import routes
from registry.http.access_log import PRINCIPAL
from registry.http.context import Context
from registry.http.errors import error_reply
from registry.http.observer import ROUTE
from registry.http.replies import Answer
from registry.http.request import Receive, Request, Scope, Send
from registry.oci.names import parse_repository


class DistributionApi:
    """Answers everything under `/v2`, and `/token`, itself, by `routes.ROUTES`, and passes the rest on.

    On raw ASGI, since Starlette's routing costs more than reading a manifest (HTTP dispatch is the hot path).
    """

    def __init__(self, app: ASGIApp, context: Context) -> None:
        self._app = app
        self._context = context
        self._prefixes = ("/v2",) if context.login is None else ("/v2", "/token")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not scope["path"].startswith(self._prefixes):
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        answer = await self._answer(request)
        if request.principal is not ANONYMOUS:
            scope[PRINCIPAL] = request.principal.name
        await answer.send(request, send)

    async def _answer(self, request: Request) -> Answer:
        try:
            handler, arguments = routes.find(request.method, request.path)
            request.scope[ROUTE] = routes.NAMES[handler]
            if request.method not in routes.READING and handler not in routes.ALWAYS:
                self._context.maintenance.admit()
            login = self._context.login
            if login is not None:
                await login.meet(request)
            return await handler(self._context, request, **arguments)
        except Exception as error:  # noqa: BLE001 - the table decides what each becomes; what is not in it becomes a 500
            if isinstance(error, QuotaExceeded):
                self._note(request, error)
            login = self._context.login
            return error_reply(error, None if login is None else login.challenges.for_error(request, error))

    def _note(self, request: Request, error: QuotaExceeded) -> None:
        """Count what a quota had no room for, and have the audit log tell of it."""
        context, (_, arguments) = self._context, routes.find(request.method, request.path)
        context.over_quota[error.detail["quota"]]()
        context.note_denial(request, Action.PUSH, parse_repository(arguments["name"]), error.detail)
