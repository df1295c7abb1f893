"""What is built when somebody asks for it first."""

import asyncio

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from registry.api.when_asked import Late, Mounted
from registry.errors import Unavailable

pytestmark = pytest.mark.anyio


class App:
    """Remembers the paths that it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.append(scope["path"])


async def ask(app: ASGIApp, path: str, kind: str = "http") -> None:
    async def receive() -> Message:
        raise AssertionError("nobody listens here")

    async def send(message: Message) -> None:
        raise AssertionError("nobody answers here")

    await app({"type": kind, "path": path}, receive, send)


async def test_it_is_built_once_for_all_who_ask_meanwhile() -> None:
    app = App()
    built: list[App] = []

    def build() -> ASGIApp:
        built.append(app)
        return app

    late = Late(build, name="a test")
    assert not built
    await asyncio.gather(*(ask(late, path) for path in ("/a", "/b")))
    await ask(late, "/c")
    assert (built, sorted(app.asked)) == ([app], ["/a", "/b", "/c"])


async def test_what_could_not_be_built_is_built_for_the_next() -> None:
    app = App()
    results: list[App | Unavailable] = [Unavailable("not yet"), app]

    def build() -> ASGIApp:
        result = results.pop(0)
        if isinstance(result, Unavailable):
            raise result
        return result

    late = Late(build, name="a test")
    with pytest.raises(Unavailable):
        await ask(late, "/a")
    await ask(late, "/b")
    assert app.asked == ["/b"]


async def test_the_api_is_asked_what_is_below_its_prefix() -> None:
    api, rest = App(), App()
    mounted = Mounted(rest, api)
    for path in ("/api/v1", "/api/v1/me", "/api/v10", "/api", "/v2/", "/"):
        await ask(mounted, path)
    await ask(mounted, "/api/v1", "lifespan")
    assert (api.asked, rest.asked) == (["/api/v1", "/api/v1/me"], ["/api/v10", "/api", "/v2/", "/", "/api/v1"])
