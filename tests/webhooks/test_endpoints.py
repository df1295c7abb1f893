"""Endpoints that come, change, rest and go; and events that are gone before they are told."""

import json
from ipaddress import ip_network

import pytest

from registry.db import deliveries, events, webhooks
from registry.db.connection import Database, Transaction
from registry.db.deliveries import Key, State
from registry.db.projects import EVERYWHERE
from registry.services import webhooks as webhooks_service
from registry.services.delivery_items import LOST
from registry.services.endpoints import NOT_OPENED, owner_of, written
from registry.services.projects import Projects
from registry.services.vault import Vault
from registry.services.webhooks import Definition, Webhooks
from registry.webhooks.endpoint import Options, Secrets
from tests.support.receiver import Received, Receiver
from tests.webhooks.telling import QUICK, SECRET, Telling, endpoint

pytestmark = pytest.mark.anyio

HERE = (ip_network("127.0.0.0/8"),)


@pytest.fixture
def telling(database: Database) -> Telling:
    return Telling(database)


def service(telling: Telling, secret: bytes = SECRET) -> Webhooks:
    return Webhooks(telling.database, Vault(lambda: secret, lambda: secret), networks=HERE, most=10)


async def test_what_is_set_in_the_database_is_delivered_to_and_its_secrets_stay_there(telling: Telling) -> None:
    secrets = Secrets(secret="hunter2", headers={"X-Mine": "hunter3"}, bearer="hunter4")
    with Receiver() as receiver:
        url = f"{receiver.url}/hunter5"
        await service(telling).add("", "mine", Definition(url, "distribution", QUICK, secrets), actor="user:alice")
        async with telling.delivering(networks=HERE):
            await telling.push("team/a", "v1")
            await telling.until(lambda: receiver.taken)
    (message,) = receiver.taken
    assert (message.path, message.headers["x-mine"]) == ("/hunter5", "hunter3")
    assert message.headers["authorization"] == "Bearer hunter4"
    assert message.headers["webhook-signature"].startswith("v1,")
    row = await telling.row("mine")
    assert row.address == receiver.url
    assert b"hunter" not in (row.sealed or b"")
    assert "hunter" not in row.options


async def test_an_endpoint_whose_secrets_can_not_be_opened_is_paused(telling: Telling) -> None:
    definition = Definition("http://127.0.0.1:1/", "distribution", QUICK, Secrets())
    await service(telling, b"another secret").add("", "mine", definition, actor="user:alice")
    async with telling.delivering(networks=HERE):
        await telling.until(lambda: _paused_for(telling, "mine"))
    assert (await telling.row("mine")).paused_for == NOT_OPENED


async def _paused_for(telling: Telling, name: str) -> str:
    return (await telling.row(name)).paused_for


async def test_networks_of_the_database_are_not_for_others(telling: Telling) -> None:
    """What the settings listed when it was made may not be listed any more."""
    with Receiver() as receiver:
        definition = Definition(receiver.url, "distribution", Options(backoff=0.05, give_up=0.1), Secrets())
        await service(telling).add("", "mine", definition, actor="user:alice")
        async with telling.delivering(networks=(ip_network("10.0.0.0/8"),)):
            await telling.push("team/a", "v1")
            await telling.until(lambda: telling.counted["given_up"])
    assert receiver.received == []
    (given_up,) = await telling.deliveries("mine", State.GIVEN_UP)
    assert given_up.error is not None
    assert "127.0.0.1" in given_up.error


