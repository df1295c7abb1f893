"""Clients that log in as real ones do: with a token, and with another one from time to time."""

import base64
import time
from collections.abc import Generator

import httpx


class Tokens(httpx.Auth):
    """Shows a token that it fetches with a name and a password, at first and again every now and then.

    Args:
        who: the name and the password.
        scopes: what the tokens are for.
        every_s: how long it uses one.

    Raises:
        httpx.ReadError: there is no token now (502, 503, 504), as if the connection had been cut off.
    """

    requires_response_body = True

    def __init__(self, who: tuple[str, str], *scopes: str, every_s: float = 1.0) -> None:
        self._basic = "Basic " + base64.b64encode(":".join(who).encode()).decode()
        self._parameters = [("service", "stowage"), *(("scope", scope) for scope in scopes)]
        self._every_s = every_s
        self._until = 0.0
        self._bearer = ""

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Send a request, after one for a token where that is due."""
        if time.monotonic() >= self._until:
            url = httpx.URL(request.url.join("/token"), params=self._parameters)
            answer = yield httpx.Request("GET", url, headers={"Authorization": self._basic})
            if answer.status_code in {502, 503, 504}:
                raise httpx.ReadError("no token now")
            assert answer.status_code == 200, answer.text
            self._bearer = f"Bearer {answer.json()['token']}"
            self._until = time.monotonic() + self._every_s
        request.headers["Authorization"] = self._bearer
        yield request


def for_repository(*names: str) -> list[str]:
    """Return scopes with which everything can be done in some repositories."""
    return [f"repository:{name}:pull,push,delete" for name in names]
