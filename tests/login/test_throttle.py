"""Guessing passwords: who has to wait, at every worker, and who does not."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.factories import assert_error
from tests.support.people import ADMIN, ALICE, BOB, CAROL, People, asking, settings_for
from tests.support.server import Server

_LIMITS = {
    "STOWAGE_AUTH__LOGINS__ATTEMPTS": "3",
    "STOWAGE_HTTP__TRUSTED_PROXIES": "127.0.0.1",
    "STOWAGE_AUTH__RATES__ADDRESS": "12000",
    "STOWAGE_AUTH__RATES__PRINCIPAL": "600",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Each test comes from addresses of its own."""
    with Server(tmp_path_factory.mktemp("throttled"), {**settings_for({}), **_LIMITS}, ("--workers", "2")) as running:
        People(running).populate()
        yield running


def enter(server: Server, who: tuple[str, str], address: str, path: str = "/v2/") -> httpx.Response:
    with asking(server, who) as client:
        return client.get(path, headers={"X-Forwarded-For": address})


def lock_out(server: Server, name: str, address: str) -> None:
    """Fail so often that the wait outlasts the test: as if it had been twenty times before.

    With guesses of its own: to show one again within a minute is no guess, wherever from.
    """
    assert enter(server, (name, f"a first guess at {address}"), address).status_code == 401
    server.sql("UPDATE login_failures SET count = 20 WHERE key NOT LIKE '%*%'")
    assert enter(server, (name, f"a second guess at {address}"), address).status_code == 401


@pytest.mark.parametrize(("name", "address"), [("alice", "192.0.2.1"), ("nobody-like-this", "192.0.2.2")])
def test_whoever_fails_too_often_waits_whether_there_is_such_a_user_or_not(
    server: Server, name: str, address: str
) -> None:
    lock_out(server, name, address)
    answers = [enter(server, (name, "guess 4"), address) for _ in range(10)]  # of both workers
    for answer in answers:
        assert_error(answer, 429, "TOOMANYREQUESTS")
        assert int(answer.headers["Retry-After"]) >= 1
    assert enter(server, (name, "guess 5"), address, "/token").status_code == 429


def test_others_do_not_wait(server: Server) -> None:
    here, there = "192.0.2.3", "192.0.2.4"
    assert enter(server, BOB, here).status_code == 200
    lock_out(server, "alice", here)
    assert enter(server, ALICE, here).status_code == 429
    assert enter(server, ALICE, there).status_code == 200
    assert enter(server, BOB, here).status_code == 200
    assert enter(server, ADMIN, here).status_code == 200


def test_tokens_need_not_wait_and_wrong_ones_are_no_guesses(server: Server) -> None:
    secret, _ = People(server).token("user:alice")
    here = "192.0.2.5"
    lock_out(server, "alice", here)
    assert enter(server, ("alice", secret), here).status_code == 200
    for number in range(40):
        assert enter(server, ("carol", f"stw_{number:032}"), here).status_code == 401
    assert enter(server, CAROL, here).status_code == 200


def test_a_program_that_shows_an_old_password_guesses_nothing(server: Server) -> None:
    people, here = People(server), "192.0.2.7"
    people.add_user("erin", "a new password of erin's")
    for _ in range(20):
        assert enter(server, ("erin", "the old one"), here).status_code == 401
    assert enter(server, ("erin", "a new password of erin's"), here).status_code == 200


def test_a_password_that_was_wrong_is_right_as_soon_as_it_is_changed_to(server: Server) -> None:
    people, here = People(server), "192.0.2.8"
    people.add_user("fred", "before")
    assert enter(server, ("fred", "after"), here).status_code == 401
    people.set_password("fred", "after")
    assert enter(server, ("fred", "after"), here).status_code == 200


def test_many_guesses_at_once_are_judged_one_after_the_other(server: Server) -> None:
    """At a worker; of two, each may let one through before it hears of the other's."""
    here = "192.0.2.6"
    assert enter(server, ("dora", "a first guess"), here).status_code == 401
    server.sql("UPDATE login_failures SET count = 20 WHERE key NOT LIKE '%*%'")
    with ThreadPoolExecutor(12) as pool:
        guesses = [("dora", f"guess {number}") for number in range(12)]
        statuses = [answer.status_code for answer in pool.map(lambda who: enter(server, who, here), guesses)]
    assert 1 <= statuses.count(401) <= 2
    assert statuses.count(401) + statuses.count(429) == 12


def test_who_asks_too_much_is_told_when_to_come_back(server: Server) -> None:
    """Ten a second, and a hundred at once, at each worker."""
    with asking(server, CAROL) as carol, asking(server, BOB) as bob:
        assert carol.get("/v2/").status_code == 200
        answers = (carol.get("/v2/") for _ in range(3000))  # the slower they come, the more are let in
        last = next(answer for answer in answers if answer.status_code != 200)
        assert_error(last, 429, "TOOMANYREQUESTS")
        assert int(last.headers["Retry-After"]) >= 1
        assert bob.get("/v2/").status_code == 200
