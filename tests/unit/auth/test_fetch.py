"""The guarded fetch, against a server that means no good."""

import asyncio
import gzip
import socket
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from auth.errors import FetchRefused, SourceUnavailable
from auth.fetch import Fetched, Fetcher
from auth.guard import checked_url
from registry.http import eager
from tests.support.certificates import make_certificate
from tests.support.pages import Asked, Page, Pages
from tests.support.ports import free_port

pytestmark = pytest.mark.anyio


def hello(asked: Asked) -> Page:
    return Page(b'{"hello": "there"}', headers={"cache-control": "public, max-age=30"})


async def test_what_is_asked_comes_with_how_long_it_may_be_kept() -> None:
    with Pages(hello) as pages:
        found = await Fetcher(private=True).get(f"{pages.url}/a?b=c#d", headers={"x-mine": "1"})
    assert (found.document(), found.max_age) == ({"hello": "there"}, 30)
    (asked,) = pages.asked
    assert (asked.path, asked.headers["x-mine"]) == ("/a?b=c", "1")
    assert asked.headers["host"] == f"127.0.0.1:{pages.port}"


async def test_a_request_that_has_no_task_yet_asks_too() -> None:
    """As requests run in the server until they first wait."""
    found: list[Fetched] = []

    async def ask(url: str) -> None:
        found.append(await Fetcher(private=True).get(url))

    with Pages(hello) as pages:
        going_on = await _started(ask(pages.url))
        assert going_on is not None
        await going_on
    assert found[0].status == 200


async def _started(coroutine: Coroutine[Any, Any, None]) -> "asyncio.Task[None] | None":
    loop = asyncio.get_running_loop()
    started: asyncio.Future[asyncio.Task[None] | None] = loop.create_future()

    def start() -> None:
        try:
            started.set_result(eager.start(loop, coroutine))
        except RuntimeError as error:
            started.set_exception(error)

    loop.call_soon(start)  # where there is no current task
    return await started


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0x7f.1", "2130706433"])
async def test_this_machine_is_not_asked_unless_it_may_be(host: str, tmp_path: Path) -> None:
    with Pages(hello, make_certificate(tmp_path)) as pages, pytest.raises((FetchRefused, SourceUnavailable)):
        await Fetcher().get(f"https://{host}:{pages.port}/")
    assert pages.asked == []


async def test_a_name_that_means_something_else_the_second_time_leads_nowhere_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """DNS rebinding: the name is looked up once, and the connection goes to what was looked at."""
    looked_up: list[str] = []

    async def rebinding(self: Any, host: str, port: int, **more: Any) -> list[Any]:
        looked_up.append(host)
        address = "127.0.0.1" if len(looked_up) == 1 else "127.0.0.2"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", rebinding)
    with Pages(hello) as pages:
        await Fetcher(private=True).get(f"http://rebinding.test:{pages.port}/")
        assert pages.asked[0].headers["host"] == f"rebinding.test:{pages.port}"
    assert looked_up == ["rebinding.test"]


async def test_one_wrong_address_among_right_ones_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    async def mixed(self: Any, host: str, port: int, **more: Any) -> list[Any]:
        both = ("93.184.216.34", "127.0.0.1")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in both]

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", mixed)
    with pytest.raises(FetchRefused, match=r"127\.0\.0\.1"):
        await Fetcher().get("https://mixed.test/")


async def test_the_next_address_is_asked_where_the_first_takes_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async def two(self: Any, host: str, port: int, **more: Any) -> list[Any]:
        both = ("127.0.0.2", "127.0.0.1")  # the server listens on the second
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in both]

    with Pages(hello) as pages:
        monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", two)
        found = await Fetcher(private=True).get(f"http://two.test:{pages.port}/")
    assert found.status == 200


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (Page(status=302, headers={"location": "http://169.254.169.254/"}), "redirects"),
        (Page(status=307, headers={"location": "/elsewhere"}), "redirects"),
        (Page(status=404), "404"),
        (Page(b"x" * 2000), "larger than 1000"),
        (Page(gzip.compress(b"x" * 10**6), headers={"content-encoding": "gzip"}), "compressed"),
    ],
)
async def test_an_answer_that_is_not_right_is_refused(page: Page, said: str) -> None:
    with Pages(lambda asked: page) as pages:
        with pytest.raises(FetchRefused, match=said):
            await Fetcher(private=True, max_size=1000).get(pages.url)
        assert len(pages.asked) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_server_that_can_not_answer_now_is_away(status: int) -> None:
    with Pages(lambda asked: Page(status=status)) as pages, pytest.raises(SourceUnavailable, match=str(status)):
        await Fetcher(private=True).post(pages.url, {"a": "b"})


async def test_an_answer_that_never_ends_is_not_waited_for() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.02)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(SourceUnavailable, match="within 1 s"):
            await Fetcher(private=True, timeout_s=1).get(f"http://127.0.0.1:{port}/")


async def test_a_url_that_is_too_long_is_refused() -> None:
    with Pages(hello) as pages, pytest.raises(FetchRefused, match="not a URL"):
        await Fetcher(private=True).get(f"{pages.url}/{'a' * 70_000}")


async def test_nobody_there_is_said() -> None:
    with pytest.raises(SourceUnavailable, match="can't be asked"):
        await Fetcher(private=True).get(f"http://127.0.0.1:{free_port()}/")


async def test_a_server_is_known_by_its_certificate(tmp_path: Path) -> None:
    mine, other = make_certificate(tmp_path / "a"), make_certificate(tmp_path / "b")
    with Pages(hello, mine) as pages:
        for host in ("127.0.0.1", "localhost"):
            url = f"https://{host}:{pages.port}/"
            assert (await Fetcher(private=True, ca=mine.certificate).get(url)).status == 200
            for ca in (other.certificate, None):
                with pytest.raises(SourceUnavailable, match="certificate verify failed"):
                    await Fetcher(private=True, ca=ca).get(url)


async def test_a_certificate_for_another_name_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def here(self: Any, host: str, port: int, **more: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    mine = make_certificate(tmp_path)
    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", here)
    with Pages(hello, mine) as pages, pytest.raises(SourceUnavailable, match="certificate"):
        await Fetcher(private=True, ca=mine.certificate).get(f"https://other.test:{pages.port}/")


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/",
        "ftp://example.org/",
        "file:///etc/passwd",
        "https://",
        "https://user:secret@example.org/",
        "https://example.org:0/",
        "https://example.org:99999/",
        "https://exa\nmple.org/",
        "https://[::1/",
        "https://ex\u00e4mple.org/",
        "//example.org/",
        "https://.",
        "https://a..b/",
        "https://a b/",
        "https://a%00b/",
        "https://[fe80::1%25eth0]/",
        f"https://{'a' * 64}.org/",
    ],
)
def test_only_urls_of_https_without_a_user_are_asked(url: str) -> None:
    with pytest.raises(FetchRefused) as caught:
        checked_url(url, plain=False)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("body", [b"", b"[]", b"nothing", b"\xff", b"[" * 100_000])
async def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with Pages(lambda asked: Page(body)) as pages:
        found = await Fetcher(private=True).get(pages.url)
    with pytest.raises(FetchRefused, match="JSON"):
        found.document()
