"""`/api/v1` in this process, on the database here: who can run commands on the machine may do everything.

Imported by `registry.cli.where`, by commands that work here.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit

from auth.errors import Unauthenticated
from auth.passwords import hashed
from auth.principal import Principal
from registry.api.application import application_of
from registry.api.context import Api
from registry.api.paths import ASKED, PREFIX, module_of
from registry.cli.client import Answer, Question
from registry.cli.database import failing_if_unavailable
from registry.db.place import place_of
from registry.http.request import Message, Receive, Request, Scope, Send
from registry.loading import uncollected
from registry.services.audit import OPERATOR, Auditor
from registry.services.permissions import GrantPolicy
from registry.services.revision import Revision
from registry.settings import Settings

_Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class Here:
    """Answers questions by the same routes as a server, without one: it may run or not, with logins or without.

    Ends the command if there is no database, or one of another version.
    """

    is_here = True

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._runner = asyncio.Runner()
        self._database = place_of(settings).open()
        self._api = Api(
            settings,
            self._database,
            GrantPolicy(
                self._database, Revision(self._database, polled=False), create_projects=settings.auth.create_projects
            ),
            _nobody,
            _hash,
            Auditor(self._database, enabled=False),
        )
        self._applications: dict[str, _Application] = {}
        logging.getLogger("stowage").addHandler(logging.NullHandler())  # what goes wrong is in the answer
        with failing_if_unavailable():
            self._runner.run(self._database.start())

    @property
    def host(self) -> str | None:
        """The host of `http.public_url`."""
        return urlsplit(self._settings.http.public_url or "").netloc or None

    def ask(self, question: Question) -> Answer:
        """Return the answer."""
        return self._runner.run(self._ask(question))

    def close(self) -> None:
        """Close the database."""
        self._runner.run(self._database.stop())
        self._runner.close()

    async def _ask(self, question: Question) -> Answer:
        path = f"{PREFIX}/{unquote(question.path)}"
        scope: dict[str, Any] = {
            "type": "http",
            "http_version": "1.1",
            "method": question.method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": urlencode(question.query).encode(),
            "headers": [(b"content-type", b"application/json")],
            "client": None,
            "server": None,
        }
        body = b"" if question.content is None else json.dumps(question.content).encode()

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        answer = _Kept()
        request = Request(scope, receive)
        request.principal = Principal(OPERATOR, is_admin=True)
        await self._application(module_of(question.path))({**scope, ASKED: request}, receive, answer.send)
        return answer.whole

    def _application(self, module: str) -> _Application:
        if module not in self._applications:
            with uncollected():
                self._applications[module] = application_of(self._api, [module])
        return self._applications[module]


class _Kept:
    """An answer as it is sent."""

    def __init__(self) -> None:
        self._status = 500
        self._media_type = ""
        self._body = b""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = dict(message["headers"])
            self._media_type = headers.get(b"content-type", b"").decode().partition(";")[0]
        else:
            self._body += message.get("body", b"")

    @property
    def whole(self) -> Answer:
        return Answer(self._status, self._media_type, self._body)


async def _hash(password: str) -> str:
    return await asyncio.to_thread(hashed, password)


async def _nobody(name: str, password: str, address: str) -> str:
    raise Unauthenticated("nobody logs in here")
