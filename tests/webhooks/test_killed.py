"""Servers are killed again and again while clients push and receivers misbehave: all that was acknowledged arrives."""

import json
import os
import random
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.factories import OCI_MANIFEST, image_manifest, push_blob
from tests.support.fleet import Fleet
from tests.support.receiver import Received, Receiver, Rudeness, first_arrivals
from tests.support.served import eventually
from tests.support.server import Server, new_client
from tests.support.workers import children

LONG = os.environ.get("STOWAGE_LONG") == "1"
SECONDS = 300 if LONG else 5
KILLS = 3
PUSHERS = 3
ENDPOINTS = ("moody", "rude", "steady")


class Pusher(threading.Thread):
    """Pushes one tag after the other to a repository of its own, each until it is acknowledged, until told to leave.

    Attributes:
        tags: those that were acknowledged, in order.
        fault: what it did not expect.
    """

    def __init__(self, make_client: Callable[[], httpx.Client], repository: str) -> None:
        super().__init__(name=repository, daemon=True)
        self.repository = repository
        self.tags: list[str] = []
        self.fault = ""
        self.leave = threading.Event()
        self._make_client = make_client

    def run(self) -> None:
        """Push."""
        try:
            with self._make_client() as client:
                self._until_it_works(lambda: push_blob(client, self.repository, b"content"))
                while not self.leave.is_set():
                    tag = f"t{len(self.tags):05}"
                    self._until_it_works(lambda tag=tag: self._push(client, tag))  # type: ignore[misc]  # a lambda's default
                    self.tags.append(tag)
                    self.leave.wait(0.2)
        except Exception as error:  # noqa: BLE001 - handed to the test
            self.fault = repr(error)

    def _push(self, client: httpx.Client, tag: str) -> None:
        manifest = image_manifest(b"content", [b"content"], annotations={"tag": tag})
        path = f"/v2/{self.repository}/manifests/{tag}"
        client.put(path, content=manifest, headers={"Content-Type": OCI_MANIFEST}).raise_for_status()

    def _until_it_works(self, act: Callable[[], object]) -> None:
        for attempt in range(200):
            try:
                act()
            except (httpx.TransportError, httpx.HTTPStatusError, AssertionError, KeyError):
                time.sleep(0.05 * min(attempt, 10))
            else:
                return
        raise AssertionError(f"nothing can be pushed to {self.repository}")


def settings(url: str) -> dict[str, str]:
    common = {"allow_private": True, "backoff": "1s", "backoff_cap": "1s", "timeout": "3s", "max_attempts": 0}
    webhooks = [{"name": name, "url": f"{url}/{name}", "secret": "hunter2", **common} for name in ENDPOINTS]
    return {"STOWAGE_WEBHOOKS": json.dumps(webhooks)}


def behaving(chance: random.Random) -> Callable[[Received], int | Rudeness]:
    def answer(message: Received) -> int | Rudeness:
        moods: dict[str, list[int | Rudeness]] = {
            "/moody": [*[204] * 30, 500, 429],
            "/rude": [*[204] * 60, *[Rudeness.CUT] * 2, Rudeness.HANG],
            "/steady": [204],
        }
        return chance.choice(moods[message.path])

    return answer


def missing(receiver: Receiver, pushers: list[Pusher]) -> list[tuple[str, str, str]]:
    """Return which acknowledged pushes no endpoint took yet."""
    taken = {(one.path, one.repository, one.tag) for one in list(receiver.taken) if one.event["action"] == "push"}
    wanted = [(f"/{name}", one.repository, tag) for name in ENDPOINTS for one in pushers for tag in list(one.tags)]
    return [one for one in wanted if one not in taken]


def check_order_and_ids(receiver: Receiver) -> None:
    """Fail if a repository's events first arrived in another order somewhere, or one was another at a later try.

    Or if one was known by another id at a later try, or at another endpoint.
    """
    ids: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for one in receiver.received:
        ids[one.repository, one.tag, one.event["timestamp"]].add(one.id)
    assert {len(some) for some in ids.values()} == {1}
    for name in ENDPOINTS:
        messages = [one for one in receiver.received if one.path == f"/{name}"]
        order: dict[str, list[str]] = defaultdict(list)
        for one in first_arrivals(messages):
            order[one.repository].append(one.tag)
        for repository, tags in order.items():
            assert tags == sorted(tags), f"{name}: {repository}"
        bodies: dict[str, set[bytes]] = defaultdict(set)
        for one in messages:
            bodies[one.id].add(one.body)
            assert one.event["id"] == one.id
            assert one.headers["webhook-signature"].startswith("v1,")
        assert {len(some) for some in bodies.values()} == {1}


def kill_one_of(server: Server, chance: random.Random) -> None:
    """End one process of a server, which goes on: one that serves, or the one that delivers, if it has that."""
    found = children(server.pid)
    for child in list(found):
        found += children(child)
    if found:
        with suppress(ProcessLookupError):
            os.kill(chance.choice(found), signal.SIGKILL)


def run(receiver: Receiver, pushers: list[Pusher], servers: list[Server], chance: random.Random) -> None:
    for pusher in pushers:
        pusher.start()
    try:
        end, kills = time.monotonic() + SECONDS, 0
        while not any(pusher.fault for pusher in pushers):
            if time.monotonic() >= end and kills >= KILLS and all(pusher.tags for pusher in pushers):
                break
            told = len(receiver.received) + chance.randint(1, 40)
            receiver.wait_for(lambda told=told: len(receiver.received) >= told, 180)  # type: ignore[misc]  # a lambda's default
            time.sleep(chance.uniform(0, 0.7))
            victim = chance.choice(servers)
            if chance.random() < 0.3:
                kill_one_of(victim, chance)
                kills += 1
                continue
            victim.kill()
            if chance.random() < 0.4:  # the receiver is away for a while, too
                receiver.stop()
                time.sleep(chance.uniform(0.1, 0.5))
                receiver.start()
            victim.start()
            kills += 1
    finally:
        for pusher in pushers:
            pusher.leave.set()
        for pusher in pushers:
            pusher.join(180)
    assert [pusher.fault for pusher in pushers if pusher.fault or pusher.is_alive()] == []
    assert all(pusher.tags for pusher in pushers)
    print(f"{kills} kills, {sum(len(one.tags) for one in pushers)} pushes, {len(receiver.received)} messages")
    with suppress(AssertionError):
        eventually(lambda: not missing(receiver, pushers), 400)  # who delivers is nice to whatever else there is
    assert missing(receiver, pushers) == []
    check_order_and_ids(receiver)


@pytest.fixture
def chance() -> random.Random:
    seed = os.environ.get("STOWAGE_SEED") or os.urandom(4).hex()
    print(f"STOWAGE_SEED={seed}")
    return random.Random(seed)


@pytest.mark.timeout(SECONDS + 600)
def test_one_server(tmp_path: Path, chance: random.Random) -> None:
    with (
        Receiver(behaving(chance)) as receiver,
        Server(tmp_path, settings(receiver.url), ("--workers", "2")) as server,
    ):
        pushers = [Pusher(lambda: new_client(server), f"team/{number}") for number in range(PUSHERS)]
        run(receiver, pushers, [server], chance)


@pytest.mark.timeout(SECONDS + 600)
def test_three_replicas(tmp_path: Path, chance: random.Random) -> None:
    with Receiver(behaving(chance)) as receiver, Fleet(tmp_path, settings(receiver.url)) as fleet:
        pushers = [Pusher(fleet.client, f"team/{number}") for number in range(PUSHERS)]
        run(receiver, pushers, fleet.replicas, chance)
