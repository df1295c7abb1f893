"""SIGKILL under clients that log in: besides content, what was given and taken, quotas and the audit log are right."""

import json
import os
import random
from functools import partial

import httpx
import pytest

from registry.services.revision import OLDEST_S
from tests.cli.commands import printed
from tests.faults.ledger import MANIFEST, Ledger
from tests.faults.rights import Rights, lost_rights
from tests.faults.test_kill import look_at, wait_for_a_moment, write_until
from tests.faults.writers import SHARED, Writer
from tests.support.people import ADMIN, ALICE, People, asking, settings_for
from tests.support.served import eventually
from tests.support.server import Server, ServerFactory, new_client
from tests.support.tokens import Tokens, for_repository

LONG = os.environ.get("STOWAGE_LONG") == "1"
ROUNDS = 100 if LONG else 2
WRITERS = 5
PROJECT = SHARED.partition("/")[0]
PLENTY = 10**12


@pytest.mark.timeout(7200 if LONG else 300)
def test_what_was_acknowledged_to_those_who_log_in_survives_sigkill(fresh_server: ServerFactory) -> None:
    server = fresh_server("--workers", "2", **settings_for({}))
    seed = os.environ.get("STOWAGE_SEED") or os.urandom(4).hex()
    print(f"STOWAGE_SEED={seed}")
    moments, ledger, rights = random.Random(seed), Ledger(), Ledger()
    tokens: dict[int, str] = {}
    people = prepare(server)
    machine, _ = people.token("builder", project=PROJECT)
    for turn in range(ROUNDS):
        names = [f"{PROJECT}/{turn}/writer-{number}" for number in range(WRITERS)]
        writers = [
            Writer(partial(client_of, server, number, machine, name), ledger, name, f"{seed}-{turn}-{number}")
            for number, name in enumerate(names)
        ]
        giver = Rights(server, PROJECT, rights, tokens, f"{seed}-{turn}")
        giver.start()
        wait_for_a_change(rights, giver)
        write_until(writers, partial(wait_for_a_moment, ledger, writers, moments), server.kill)
        giver.join(60)
        assert giver.failure is None, giver.failure
        let_seal(server)
        server.start()
        assert look_at(server, ledger, [*names, SHARED], moments, who=ADMIN) == [], f"round {turn}"
        assert lost_rights(server, PROJECT, rights, tokens) == [], f"round {turn}"
        assert_quota_is_right(server, 1)
        assert_audit_is_whole(server, ledger)
    print(f"{ledger.acknowledged} requests, {rights.acknowledged} changes of rights acknowledged")
    assert rights.acknowledged >= ROUNDS
    assert json.loads(printed("fsck", "--json", *where(server), **server.backend()))["findings"] == []


def prepare(server: Server) -> People:
    """Make people, a project with a quota, and a service account that may do everything there."""
    people = People(server, settle_s=0)
    people.populate()
    with asking(server, ADMIN) as client:
        assert client.post("/api/v1/projects", json={"name": PROJECT}).status_code == 201
    for subject in ("user:alice", f"serviceaccount:{PROJECT}/builder"):
        people.grant("registry-admin", subject, PROJECT)
    printed("quota", "set", PROJECT, "--bytes", str(PLENTY), *where(server), **server.backend())
    People(server, settle_s=OLDEST_S).write(nothing)
    return people


def wait_for_a_change(rights: Ledger, giver: Rights) -> None:
    """Wait until one more change of rights is acknowledged."""
    before = rights.acknowledged
    eventually(lambda: rights.acknowledged > before or not giver.is_alive(), 120)


async def nothing(transaction: object) -> None:
    """Change nothing: what waits for that knows what was changed before."""


def where(server: Server) -> tuple[str, ...]:
    return "--data", str(server.data)


def client_of(server: Server, number: int, machine: str, name: str) -> httpx.Client:
    """Somebody who shows tokens of their own, of a service account, or the secret of one with each request."""
    client = new_client(server)
    scopes = for_repository(name, SHARED)
    client.auth = (
        Tokens(ALICE, *scopes),
        Tokens(("any", machine), *scopes, every_s=0.2),
        httpx.BasicAuth("any", machine),
    )[number % 3]
    return client


def let_seal(server: Server) -> None:
    """Have the next start seal what was recorded, as if it were ten minutes old."""
    server.sql(
        "UPDATE audit_entries SET at = at - 600000000 WHERE id > (SELECT COALESCE(MAX(last_id), 0) FROM audit_seals)"
    )
    server.sql("UPDATE jobs SET due_at = 0, lease_until = 0")


def assert_quota_is_right(server: Server, least: int) -> None:
    """What is said to be used, so many bytes at least, is what a count of what is there gives."""
    [found] = json.loads(printed("quota", "check", PROJECT, "--json", *where(server), **server.backend()))
    assert found["right"], found
    assert found["bytes"]["is"] >= least


def assert_audit_is_whole(server: Server, ledger: Ledger) -> None:
    """It is sealed, nothing in it was changed, and it tells of every push that was acknowledged."""

    def verified() -> dict[str, object]:
        found: dict[str, object] = json.loads(printed("audit", "verify", "--json", *where(server), **server.backend()))
        return found

    eventually(lambda: bool(verified()["seals"]), 60)
    assert verified()["right"], verified()
    lines = printed("audit", "list", "--json", "--limit", "0", *where(server), **server.backend()).splitlines()
    entries = [json.loads(line) for line in lines]
    pushed = {one["detail"].get("digest") for one in entries if one["action"] == "push"}
    manifests = {key.name for name in ledger.repositories for key in ledger.known(name, MANIFEST)}
    assert manifests - pushed == set()


def test_a_quota_that_is_wrong_would_be_noticed(fresh_server: ServerFactory) -> None:
    server = fresh_server(**settings_for({}))
    prepare(server)
    assert_quota_is_right(server, 0)
    server.sql(f"UPDATE projects SET used_bytes = used_bytes + 1 WHERE name = '{PROJECT}'")
    with pytest.raises(AssertionError, match="right"):
        assert_quota_is_right(server, 0)
