"""One replica after the other is killed while clients push: they try again, and lose nothing; all can be given back."""

import json
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from registry.services.revision import OLDEST_S
from tests.cli.commands import printed
from tests.events.stream import Follower
from tests.factories import digest_of
from tests.faults.gc_now import SOON, collect_all, delete_everything, left
from tests.replicas.pushers import Pusher
from tests.support.fleet import Fleet
from tests.support.people import ALICE, People, asking, settings_for
from tests.support.served import eventually
from tests.support.server import Server
from tests.support.tokens import Tokens, for_repository

LONG = os.environ.get("STOWAGE_LONG") == "1"
SECONDS = 300 if LONG else 5
PUSHERS = 3
PROJECT = "killed"
HOLD = {"STOWAGE_COLLECTION__HOLD": SOON["STOWAGE_COLLECTION__HOLD"]}
KILLS = 3
"""At least, however long they take."""


@pytest.mark.timeout(SECONDS + 900)
@pytest.mark.parametrize("mode", ["open", "users"])
def test_nothing_acknowledged_is_lost_and_all_of_it_can_be_given_back(tmp_path: Path, mode: str) -> None:
    """In mode users clients log in again and again meanwhile, and the project has a quota; else somebody follows."""
    seed = os.environ.get("STOWAGE_SEED") or os.urandom(4).hex()
    print(f"STOWAGE_SEED={seed}")
    login = settings_for({}) if mode == "users" else {}
    who = ALICE if mode == "users" else None
    with Fleet(tmp_path, {"STOWAGE_COLLECTION__ENABLED": "false", **HOLD, **login}) as fleet:
        if who is not None:
            prepare(fleet.replicas[0])
        names = [f"{PROJECT}/{number}" for number in range(PUSHERS)]
        pushers = [Pusher(partial(logged_in, fleet, who, name), name, seed) for name in names]
        with ExitStack() as stack:
            follower = stack.enter_context(Follower(fleet.client)) if who is None else None
            for pusher in pushers:
                pusher.start()
            try:
                kills = kill_in_turns(fleet, pushers, random.Random(seed))
            finally:
                for pusher in pushers:
                    pusher.leave.set()
                for pusher in pushers:
                    pusher.join(300)
            if follower is not None:
                heard_all(follower, pushers)
        assert [pusher.fault for pusher in pushers if pusher.fault or pusher.is_alive()] == []
        print(f"{kills} kills, {[(len(one.images), one.retries) for one in pushers]} images and retries")
        assert cut_off(pushers) > 0
        pull_from_each(fleet, pushers, who)
        first, *others = fleet.replicas
        assert who is None or used_by(first)["bytes"]["is"] > 0
        with logged_in(fleet, who, *names) as client:
            delete_everything(client, names)
        collect_all(first)
        assert who is None or used_by(first) == {what: {"was": 0, "is": 0} for what in ("bytes", "tags")}
        for replica in others:
            replica.stop()
        assert left(first) == []


def heard_all(follower: Follower, pushers: list[Pusher]) -> None:
    """Wait until whoever follows has heard of all that was acknowledged: each event once, and in order."""
    wanted = {(pusher.repository, tag) for pusher in pushers for tag in pusher.images}
    eventually(lambda: wanted <= {(one["repository"], one["tag"]) for one in tags_in(follower.heard)}, 180)
    assert [int(one["id"].rpartition("-")[2]) for one in follower.heard] == list(range(1, len(follower.heard) + 1))
    for pusher in pushers:
        of_one = [int(one["tag"][1:]) for one in tags_in(follower.heard) if one["repository"] == pusher.repository]
        assert of_one == sorted(set(of_one))
    assert follower.returns > 0


def tags_in(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in events if one["action"] == "tag"]


def prepare(server: Server) -> None:
    """Make people, and a project with a quota."""
    people = People(server, settle_s=0)
    people.populate()
    people.add_project(PROJECT)
    people.grant("registry-admin", "user:alice", PROJECT)
    printed("quota", "set", PROJECT, "--bytes", "1024GiB", "--data", str(server.data), **server.backend())
    time.sleep(OLDEST_S)


def logged_in(fleet: Fleet, who: tuple[str, str] | None, *names: str) -> httpx.Client:
    """A client that goes through nginx, and logs in with each replica in turn."""
    client = fleet.client()
    if who is not None:
        client.auth = Tokens(who, *for_repository(*names), every_s=0.5)
    return client


def used_by(server: Server) -> dict[str, dict[str, int]]:
    """What the project uses, as it was said to be and as it is; they are the same."""
    told = printed("quota", "check", PROJECT, "--json", "--data", str(server.data), **server.backend())
    [found] = json.loads(told)
    assert found["right"], found
    return {what: found[what] for what in ("bytes", "tags")}


def kill_in_turns(fleet: Fleet, pushers: list[Pusher], moments: random.Random) -> int:
    """Kill a replica and start it again, at random moments, until there was time enough; return how often.

    It goes on until somebody was cut off: nginx hides from clients that a replica is away as long as it can.
    """
    end, kills = time.monotonic() + SECONDS, 0
    while not any(pusher.fault for pusher in pushers):
        if time.monotonic() > end and kills >= KILLS and (cut_off(pushers) or time.monotonic() > end + 300):
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


def pull_from_each(fleet: Fleet, pushers: list[Pusher], who: tuple[str, str] | None = None) -> None:
    """Pull all that was acknowledged to any client from every replica, as somebody who may."""

    def pull(replica: Server) -> None:
        with asking(replica, who) as client:
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