async def test_one_of_the_settings_keeps_its_place_while_a_replica_does_not_have_it_yet(telling: Telling) -> None:
    with Receiver() as receiver:
        one = endpoint("one", f"{receiver.url}/one")
        async with telling.delivering(one):
            await telling.push("team/a", "v1")
            await telling.until(lambda: len(receiver.taken) == 1)
        async with telling.delivering(endpoint("other", f"{receiver.url}/other")):
            assert await telling.find("one") is None  # nobody sees it
            await telling.push("team/a", "v2")
            await telling.until(lambda: len(receiver.taken) == 2)
        async with telling.delivering(one):
            await telling.until(lambda: len(receiver.taken) == 3)
    assert [(message.path, message.tag) for message in receiver.taken] == [
        ("/one", "v1"),
        ("/other", "v2"),
        ("/one", "v2"),
    ]
    absent = [row for row in await webhooks.every(telling.database) if row.absent_since is not None]
    assert [row.name for row in absent] == ["other"]
    assert await telling.database.write(lambda tx: webhooks.remove_absent(tx, age_s=-1)) == 1
    assert await telling.find("other") is None


async def test_a_change_counts_for_what_comes_next(telling: Telling) -> None:
    with Receiver() as receiver:
        telling_of = service(telling)
        first = Definition(f"{receiver.url}/first", "distribution", QUICK, Secrets())
        await telling_of.add("", "mine", first, actor="user:alice")
        async with telling.delivering(networks=HERE):
            await telling.push("team/a", "v1")
            await telling.until(lambda: len(receiver.taken) == 1)
            second = Definition(f"{receiver.url}/second", "slack", QUICK, Secrets())
            await telling_of.change("", "mine", lambda before: second, actor="user:alice")
            revision = (await telling.row("mine")).revision
            assert revision == 1
            await telling.until(lambda: _reached(telling, "/second", receiver))
            await telling_of.remove("", "mine", actor="user:alice")
            await telling.push("team/a", "v3")
        assert await telling.find("mine") is None
    assert receiver.taken[0].path == "/first"
    assert receiver.taken[-1].content["text"].startswith("*user:alice* pushed `team/a:w")


async def _reached(telling: Telling, path: str, receiver: Receiver) -> bool:
    await telling.push("team/a", f"w{len(receiver.received)}")
    return any(message.path == path for message in receiver.taken)


async def test_events_that_were_dropped_while_it_was_paused_are_counted(telling: Telling) -> None:
    with Receiver() as receiver:
        one = endpoint("one", receiver.url)
        async with telling.delivering(one):
            await telling.push("team/a", "v1")
            await telling.until(lambda: len(receiver.taken) == 1)
            webhook = await telling.row("one")
            await telling.database.write(lambda tx: webhooks.pause(tx, webhook.id, "by a test"))
        await telling.push("team/a", "v2", "v3", "v4")
        await _drop_all_but_the_last(telling)
        async with telling.delivering(one):
            await telling.database.write(lambda tx: webhooks.resume(tx, webhook.id))
            await telling.until(lambda: len(receiver.taken) == 2)
            await telling.until(lambda: _missed(telling, 2))
    assert [message.tag for message in receiver.taken] == ["v1", "v4"]


async def _missed(telling: Telling, number: int) -> bool:
    return (await telling.row("one")).missed == number


async def _drop_all_but_the_last(telling: Telling) -> None:
    newest = (await events.stream(telling.database)).position

    async def work(transaction: Transaction) -> None:
        dropped = await events.forget(transaction, age_s=-1000, limit=newest - 1)
        assert dropped

    await telling.database.write(work)


async def test_an_event_that_waited_and_is_gone_is_given_up_and_said_to_be(telling: Telling) -> None:
    with Receiver(lambda message: 500) as receiver:
        one = endpoint("one", receiver.url, Options(backoff=0.05, backoff_cap=0.05, max_attempts=0))
        async with telling.delivering(one):
            await telling.push("team/a", "v1", "v2")
            await telling.until(lambda: telling.deliveries("one", State.WAITING))
            webhook = await telling.row("one")
            await telling.database.write(lambda tx: webhooks.pause(tx, webhook.id, "by a test"))
        await telling.push("team/a", "v3")
        await _drop_all_but_the_last(telling)
        receiver.answer = lambda message: 204
        async with telling.delivering(one):
            await telling.database.write(lambda tx: webhooks.resume(tx, webhook.id))
            await telling.until(lambda: receiver.taken)
            await telling.until(lambda: telling.deliveries("one", State.GIVEN_UP))
    assert [message.tag for message in receiver.taken] == ["v3"]
    assert {one.error for one in await telling.deliveries("one", State.GIVEN_UP)} == {LOST}


