"""A token server as people have them for CNCF distribution: gives whoever logs in a token for what a table says."""

import base64
import json
import time
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from tests.support.issuer import Signer
from tests.support.pages import Asked, Page, Pages

ISSUER, SERVICE = "Test token server", "registry.test"
PEOPLE = {"alice": "wonderland", "bob": "builder"}
ACCESS = {
    "alice": {"repository:team/app": ["pull", "push", "delete"], "registry:catalog": ["*"]},
    "bob": {"repository:team/app": ["pull"]},
    "": {"repository:public/app": ["pull"]},
}


class TokenServer:
    """The server. It gives tokens of `signer`, and shows its keys at `/keys`."""

    def __init__(self) -> None:
        self.signer = Signer("token-server")
        self._pages = Pages(self._answer)

    @property
    def realm(self) -> str:
        """Where clients are sent."""
        return f"{self._pages.url}/token"

    @property
    def keys(self) -> str:
        """Where its key set is."""
        return f"{self._pages.url}/keys"

    @property
    def asked(self) -> list[Asked]:
        """What it was asked."""
        return self._pages.asked

    def token(self, name: str, *scopes: str, **changed: Any) -> str:
        """Return a token for as much of what is asked as the table says."""
        access = []
        for scope in scopes:
            kind, _, rest = scope.partition(":")
            resource, _, actions = rest.rpartition(":")
            given = ACCESS[name].get(f"{kind}:{resource}", [])
            both = [action for action in actions.split(",") if action in given]
            access.append({"type": kind, "name": resource, "actions": both})
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": SERVICE, "sub": name, "nbf": now, "exp": now + 300, "access": access}
        return self.signer.sign({**claims, **changed})

    def __enter__(self) -> Self:
        self._pages.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pages.__exit__(kind, error, traceback)

    def _answer(self, asked: Asked) -> Page:
        parts = urlsplit(asked.path)
        if parts.path == "/keys":
            return Page(json.dumps({"keys": [self.signer.jwk]}).encode())
        if parts.path != "/token" or asked.method != "GET":
            return Page(status=404)
        name = ""
        if "authorization" in asked.headers:
            shown = base64.b64decode(asked.headers["authorization"].removeprefix("Basic ")).decode()
            name, _, password = shown.partition(":")
            if PEOPLE.get(name) != password:
                return Page(status=401)
        scopes = [one for text in parse_qs(parts.query).get("scope", []) for one in text.split()]
        return Page(json.dumps({"token": self.token(name, *scopes)}).encode())
