"""POSTs over kept connections, against servers that are well-behaved, and that are not."""

import asyncio
import gc
import gzip
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from auth.errors import FetchRefused, SourceUnavailable
from auth.guard import Guard
from auth.posting import Poster
from tests.support.certificates import make_certificate
from tests.support.pages import Asked, Page, Pages
from tests.support.ports import free_port

pytestmark = pytest.mark.anyio

HERE = Guard(private=True)
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def talking(talk: Talk) -> AsyncIterator[str]:
    """A server that says what a test wants it to say on each connection. Yields its URL."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(one, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"


async def read_one(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return await reader.readexactly(length)


async def test_what_is_posted_arrives_and_the_answer_comes_back() -> None:
    def answer(asked: Asked) -> Page:
        return Page(b"too\nmuch\x00", status=429, headers={"retry-after": "7"})

    with Pages(answer) as pages:
        poster = Poster(f"{pages.url}/a?b=c", HERE, timeout_s=5)
        found = await poster.post(b"{}", {"x-mine": "1", "content-type": "application/json"})
        await poster.close()
    (asked,) = pages.asked
    assert (asked.method, asked.path, asked.body, asked.headers["x-mine"]) == ("POST", "/a?b=c", b"{}", "1")
    assert asked.headers["host"] == f"127.0.0.1:{pages.port}"
    assert (found.status, found.retry_after_s, found.said) == (429, 7, "too much")


async def test_a_connection_is_used_again_and_given_up_when_it_ended_meanwhile() -> None:
    connections: list[int] = []

    async def twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(0)
        for _ in range(2):
            connections[-1] += 1 if await read_one(reader) else 0
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()  # then it hangs up, though it said nothing of that

    async with talking(twice) as url:
        poster = Poster(url, HERE, timeout_s=5)
        assert [(await poster.post(b"x", {})).status for _ in range(6)] == [204] * 6
        await poster.close()
    assert connections == [2, 2, 2]


async def test_a_connection_that_is_closing_leaves_nothing_behind(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody is told of an error that nobody waits for."""
    with Pages(lambda asked: Page()) as pages:
        poster = Poster(pages.url, HERE, timeout_s=5)
        await poster.post(b"x", {})
        (kept,) = poster._kept
        assert kept._transport is not None
        kept._transport.abort()  # what comes of it comes later
        kept.may_be_kept = True
        assert (await poster.post(b"x", {})).status == 200
        await poster.close()
    del kept
    await asyncio.sleep(0)
    gc.collect()
    assert [record for record in caplog.records if record.name == "asyncio"] == []


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\nok", 201),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", 200),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\ncut", 200),
        (b"HTTP/1.1 500 No\r\ncontent-length: 1000000\r\n\r\n" + b"x" * 200_000, 500),
        (b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n", 302),
    ],
)
async def test_every_kind_of_answer_has_its_status(said: bytes, status: int) -> None:
    asked: list[bytes] = []

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await read_one(reader))
        writer.write(said)
        await writer.drain()

    async with talking(say) as url:
        poster = Poster(url, HERE, timeout_s=5)
        assert (await poster.post(b"x", {})).status == status
        await poster.close()
    assert asked == [b"x"]


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"nothing that anybody knows\r\n\r\n",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\nx: " + b"x" * 200_000,
        b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    ],
)
async def test_what_is_no_answer_is_none(said: bytes) -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_one(reader)
        writer.write(said)
        await writer.drain()

    async with talking(say) as url:
        with pytest.raises(SourceUnavailable):
            await Poster(url, HERE, timeout_s=5).post(b"x", {})


async def test_nobody_waits_longer_than_they_mean_to() -> None:
    left = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_one(reader)
        writer.write(b"HTTP/1.1 200 ")
        await reader.read()  # until the other side has gone
        left.set()

    async with talking(hang) as url:
        with pytest.raises(SourceUnavailable, match="within 1 s"):
            await Poster(url, HERE, timeout_s=1).post(b"x", {})
        await left.wait()
    with pytest.raises(SourceUnavailable):
        await Poster(f"http://127.0.0.1:{free_port()}/", HERE, timeout_s=5).post(b"x", {})


@pytest.mark.parametrize(
    ("first", "again", "status"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536, 200),
        (b"HTTP/1.1 500 No\r\ntransfer-encoding: chunked\r\n\r\n", b"ffff\r\n" + b"x" * 65535 + b"\r\n", 500),
        (b"HTTP/1.1 400 No\r\ncontent-encoding: gzip\r\n\r\n", gzip.compress(bytes(2**24)), 400),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100, None),
        (b"HTTP/1.1 200 OK\r\n", b"x-a: " + b"x" * 1000 + b"\r\n", None),
    ],
    ids=["a body", "chunks", "what is small and says that it is large", "no answer yet", "headers"],
)
async def test_an_answer_without_an_end_is_left(first: bytes, again: bytes, status: int | None) -> None:
    left = asyncio.Event()

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_one(reader)
        writer.write(first)
        try:
            while True:
                writer.write(again)
                await writer.drain()
        finally:
            left.set()

    async with talking(flood) as url:
        poster = Poster(url, HERE, timeout_s=60)
        if status is None:
            with pytest.raises(SourceUnavailable, match="end of its head"):
                await poster.post(b"x", {})
        else:
            answer = await poster.post(b"x", {})
            assert answer.status == status
            assert len(answer.said) <= 512
        await left.wait()


