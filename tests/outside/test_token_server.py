"""An outside token server that is trusted instead of ours: its `access` decides alone."""

from collections.abc import Iterator

import pytest

from tests.clients.tools import Tool, find_tool
from tests.factories import assert_error, pull_manifest, push_image
from tests.support.moments import moment
from tests.support.people import ALICE, SETTINGS, asking, challenge_of
from tests.support.server import Server
from tests.support.token_server import ISSUER, PEOPLE, SERVICE, TokenServer

PUSH = "repository:team/app:pull,push,delete"


@pytest.fixture(scope="module")
def tokens() -> Iterator[TokenServer]:
    with TokenServer() as running:
        yield running


@pytest.fixture(scope="module")
def trusting(tmp_path_factory: pytest.TempPathFactory, tokens: TokenServer) -> Iterator[Server]:
    settings = {
        **SETTINGS,
        "STOWAGE_AUTH__TOKEN__REALM": tokens.realm,
        "STOWAGE_AUTH__TOKEN__ISSUER": ISSUER,
        "STOWAGE_AUTH__TOKEN__SERVICE": SERVICE,
        "STOWAGE_AUTH__TOKEN__JWKS": tokens.keys,
        "STOWAGE_AUTH__TOKEN__ALLOW_PRIVATE": "true",
    }
    with Server(tmp_path_factory.mktemp("trusting"), settings, ("--workers", "1")) as running:
        yield running


def test_clients_are_sent_to_the_token_server(trusting: Server, tokens: TokenServer) -> None:
    with asking(trusting) as client:
        answer = client.get("/v2/team/app/manifests/1")
        assert_error(answer, 401, "UNAUTHORIZED")
        told = {"realm": tokens.realm, "service": SERVICE, "scope": "repository:team/app:pull"}
        assert challenge_of(answer) == ("Bearer", told)
        assert client.get("/v2/").status_code == 401


def test_what_a_token_says_is_allowed_and_nothing_else(trusting: Server, tokens: TokenServer) -> None:
    with asking(trusting, bearer=tokens.token("alice", PUSH)) as alice:
        push_image(alice, "team/app", "1")
        push_image(alice, "team/app", "1")  # overwriting is pushing
        with asking(trusting, bearer=tokens.token("bob", PUSH)) as bob:
            assert pull_manifest(bob, "team/app", "1")
            answer = bob.delete("/v2/team/app/manifests/1")
            assert_error(answer, 401, "UNAUTHORIZED")
            assert challenge_of(answer)[1]["error"] == "insufficient_scope"
        assert alice.delete("/v2/team/app/manifests/1").status_code == 202
        assert alice.get("/v2/team/other/manifests/1").status_code == 401
        assert alice.get("/v2/_catalog").status_code == 401
    with asking(trusting, bearer=tokens.token("alice", "registry:catalog:*")) as alice:
        assert alice.get("/v2/_catalog").json() == {"repositories": ["team/app"]}


def test_a_token_for_a_moment_opens_no_repository(trusting: Server, tokens: TokenServer) -> None:
    """Its server takes that for a name like others, and may give it to whoever is called so."""
    with asking(trusting, bearer=tokens.token("alice", PUSH)) as alice:
        push_image(alice, "team/app", "then")
        then = moment()
        assert pull_manifest(alice, f"{then}/team/app", "then")
    access = [{"type": "repository", "name": f"{then}/team/app", "actions": ["pull"]}]
    with asking(trusting, bearer=tokens.token("bob", access=access)) as bob:
        answer = bob.get(f"/v2/{then}/team/app/manifests/then")
        assert_error(answer, 401, "UNAUTHORIZED")
        assert challenge_of(answer)[1]["scope"] == "repository:team/app:pull"


def test_nothing_else_lets_anybody_in(trusting: Server, tokens: TokenServer) -> None:
    for who in (ALICE, ("alice", PEOPLE["alice"]), ("alice", tokens.token("alice", PUSH))):
        with asking(trusting, who) as client:
            assert client.get("/v2/").status_code == 401
    for changed in ({"aud": "other"}, {"iss": "other"}, {"exp": 1}, {"access": "all"}):
        with asking(trusting, bearer=tokens.token("alice", PUSH, **changed)) as client:
            answer = client.get("/v2/")
            assert_error(answer, 401, "UNAUTHORIZED")
            assert challenge_of(answer)[1]["error"] == "invalid_token"
    with asking(trusting) as client:
        assert client.get("/token").status_code == 404
        assert client.get("/auth/login").status_code == 404


def test_a_real_client_finds_its_way(trusting: Server, tokens: TokenServer) -> None:
    with asking(trusting, bearer=tokens.token("alice", PUSH)) as alice:
        push_image(alice, "team/app", "2")
    skopeo = Tool(find_tool("skopeo"))
    reference = f"docker://{trusting.address}/team/app:2"
    for name, password in PEOPLE.items():
        shown = ("--tls-verify=false", f"--creds={name}:{password}")
        assert "Digest" in skopeo.run("inspect", "--raw=false", "--no-tags", "--config=false", *shown, reference).stdout
    skopeo.fail("inspect", "--no-tags", "--tls-verify=false", "--no-creds", reference)
    skopeo.fail("inspect", "--no-tags", "--tls-verify=false", "--creds=bob:wrong", reference)