async def test_what_is_over_can_be_sent_again_and_is_known_by_the_same_id(telling: Telling) -> None:
    with Receiver(lambda message: 400 if message.tag == "bad" else 204) as receiver:
        one = endpoint("one", receiver.url, Options(backoff=0.05, max_attempts=1))
        async with telling.delivering(one):
            await telling.push("team/a", "good", "bad", "next")
            await telling.until(lambda: len(receiver.taken) == 2)
            await telling.until(lambda: telling.deliveries("one", State.GIVEN_UP))
            receiver.answer = lambda message: 204
            assert await service(telling).replay("", "one", None, actor="user:alice") == 1
            await telling.until(lambda: len(receiver.taken) == 3)
            (good,) = [each for each in await telling.deliveries("one") if each.subject == "team/a:good"]
            position, (epoch, _, _) = good.position, good.event_id.partition("-")
            other = Key(position, f"{epoch[::-1]}0-{position}")  # from before a copy was brought back, say
            assert await service(telling).replay("", "one", [other], actor="user:alice") == 0
            assert await service(telling).replay("", "one", [Key(position, good.event_id)], actor="user:alice") == 1
            await telling.until(lambda: len(receiver.taken) == 4)
    assert [message.tag for message in receiver.taken] == ["good", "next", "bad", "good"]
    assert len({message.id for message in receiver.taken}) == 3
    assert await service(telling).replay("", "one", None, actor="user:alice") == 0


async def test_what_is_sent_again_in_vain_has_its_pauses_however_much_that_is(telling: Telling) -> None:
    with Receiver(lambda message: 500 if message.repository == "team/a" else 204) as receiver:
        async with telling.delivering(endpoint("one", receiver.url, Options(max_attempts=1))):
            await telling.push("team/a", "v1", "v2", "v3")
            await telling.until(lambda: _given_up(telling, 3))
        patient = Options(max_attempts=0, backoff=3600, backoff_cap=3600)
        async with telling.delivering(endpoint("one", receiver.url, patient)):
            assert await service(telling).replay("", "one", None, actor="user:alice") == 3
            await telling.until(lambda: len(receiver.received) == 4)
            for number in range(8):  # so that there is time for another try
                await telling.push("team/b", f"v{number}")
                await telling.until(lambda number=number: len(receiver.taken) == number + 1)  # type: ignore[misc]  # a lambda's default
    assert [message.tag for message in receiver.received if message.repository == "team/a"] == ["v1", "v2", "v3", "v1"]


async def _given_up(telling: Telling, number: int) -> bool:
    return len(await telling.deliveries("one", State.GIVEN_UP)) == number


async def test_all_that_was_given_up_is_sent_again_a_page_at_a_time(
    telling: Telling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks_service, "_PAGE", 2)
    with Receiver(lambda message: 500) as receiver:
        async with telling.delivering(endpoint("one", receiver.url, Options(max_attempts=1))):
            await telling.push("team/a", "v1", "v2", "v3", "v4", "v5")
            await telling.until(lambda: _given_up(telling, 5))
    assert await service(telling).replay("", "one", None, actor="user:alice") == 5
    assert len(await telling.deliveries("one", State.WAITING)) == 5


async def test_one_without_its_project_is_told_of_nothing_and_goes(telling: Telling) -> None:
    """There should be none. What it says of a project that is not there would be read as the whole registry."""
    with Receiver() as receiver:
        await telling.database.write(lambda tx: _add_orphan(tx, receiver.url))
        async with telling.delivering(endpoint("one", f"{receiver.url}/one")):
            await telling.push("team/a", "v1")
            await telling.until(lambda: receiver.taken)
            await telling.until(lambda: _is_alone(telling))
    assert [message.path for message in receiver.taken] == ["/one"]