async def test_an_answer_that_comes_a_byte_at_a_time_is_not_waited_for() -> None:
    left = asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_one(reader)
        try:
            for byte in b"HTTP/1.1 200 OK\r\nx-a: " + b"x" * 10_000:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.01)
        finally:
            left.set()

    async with talking(drip) as url:
        with pytest.raises(SourceUnavailable, match="within 1 s"):
            await Poster(url, HERE, timeout_s=1).post(b"x", {})
        await left.wait()


@pytest.mark.parametrize(
    "url",
    [
        "https://0.0.0.0/",
        "https://[::]/",
        "https://[::ffff:0.0.0.0]/",
        "https://[fe80::1%25lo]/",
        "https://[fe80::1%lo]/",
        "https://me@example.org/",
        "https://example.org@127.0.0.1/",
        "https://example.org\\@127.0.0.1/",
        "https://exa mple.org/",
        "https://example.org/a\r\nx: y",
        "https://example.org/a b",
        "https://example.org:0/",
        "https:///hook",
        "file:///etc/passwd",
    ],
)
async def test_some_urls_are_never_posted_to(url: str) -> None:
    for guard in (HERE, Guard(), Guard(networks=(ip_network("0.0.0.0/0"), ip_network("::/0")))):
        with pytest.raises(FetchRefused):
            await Poster(url, guard, timeout_s=5).post(b"x", {})


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]", "[fd00:ec2::254]", "[fe80::1]"]
)
async def test_what_machines_are_told_of_themselves_is_not_for_those_of_the_database(host: str) -> None:
    for guard in (Guard(), Guard(networks=(ip_network("10.0.0.0/8"),))):
        with pytest.raises(FetchRefused, match="not for everybody"):
            await Poster(f"https://{host}/latest/meta-data/", guard, timeout_s=5).post(b"x", {})


async def test_the_certificate_has_to_be_of_the_name(tmp_path: Path) -> None:
    mine, other = make_certificate(tmp_path / "mine"), make_certificate(tmp_path / "other")
    with Pages(lambda asked: Page(), mine) as pages:
        trusted = Poster(f"https://localhost:{pages.port}/", Guard(True, ca=mine.certificate), timeout_s=5)
        assert (await trusted.post(b"x", {})).status == 200
        await trusted.close()
        for ca in (other.certificate, None):
            with pytest.raises(SourceUnavailable, match=r"(?i)certificate"):
                await Poster(f"https://localhost:{pages.port}/", Guard(True, ca=ca), timeout_s=5).post(b"x", {})


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0x7f.1", "2130706433"])
async def test_this_machine_is_not_posted_to_unless_it_may_be(host: str, tmp_path: Path) -> None:
    with Pages(lambda asked: Page(), make_certificate(tmp_path)) as pages:
        for guard in (Guard(), Guard(networks=(ip_network("10.0.0.0/8"),))):
            with pytest.raises((FetchRefused, SourceUnavailable)):
                await Poster(f"https://{host}:{pages.port}/", guard, timeout_s=5).post(b"x", {})
    assert pages.asked == []


async def test_a_network_that_is_listed_may_be_posted_to_without_tls() -> None:
    listed = Guard(networks=(ip_network("127.0.0.0/8"),))
    with Pages(lambda asked: Page()) as pages:
        poster = Poster(f"http://127.0.0.1:{pages.port}/", listed, timeout_s=5)
        assert (await poster.post(b"x", {})).status == 200
        await poster.close()
    with pytest.raises(FetchRefused, match=r"93\.184\.216\.34"):  # in the open, and not listed
        await Poster("http://93.184.216.34/", listed, timeout_s=5).post(b"x", {})


async def test_the_address_that_was_looked_at_is_the_one_that_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up: list[str] = []
    real = socket.getaddrinfo

    def rebinding(host: str, port: int, **more: Any) -> Any:
        if host != "rebinding.test":
            return real(host, port, **more)
        looked_up.append(host)
        address = "127.0.0.1" if len(looked_up) == 1 else "127.0.0.2"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    with Pages(lambda asked: Page()) as pages:
        poster = Poster(f"http://rebinding.test:{pages.port}/", HERE, timeout_s=5)
        assert [(await poster.post(b"x", {})).status for _ in range(2)] == [200, 200]
        await poster.close()
    assert looked_up == ["rebinding.test"]
    assert pages.asked[0].headers["host"] == f"rebinding.test:{pages.port}"


@pytest.mark.parametrize("value", ["a\r\nx: y", "a\nb", "ä€", "a\0"])
async def test_a_header_is_one_line(value: str) -> None:
    with Pages(lambda asked: Page()) as pages, pytest.raises(FetchRefused, match="header"):
        await Poster(pages.url, HERE, timeout_s=5).post(b"x", {"x-mine": value})
    assert pages.asked == []


async def test_a_name_that_nobody_answers_for_holds_up_itself_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answered = 0, threading.Event()
    real = socket.getaddrinfo

    def slow(host: str, port: int, **more: Any) -> Any:
        nonlocal asked
        if host == "slow.test":
            asked += 1
            answered.wait(60)
            raise OSError("nobody knows")
        return real(host, port, **more)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    try:
        hanging = Poster("http://slow.test/", HERE, timeout_s=0.05)
        for _ in range(20):
            with pytest.raises(SourceUnavailable, match="within"):
                await hanging.post(b"x", {})
        with Pages(lambda asked: Page()) as pages:
            poster = Poster(pages.url, HERE, timeout_s=20)
            assert (await poster.post(b"x", {})).status == 200
            await poster.close()
    finally:
        answered.set()
    assert asked == 1
