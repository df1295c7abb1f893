"""One replica after the other is killed while clients push: they try again, and lose nothing; all can be given back."""

import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.factories import digest_of
from tests.faults.gc_now import SOON, collect_all, delete_everything, left
from tests.replicas.pushers import Pusher
from tests.support.fleet import Fleet
from tests.support.server import Server, new_client

LONG = os.environ.get("STOWAGE_LONG") == "1"
SECONDS = 300 if LONG else 5
PUSHERS = 3
HOLD = {"STOWAGE_COLLECTION__HOLD": SOON["STOWAGE_COLLECTION__HOLD"]}
KILLS = 3
"""At least, however long they take."""


@pytest.mark.timeout(SECONDS + 600)
def test_nothing_acknowledged_is_lost_and_all_of_it_can_be_given_back(tmp_path: Path) -> None:
    seed = os.environ.get("STOWAGE_SEED") or os.urandom(4).hex()
    print(f"STOWAGE_SEED={seed}")
    with Fleet(tmp_path, {"STOWAGE_COLLECTION__ENABLED": "false", **HOLD}) as fleet:
        pushers = [Pusher(fleet.client, f"killed/{number}", seed) for number in range(PUSHERS)]
        for pusher in pushers:
            pusher.start()
        try:
            kills = kill_in_turns(fleet, pushers, random.Random(seed))
        finally:
            for pusher in pushers:
                pusher.leave.set()
            for pusher in pushers:
                pusher.join(180)
        assert [pusher.fault for pusher in pushers if pusher.fault or pusher.is_alive()] == []
        print(f"{kills} kills, {[(len(one.images), one.retries) for one in pushers]} images and retries")
        assert cut_off(pushers) > 0
        pull_from_each(fleet, pushers)
        with fleet.client() as client:
            delete_everything(client, [pusher.repository for pusher in pushers])
        first, *others = fleet.replicas
        collect_all(first)
        for replica in others:
            replica.stop()
        assert left(first) == []


def kill_in_turns(fleet: Fleet, pushers: list[Pusher], moments: random.Random) -> int:
    """Kill a replica and start it again, at random moments, until there was time enough; return how often.

    It goes on until somebody was cut off: nginx hides from clients that a replica is away as long as it can.
    """
    end, kills = time.monotonic() + SECONDS, 0
    while not any(pusher.fault for pusher in pushers):
        if time.monotonic() > end and kills >= KILLS and (cut_off(pushers) or time.monotonic() > end + 120):
            break
        time.sleep(moments.uniform(0.2, 1.5))
        victim = moments.choice(fleet.replicas)
        victim.kill()
        time.sleep(moments.uniform(0, 0.5))
        victim.start()
        kills += 1
    return kills


def cut_off(pushers: list[Pusher]) -> int:
    """How often they had to try again."""
    return sum(pusher.retries for pusher in pushers)


def pull_from_each(fleet: Fleet, pushers: list[Pusher]) -> None:
    """Pull all that was acknowledged to any client from every replica."""

    def pull(replica: Server) -> None:
        with new_client(replica) as client:
            for pusher in pushers:
                pull_all(client, pusher)

    with ThreadPoolExecutor(len(fleet.replicas)) as pool:
        list(pool.map(pull, fleet.replicas))


def pull_all(client: httpx.Client, pusher: Pusher) -> None:
    """Pull all that was acknowledged to a client, and compare it."""
    at = f"/v2/{pusher.repository}"
    listed = client.get(f"{at}/tags/list", params={"n": "1000"}).json()["tags"]
    assert set(pusher.images) <= set(listed)
    blobs: dict[str, bytes] = {}
    for tag, (manifest, contents) in pusher.images.items():
        assert client.get(f"{at}/manifests/{tag}").content == manifest
        blobs |= {digest_of(content): content for content in contents}
    for digest, content in blobs.items():
        found = client.get(f"{at}/blobs/{digest}")
        assert (found.status_code, found.content == content) == (200, True), f"{digest}: {found.text[:200]}"
