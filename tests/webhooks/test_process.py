"""The process that delivers: there while there is somebody to tell, of low priority, and replaced when it dies."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from tests.factories import OCI_MANIFEST, image_manifest, push_blob
from tests.support.receiver import Receiver, first_arrivals
from tests.support.server import Server, ServerFactory, new_client

NICE = 10


def delivering(server: Server) -> list[int]:
    """Return the processes of a server that deliver."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                command = (folder / "cmdline").read_bytes()
                if b"registry.delivery" in command and os.getpgid(int(folder.name)) == server.pid:
                    found.append(int(folder.name))
            except OSError:
                pass  # it ended meanwhile
    return found


def wait_until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def push(client: httpx.Client, number: int) -> None:
    manifest = image_manifest(b"content", [b"content"], annotations={"number": str(number)})
    path = f"/v2/team/app/manifests/v{number}"
    assert client.put(path, content=manifest, headers={"Content-Type": OCI_MANIFEST}).status_code == 201


def delivered(client: httpx.Client) -> float:
    """Return how many messages metrics say were delivered."""
    lines = client.get("/metrics").text.splitlines()
    (tries,) = [line for line in lines if line.startswith('stowage_webhook_tries_total{outcome="delivered"}')]
    return float(tries.split()[-1])


def settings(receiver: Receiver) -> dict[str, str]:
    return {"STOWAGE_WEBHOOKS": json.dumps([{"name": "one", "url": receiver.url, "allow_private": True}])}


def test_it_is_replaced_when_it_dies_and_ends_with_its_server(fresh_server: ServerFactory) -> None:
    with Receiver() as receiver:
        server = fresh_server(**settings(receiver))
        with new_client(server) as client:
            push_blob(client, "team/app", b"content")
            wait_until(lambda: delivering(server))
            (first,) = delivering(server)
            wait_until(lambda: os.getpriority(os.PRIO_PROCESS, first) == NICE)
            for number in range(5):
                push(client, number)
            receiver.wait_for(lambda: len(first_arrivals(receiver.taken)) > 0)
            os.kill(first, signal.SIGKILL)
            for number in range(5, 10):
                push(client, number)
            receiver.wait_for(lambda: len(first_arrivals(receiver.taken)) == 10)
            (second,) = delivering(server)
            wait_until(lambda: delivered(client) > 0)
        server.stop()
        wait_until(lambda: not Path(f"/proc/{second}").exists())
    assert second != first
    assert [one.tag for one in first_arrivals(receiver.taken)] == [f"v{number}" for number in range(10)]
    assert "the process that delivers ended with status -9" in server.log_tail()


def test_who_stops_has_written_down_what_was_taken(fresh_server: ServerFactory) -> None:
    """So that nothing comes twice when a server is started anew as it should be."""
    with Receiver() as receiver:
        server = fresh_server(**settings(receiver))
        with new_client(server) as client:
            push_blob(client, "team/app", b"content")
            wait_until(lambda: delivering(server))
            for number in range(10):
                push(client, number)
            receiver.wait_for(lambda: len(receiver.taken) == 10)
        server.restart()
        with new_client(server) as client:
            push(client, 10)
            receiver.wait_for(lambda: len(receiver.taken) >= 11)
    assert [one.tag for one in receiver.taken] == [f"v{number}" for number in range(11)]


def test_without_webhooks_there_is_none(server: Server, client: httpx.Client) -> None:
    push_blob(client, "test/none", b"content")
    assert delivering(server) == []
