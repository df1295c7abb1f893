"""What was taken away works nowhere any more, at most two seconds later: on two workers, and on two replicas."""

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from auth.roles import EDITOR
from tests.support.everywhere import Everywhere
from tests.support.fleet import BACKENDS, shared_backend
from tests.support.people import ALICE, PROJECT, People, bearer_of, settings_for
from tests.support.server import Server

WITHIN_S = 2.0
_PATIENCE_S = 60
_LIST = f"/v2/{PROJECT}/none/tags/list"
"""What nobody finds who may look for it: 404, and 403 for others."""


@pytest.fixture(scope="module", params=BACKENDS)
def servers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """Two servers on one database, of two workers each; on SQLite one such server."""
    name = request.param
    settings = settings_for(shared_backend(name))
    folder = tmp_path_factory.mktemp(name)
    with ExitStack() as opened:
        count = 1 if name == "single" else 2
        running = [
            opened.enter_context(Server(folder / str(number), settings, ("--workers", "2"))) for number in range(count)
        ]
        People(running[0]).populate()
        yield running


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_what_is_taken_away_is_gone_everywhere(servers: list[Server], opened: ExitStack) -> None:
    """Whether it was shown as a password or as a token, and what it was exchanged for."""
    people, first, last = People(servers[0], settle_s=0), servers[0], servers[-1]
    for name in ("revoked", "kept", "stripped"):
        people.service_account(name)
    people.add_user("changed", "before")
    revoked, credential = people.token("revoked")
    kept, _ = people.token("kept")
    stripped, _ = people.token("stripped")
    time.sleep(WITHIN_S)  # what was given is known as late as what is taken away
    scope = f"repository:{PROJECT}/none:pull"
    gone = [
        Everywhere(opened, servers, ("x", revoked)),
        Everywhere(opened, servers, bearer=revoked),
        Everywhere(opened, servers, bearer=bearer_of(last, ("x", revoked))),
        Everywhere(opened, servers, ("changed", "before")),
        Everywhere(opened, servers, bearer=bearer_of(first, ("changed", "before"))),
    ]
    disabled = [
        Everywhere(opened, servers, ALICE),
        Everywhere(opened, servers, bearer=bearer_of(first, ALICE)),
        Everywhere(opened, servers, bearer=people.token("user:alice")[0]),
    ]
    denied = [
        Everywhere(opened, servers, ("x", stripped), path=_LIST),
        Everywhere(opened, servers, bearer=bearer_of(first, ("x", stripped), scope), path=_LIST),
    ]
    stays = [
        Everywhere(opened, servers, ("x", kept)),
        Everywhere(opened, servers, bearer=bearer_of(first, ("x", kept))),
    ]
    assert [one.statuses for one in [*gone, *disabled, *stays]] == [{200}] * 10
    assert [one.statuses for one in denied] == [{404}] * 2

    people.revoke_token(credential)
    people.set_password("changed", "after")
    people.disable("alice")
    people.revoke(EDITOR, f"serviceaccount:{PROJECT}/stripped")
    time.sleep(WITHIN_S)
    assert [one.statuses for one in [*gone, *disabled]] == [{401}] * 8
    assert [one.statuses for one in denied] == [{403}] * 2
    assert [one.statuses for one in stays] == [{200}] * 2

    people.disable("alice", again=True)
    people.grant(EDITOR, f"serviceaccount:{PROJECT}/stripped")
    time.sleep(WITHIN_S)
    assert [one.statuses for one in gone] == [{401}] * 5
    assert [one.statuses for one in disabled] == [{200}] * 3
    assert [one.statuses for one in denied] == [{404}] * 2
    assert Everywhere(opened, servers, ("changed", "after")).statuses == {200}


def test_a_token_ends_by_itself_while_it_is_remembered(servers: list[Server], opened: ExitStack) -> None:
    people = People(servers[0])
    people.service_account("ending")
    secret, _ = people.token("ending", seconds=3)
    shown = Everywhere(opened, servers, ("x", secret))
    assert shown.statuses <= {200, 401}
    deadline = time.monotonic() + _PATIENCE_S
    while shown.statuses != {401}:
        assert time.monotonic() < deadline
        time.sleep(0.2)
