"""What arrives at endpoints that take messages, refuse them, hang and hang up: all of it, in order, known by one id."""

import asyncio
import random
from collections import defaultdict
from dataclasses import replace

import pytest

from registry.db import deliveries, events, webhooks
from registry.db.connection import Database, Transaction
from registry.db.deliveries import Result, State
from registry.webhooks.endpoint import Options, Secrets
from tests.support.receiver import Received, Receiver, Rudeness, first_arrivals
from tests.webhooks.telling import QUICK, Telling, endpoint

pytestmark = pytest.mark.anyio


@pytest.fixture
def telling(database: Database) -> Telling:
    return Telling(database)


def by_repository(messages: list[Received]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for one in messages:
        found[one.repository].append(one.tag)
    return dict(found)


async def test_all_arrive_in_order_however_the_receiver_behaves(telling: Telling) -> None:
    chance = random.Random(8)
    wanted = {f"team/{name}": [f"v{number}" for number in range(12)] for name in "abcd"}

    def moody(message: Received) -> int | Rudeness:
        answers: list[int | Rudeness] = [204, 204, 204, 200, 500, 404, 302, Rudeness.CUT]
        return chance.choice(answers)

    with Receiver(moody) as receiver:
        async with telling.delivering(endpoint("one", f"{receiver.url}/one")):
            for number in range(12):
                for repository in wanted:
                    await telling.push(repository, f"v{number}")
            await telling.until(lambda: by_repository(first_arrivals(receiver.taken)) == wanted)
    assert by_repository(first_arrivals(receiver.received)) == wanted
    bodies: dict[str, set[bytes]] = defaultdict(set)
    for message in receiver.received:
        bodies[message.id].add(message.body)
    assert {len(some) for some in bodies.values()} == {1}
    assert len(bodies) == 48
    assert await telling.deliveries("one", State.GIVEN_UP) == []


async def test_an_event_that_fails_holds_back_its_repository_alone_until_it_is_given_up(telling: Telling) -> None:
    def poisoned(message: Received) -> int:
        return 400 if (message.repository, message.tag) == ("team/a", "bad") else 204

    options = Options(timeout=20, backoff=0.05, backoff_cap=0.1, max_attempts=6)
    with Receiver(poisoned) as receiver:
        async with telling.delivering(endpoint("one", receiver.url, options)):
            await telling.push("team/a", "good", "bad", "next", "last")
            await telling.push("team/b", *(f"v{number}" for number in range(5)))
            await telling.until(lambda: len(receiver.taken) == 8)
            arrived = [(one.repository, one.tag) for one in receiver.received]
            assert arrived.count(("team/a", "bad")) == 6
            last_try = len(arrived) - 1 - arrived[::-1].index(("team/a", "bad"))
            assert arrived[last_try + 1 :] == [("team/a", "next"), ("team/a", "last")]
            assert by_repository(receiver.taken)["team/b"] == [f"v{number}" for number in range(5)]
            await telling.until(lambda: telling.deliveries("one", State.GIVEN_UP))
    (given_up,) = await telling.deliveries("one", State.GIVEN_UP)
    assert (given_up.subject, given_up.attempts, given_up.status) == ("team/a:bad", 6, 400)
    assert given_up.error == "it answered 400"
    assert telling.counted == {"delivered": 8, "failed": 6, "given_up": 1}


async def test_one_that_hangs_delays_no_other_endpoint(telling: Telling) -> None:
    """The one would wait for a minute for each answer; the other has everything before the first of these is over."""

    def hanging(message: Received) -> int | Rudeness:
        return Rudeness.HANG if message.path == "/hangs" else 204

    patient = Options(timeout=60)
    with Receiver(hanging) as receiver:
        async with telling.delivering(
            endpoint("hangs", f"{receiver.url}/hangs", patient), endpoint("takes", f"{receiver.url}/takes")
        ):
            for number in range(50):
                await telling.push(f"team/{number % 7}", f"v{number}")
            await telling.until(lambda: len(receiver.taken) == 50)
            await telling.until(lambda: any(one.path == "/hangs" for one in receiver.received))
            assert await telling.deliveries("hangs", State.DELIVERED) == []
            assert telling.counted["failed"] == 0  # none was over
    assert {one.path for one in receiver.taken} == {"/takes"}


async def test_a_repository_that_hangs_delays_no_other_at_its_endpoint(telling: Telling) -> None:
    def hanging(message: Received) -> int | Rudeness:
        return Rudeness.HANG if message.repository == "team/hangs" else 204

    with Receiver(hanging) as receiver:
        async with telling.delivering(endpoint("one", receiver.url, Options(timeout=60))):
            await telling.push("team/hangs", "v1", "v2")
            await telling.push("team/other", "v1")
            await telling.until(lambda: len(receiver.taken) == 1)
            await telling.push("team/other", "v2", "v3")
            await telling.until(lambda: len(receiver.taken) == 3)
            assert telling.counted["failed"] == 0  # the hanging one is not over
        waiting = await telling.deliveries("one", State.WAITING)
        assert [(one.repository, one.subject) for one in waiting] == [
            ("team/hangs", "team/hangs:v1"),
            ("team/hangs", "team/hangs:v2"),
        ]
        receiver.answer = lambda message: 204
        async with telling.delivering(endpoint("one", receiver.url, QUICK)):
            await telling.until(lambda: len(receiver.taken) == 5)
    assert by_repository(receiver.taken)["team/hangs"] == ["v1", "v2"]


async def test_what_waits_does_so_in_the_database_and_not_in_memory(telling: Telling) -> None:
    """Of more repositories than are looked at together, at an endpoint that has all slots busy."""
    with Receiver(lambda message: Rudeness.HANG) as receiver:
        one = endpoint("one", receiver.url, Options(timeout=60, concurrency=2))
        async with telling.delivering(one):
            pass
        row = await telling.row("one")
        for number in range(250):
            await telling.push(f"team/{number}", "v1")
        await telling.database.write(lambda tx: _let_all_wait(tx, row.id))
        async with telling.delivering(one):
            await telling.until(lambda: len(receiver.received) == 2 and begun() > 2)
            most = 0
            for _ in range(8):  # it looks for more twice a second
                await asyncio.sleep(0.3)
                most = max(most, begun())
    assert 2 < most <= 100


def begun() -> int:
    """How many events of an endpoint are being looked after."""
    return sum(task.get_name().startswith("webhook one: ") for task in asyncio.all_tasks())


async def _let_all_wait(transaction: Transaction, webhook_id: int) -> None:
    rows = await events.page(transaction, after=0, limit=1000)
    waiting = [
        Result(webhook_id, row.position, f"e-{row.position}", row.repository, "push", "", State.WAITING, 1, delay_us=0)
        for row in rows
    ]
    await deliveries.record(transaction, waiting)
    await webhooks.advance(transaction, webhook_id, position=rows[-1].position, missed=0)


async def test_an_endpoint_that_was_away_gets_all_of_it(telling: Telling) -> None:
    repositories = [f"team/{number}" for number in range(20)]
    receiver = Receiver()
    async with telling.delivering(endpoint("one", receiver.url, replace(QUICK, max_attempts=3))):
        for number in range(5):
            for repository in repositories:
                await telling.push(repository, f"v{number}")
        await telling.until(lambda: telling.counted["failed"] >= 40)
        assert telling.counted["given_up"] == 0  # tries do not count while it takes nothing at all
        with receiver:
            await telling.until(lambda: len(first_arrivals(receiver.taken)) == 100)
    assert by_repository(first_arrivals(receiver.taken)) == {
        repository: [f"v{number}" for number in range(5)] for repository in repositories
    }


async def test_what_comes_after_an_endpoint_was_away_is_delivered_too(telling: Telling) -> None:
    """Of each repository, also of the one that was tried first to see whether it takes anything again."""
    repositories = ["team/a", "team/b", "team/c", "team/d"]
    receiver = Receiver()
    async with telling.delivering(endpoint("one", receiver.url, QUICK)):
        for repository in repositories:
            await telling.push(repository, "v0")
        await telling.until(lambda: telling.counted["failed"] >= 2 * len(repositories))
        with receiver:
            await telling.until(lambda: len(first_arrivals(receiver.taken)) == len(repositories))
            for repository in repositories:
                await telling.push(repository, "v1")
            await telling.until(lambda: len(first_arrivals(receiver.taken)) == 2 * len(repositories), 30)


@pytest.mark.parametrize("status", [429, 502, 503, 504, None])
async def test_an_endpoint_that_is_away_is_no_fault_of_an_event(telling: Telling, status: int | None) -> None:
    """Of one repository alone: nothing else says that the endpoint as a whole fails."""
    receiver = Receiver(lambda message: status or 204)
    if status is not None:
        receiver.start()
    try:
        async with telling.delivering(endpoint("one", receiver.url, replace(QUICK, max_attempts=2))):
            await telling.push("team/a", "v1", "v2")
            await telling.until(lambda: telling.counted["failed"] >= 5)
            receiver.answer = lambda message: 204
            if status is None:
                receiver.start()
            await telling.until(lambda: len(receiver.taken) == 2)
    finally:
        receiver.stop()
    assert [message.tag for message in receiver.taken] == ["v1", "v2"]
    assert telling.counted["given_up"] == 0


async def test_what_an_endpoint_says_is_shown_without_the_secrets_that_it_was_sent(telling: Telling) -> None:
    secrets = Secrets(secret="hunter2", headers={"X-Key": "hunter3"}, basic="me:hunter4")

    def echo(message: Received) -> tuple[int, dict[str, str], bytes]:
        return 400, {}, str(message.headers).encode()

    with Receiver(echo) as receiver:
        one = endpoint("one", receiver.url, replace(QUICK, max_attempts=1), secrets)
        async with telling.delivering(one):
            await telling.push("team/a", "v1")
            await telling.until(lambda: telling.deliveries("one", State.GIVEN_UP))
    (given_up,) = await telling.deliveries("one", State.GIVEN_UP)
    assert given_up.error is not None
    assert "it answered 400: {" in given_up.error
    for word in ("hunter", "bWU6aHVudGVyNA"):
        assert word not in given_up.error


async def test_it_goes_on_where_another_left_off(telling: Telling) -> None:
    """Two processes, of which one at a time delivers: the other when the first has gone."""
    with Receiver() as receiver:
        one = endpoint("one", receiver.url)
        async with telling.delivering(one):
            async with telling.delivering(one):
                await telling.push("team/a", *(f"v{number}" for number in range(10)))
                await telling.until(lambda: len(receiver.taken) == 10)
            await telling.push("team/a", *(f"w{number}" for number in range(10)))
            await telling.until(lambda: len(first_arrivals(receiver.taken)) == 20)
    assert [message.tag[0] for message in first_arrivals(receiver.taken)] == ["v"] * 10 + ["w"] * 10
    assert len(receiver.taken) == 20  # who stopped had written down what it did


async def test_who_says_gone_is_paused_and_goes_on_where_it_was(telling: Telling) -> None:
    with Receiver(lambda message: 410) as receiver:
        async with telling.delivering(endpoint("one", receiver.url)):
            await telling.push("team/a", "v1")
            await telling.until(lambda: _is_paused(telling))
            assert (await telling.row("one")).paused_for == "it answered 410 Gone"
            await telling.push("team/a", "v2")
            receiver.answer = lambda message: 204
            webhook = await telling.row("one")
            await telling.database.write(lambda tx: webhooks.resume(tx, webhook.id))
            await telling.until(lambda: len(receiver.taken) == 2)
    assert [one.tag for one in receiver.received] == ["v1", "v1", "v2"]


async def _is_paused(telling: Telling) -> bool:
    return (await telling.row("one")).paused_at is not None