async def _add_orphan(transaction: Transaction, url: str) -> None:
    await webhooks.add(
        transaction,
        project_id=99,
        name="orphan",
        is_file=False,
        address=url,
        format="distribution",
        options=written(QUICK, Secrets()),
        sealed=Vault(lambda: SECRET, lambda: SECRET).seal(owner_of(99, "orphan"), f"{url}/orphan", Secrets()),
        actor="user:alice",
    )


async def _is_alone(telling: Telling) -> bool:
    return [row.name for row in await webhooks.every(telling.database)] == ["one"]


async def test_one_that_takes_nothing_for_ever_keeps_no_event_for_ever(telling: Telling) -> None:
    """And says how many it missed once it takes something again."""
    with Receiver(lambda message: 500) as receiver:
        one = endpoint("one", receiver.url, Options(backoff=0.05, backoff_cap=0.05, max_attempts=0))
        async with telling.delivering(one):
            await telling.push("team/a", "v1", "v2")
            await telling.until(lambda: telling.deliveries("one", State.WAITING))

        async def forget(awaited_s: int) -> int:
            return await telling.database.write(
                lambda tx: events.forget(tx, age_s=-1000, limit=1000, awaited_s=awaited_s)
            )

        assert await forget(3600) == 0
        assert await forget(-1000) == 2
        receiver.answer = lambda message: 204
        async with telling.delivering(one):
            await telling.push("team/a", "v3")
            await telling.until(lambda: receiver.taken)
            await telling.until(lambda: _given_up(telling, 2))
    assert [message.tag for message in receiver.taken] == ["v3"]


async def test_one_that_says_when_to_come_back_is_left_alone_until_then(telling: Telling) -> None:
    def busy(message: Received) -> tuple[int, dict[str, str]]:
        return (503, {"retry-after": "2"}) if len(receiver.received) == 1 else (204, {})

    with Receiver(busy) as receiver:
        options = Options(backoff=0.01, backoff_cap=60, concurrency=1)
        async with telling.delivering(endpoint("one", receiver.url, options)):
            await telling.push("team/a", "v1")
            await telling.until(lambda: receiver.received)
            await telling.push("team/b", "v1")
            await telling.until(lambda: len(receiver.taken) == 2)
    first, *others = [int(message.headers["webhook-timestamp"]) for message in receiver.received]
    assert min(others) - first >= 1


async def test_what_was_delivered_is_forgotten_after_a_while(telling: Telling) -> None:
    with Receiver() as receiver:
        async with telling.delivering(endpoint("one", receiver.url)):
            await telling.push("team/a", *(f"v{number}" for number in range(25)))
            await telling.until(lambda: len(receiver.taken) == 25)

    async def forget(limit: int) -> int:
        return await telling.database.write(lambda tx: deliveries.forget(tx, State.DELIVERED, age_s=-1000, limit=limit))

    assert await forget(0) >= 0
    while await forget(10):
        pass
    assert await telling.deliveries("one") == []


async def test_a_project_may_have_some_and_they_go_with_it(telling: Telling) -> None:
    projects = Projects(telling.database)
    await projects.add("team", actor="user:alice")
    made = Definition("https://192.0.2.1/", "distribution", Options(), Secrets())
    await service(telling).add("team", "mine", made, actor="user:alice")
    (row,) = await webhooks.every(telling.database)
    assert (row.project, row.name, json.loads(row.options)["signed"]) == ("team", "mine", False)
    assert await webhooks.find(telling.database, EVERYWHERE, "mine") is None
    await projects.remove("team", actor="user:alice")
    assert await webhooks.every(telling.database) == []
