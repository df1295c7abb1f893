"""Bytes moved from one connection to another by the kernel."""

import asyncio
import hashlib
import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

import pytest

from registry.http.splicing import SocketSend, StreamCut

pytestmark = pytest.mark.anyio

KIB = 1024
CONTENT = hashlib.shake_256(b"spliced").digest(3000 * KIB + 1)


@dataclass(frozen=True)
class Ends:
    """Two connections: the far end of the source's, ours, the far end of the client's, ours."""

    store: socket.socket
    source: socket.socket
    client: socket.socket
    sink: socket.socket


def pair(buffer: int) -> tuple[socket.socket, socket.socket]:
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        here = socket.socket()
        here.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        here.connect(listening.getsockname())
        there, _ = listening.accept()
    for one in (here, there):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        one.setblocking(False)
    return here, there


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    """Connections that hold little, and nothing left of them afterwards."""
    before = set(os.listdir("/proc/self/fd"))
    (source, store), (sink, client) = pair(64 * KIB), pair(64 * KIB)
    yield Ends(store, source, client, sink)
    for one in (store, source, client, sink):
        one.close()
    assert set(os.listdir("/proc/self/fd")) <= before


def sending(ends: Ends, count: int = len(CONTENT), patience: float = 20, stall: float = 20) -> SocketSend:
    return SocketSend(os.dup(ends.sink.fileno()), ends.source.fileno(), count, patience, stall)


async def give(ends: Ends, data: bytes, pause: float = 0) -> None:
    loop = asyncio.get_running_loop()
    for at in range(0, len(data), 300 * KIB):
        await loop.sock_sendall(ends.store, data[at : at + 300 * KIB])
        await asyncio.sleep(pause)


async def take(ends: Ends, count: int, pause: float = 0) -> bytes:
    loop = asyncio.get_running_loop()
    received = bytearray()
    while len(received) < count and (data := await loop.sock_recv(ends.client, min(200 * KIB, count - len(received)))):
        received += data
        await asyncio.sleep(pause)
    return bytes(received)


@pytest.mark.parametrize(("slow_source", "slow_client"), [(0.0, 0.0), (0.02, 0.0), (0.0, 0.02)])
async def test_all_is_moved_in_order(ends: Ends, slow_source: float, slow_client: float) -> None:
    move = sending(ends)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(give(ends, CONTENT, slow_source))
        taking = tasks.create_task(take(ends, len(CONTENT), slow_client))
        tasks.create_task(move.run())
    assert taking.result() == CONTENT
    assert move.left == 0


async def test_not_more_is_taken_than_was_asked_for(ends: Ends) -> None:
    await give(ends, CONTENT[: 10 * KIB])
    await sending(ends, 7 * KIB).run()
    assert await take(ends, 7 * KIB) == CONTENT[: 7 * KIB]
    assert ends.source.recv(10 * KIB) == CONTENT[7 * KIB : 10 * KIB]


@pytest.mark.parametrize("reset", [False, True])
async def test_a_source_that_ends_early(ends: Ends, reset: bool) -> None:
    """What came is sent, even to a client that takes it late."""
    move = sending(ends)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(cut(move))
        await give(ends, CONTENT[: 30 * KIB])
        for _ in range(6000):
            if move.left == len(CONTENT) - 30 * KIB:
                break
            await asyncio.sleep(0.01)
        if reset:
            ends.store.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        ends.store.close()
        taking = tasks.create_task(take(ends, 30 * KIB))
    assert running.result() == move.left == len(CONTENT) - 30 * KIB
    assert taking.result() == CONTENT[: 30 * KIB]


async def cut(move: SocketSend) -> int:
    with pytest.raises(StreamCut) as cut:
        await move.run()
    return cut.value.left


async def test_a_source_that_ends_when_all_is_sent(ends: Ends) -> None:
    """Its end is no news while the client takes its time, and no reason to look again and again."""
    data = CONTENT[: 600 * KIB]
    move = sending(ends, len(data))
    async with asyncio.TaskGroup() as tasks:
        giving = tasks.create_task(give(ends, data))
        giving.add_done_callback(lambda _: ends.store.close())
        tasks.create_task(move.run())
        taking = tasks.create_task(take(ends, len(data), 0.05))
    assert taking.result() == data


async def test_a_source_that_is_silent(ends: Ends) -> None:
    await give(ends, CONTENT[:100])
    assert await cut(sending(ends, patience=0.1)) == len(CONTENT) - 100
    assert await take(ends, 100) == CONTENT[:100]


async def test_a_slow_client_is_not_the_sources_fault(ends: Ends) -> None:
    move = sending(ends, patience=0.5)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(give(ends, CONTENT))
        running = tasks.create_task(move.run())
        await asyncio.sleep(2)
        assert not running.done()
        taking = tasks.create_task(take(ends, len(CONTENT)))
    assert taking.result() == CONTENT


async def test_a_client_that_takes_nothing(ends: Ends) -> None:
    giving = asyncio.create_task(give(ends, CONTENT))
    with pytest.raises(TimeoutError):
        await sending(ends, stall=0.2).run()
    giving.cancel()
    with suppress(asyncio.CancelledError):
        await giving


async def test_a_client_that_goes(ends: Ends) -> None:
    ends.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    giving = asyncio.create_task(give(ends, CONTENT))
    running = asyncio.create_task(sending(ends).run())
    await asyncio.sleep(0.05)
    ends.client.close()
    with pytest.raises(OSError, match=r"reset|pipe"):
        await running
    giving.cancel()
    with suppress(asyncio.CancelledError):
        await giving


async def test_who_is_told_to_stop_stops(ends: Ends) -> None:
    move = sending(ends)
    running = asyncio.create_task(move.run())
    await asyncio.sleep(0.02)
    move.stop()
    with pytest.raises(ConnectionResetError):
        await running
    move.stop()


async def test_cancelling_leaves_nothing_open(ends: Ends) -> None:
    running = asyncio.create_task(sending(ends).run())
    await asyncio.sleep(0.02)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
