"""`/token`: what clients ask for, and what they get (CNCF distribution, "Token Authentication Specification")."""

from typing import Any

import httpx
import jwt
import pytest

from auth.roles import EDITOR, VIEWER
from tests.factories import assert_error, pull_manifest, push_image
from tests.support.moments import moment
from tests.support.people import (
    ADMIN,
    ALICE,
    BOB,
    CAROL,
    People,
    asking,
    bearer_of,
    challenge_of,
    token_for,
)
from tests.support.server import Server


def verified(server: Server, token: str) -> dict[str, Any]:
    """What a token says, checked by the published keys as another service would."""
    with asking(server) as client:
        answer = client.get("/token/keys")
    assert answer.status_code == 200
    keys = {key["kid"]: key for key in answer.json()["keys"]}
    assert all("d" not in key for key in keys.values())
    header = jwt.get_unverified_header(token)
    assert header["alg"] == "ES256"
    key = jwt.PyJWK(keys[header["kid"]])
    found: dict[str, Any] = jwt.decode(token, key, algorithms=["ES256"], audience="stowage", issuer="stowage")
    return found


def access_of(server: Server, token: str) -> dict[str, list[str]]:
    return {f"{one['type']}:{one['name']}": one["actions"] for one in verified(server, token)["access"]}


def test_an_answer_has_what_clients_look_for(guarded: Server, mine: str) -> None:
    with asking(guarded, ALICE) as client:
        answer = client.get("/token", params={"service": "stowage", "scope": f"repository:{mine}:pull,push"})
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    found = answer.json()
    assert set(found) == {"token", "access_token", "expires_in", "issued_at"}
    assert found["token"] == found["access_token"]
    assert found["expires_in"] == 300
    claims = verified(guarded, found["token"])
    assert claims["sub"] == "user:alice"
    assert claims["access"] == [{"type": "repository", "name": mine, "actions": ["pull", "push"]}]
    assert claims["exp"] - claims["iat"] == 300
    assert claims["jti"] != verified(guarded, bearer_of(guarded, ALICE))["jti"]


def test_a_token_is_for_what_is_asked_and_may_be(guarded: Server, mine: str) -> None:
    asked = f"repository:{mine}:pull,push,delete,fly repository:other/x:pull registry:catalog:* x:y:z"
    assert access_of(guarded, bearer_of(guarded, BOB, asked)) == {
        f"repository:{mine}": ["pull"],
        "registry:catalog": ["*"],
    }
    assert access_of(guarded, bearer_of(guarded, CAROL, asked)) == {"registry:catalog": ["*"]}
    everything = f"repository:{mine}:*"
    assert access_of(guarded, bearer_of(guarded, ALICE, everything)) == {f"repository:{mine}": ["pull", "push"]}
    assert access_of(guarded, bearer_of(guarded, ADMIN, everything)) == {
        f"repository:{mine}": ["delete", "pull", "push"]
    }


def test_a_token_for_a_moment_is_for_reading_by_those_who_may_now(guarded: Server, mine: str) -> None:
    with asking(guarded, ALICE, bearer=bearer_of(guarded, ALICE, f"repository:{mine}:pull,push")) as client:
        pushed = push_image(client, mine, "latest")
    past = f"{moment()}/{mine}"
    asked = f"repository:{past}:pull,push,delete"
    assert access_of(guarded, bearer_of(guarded, BOB, asked)) == {f"repository:{past}": ["pull"]}
    assert access_of(guarded, bearer_of(guarded, ADMIN, asked)) == {f"repository:{past}": ["pull"]}
    assert access_of(guarded, bearer_of(guarded, CAROL, asked)) == {}
    with asking(guarded, None, bearer=bearer_of(guarded, BOB, asked)) as client:
        assert pull_manifest(client, past, "latest") == pushed.manifest
        assert_error(client.post(f"/v2/{past}/blobs/uploads/"), 403, "DENIED")
        assert client.get(f"/v2/{mine}/manifests/latest").status_code == 401
    with asking(guarded) as client:
        refused = client.get(f"/v2/{past}/manifests/latest")
        assert refused.status_code == 401
        assert f'scope="repository:{mine}:pull"' in refused.headers["WWW-Authenticate"]


def test_scopes_come_several_and_joined(guarded: Server, mine: str) -> None:
    with asking(guarded, ALICE) as client:
        scopes = [f"repository:{mine}:pull repository:{mine}:push", f"repository(plugin):{mine}/b:pull"]
        token = client.get("/token", params={"scope": scopes}).json()["token"]
    assert access_of(guarded, token) == {f"repository:{mine}": ["pull", "push"], f"repository:{mine}/b": ["pull"]}


def test_nobody_gets_a_token_for_what_everybody_may(guarded: Server, people: People) -> None:
    people.add_project("everybodys")
    people.grant(VIEWER, "system:anonymous", "everybodys")
    with asking(guarded, ADMIN) as admin:
        push_image(admin, "everybodys/app", "1")
    with asking(guarded) as client:
        found = token_for(client, "repository:everybodys/app:pull,push repository:test/x:pull", offline_token="true")
    assert "refresh_token" not in found
    assert verified(guarded, found["token"])["sub"] == ""
    assert access_of(guarded, found["token"]) == {"repository:everybodys/app": ["pull"]}
    with asking(guarded, bearer=found["token"]) as client:
        assert client.get("/v2/").status_code == 200
        assert client.get("/v2/everybodys/app/manifests/1").status_code == 200
        refused = client.post("/v2/everybodys/app/blobs/uploads/")
    assert_error(refused, 401, "UNAUTHORIZED")


def test_wrong_credentials_get_none(guarded: Server) -> None:
    with asking(guarded, ("alice", "wrong")) as client:
        answer = client.get("/token", params={"service": "stowage"})
    assert_error(answer, 401, "UNAUTHORIZED")
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")


@pytest.mark.parametrize(
    "asked",
    [
        {"service": "elsewhere"},
        {"scope": "repository"},
        {"scope": "repository:x:PULL"},
        {"scope": "repository::pull"},
        {"scope": "repository:a\nb:pull"},
        {"scope": [f"repository:x{number}:pull" for number in range(101)]},
        {"scope": f"repository:{'x' * 5000}:pull"},
    ],
)
def test_a_question_that_makes_no_sense_is_refused(guarded: Server, asked: dict[str, Any]) -> None:
    with asking(guarded, ALICE) as client:
        assert_error(client.get("/token", params=asked), 400, "UNSUPPORTED")


def test_a_token_opens_what_it_is_for_and_nothing_else(guarded: Server, mine: str) -> None:
    with asking(guarded, bearer=bearer_of(guarded, ALICE, f"repository:{mine}:pull,push")) as client:
        assert client.get("/v2/").status_code == 200
        push_image(client, mine, "1")
        for method, path in (("GET", f"/v2/{mine}x/manifests/1"), ("POST", f"/v2/{mine}x/blobs/uploads/")):
            refused = client.request(method, path)
            assert_error(refused, 401, "UNAUTHORIZED")
            told = challenge_of(refused)[1]
            assert told["error"] == "insufficient_scope"
            assert told["scope"].startswith(f"repository:{mine}x:pull")
        assert_error(client.delete(f"/v2/{mine}/manifests/1"), 403, "DENIED")  # which no token of alice's would allow
    with asking(guarded, bearer=bearer_of(guarded, BOB, f"repository:{mine}:pull,push")) as client:
        assert client.get(f"/v2/{mine}/manifests/1").status_code == 200
        assert_error(client.post(f"/v2/{mine}/blobs/uploads/"), 403, "DENIED")


def test_a_token_is_for_no_more_than_its_subject_may_now(guarded: Server, people: People, mine: str) -> None:
    people.add_user("now", "a password of now's")
    people.grant(EDITOR, "user:now")
    token = bearer_of(guarded, ("now", "a password of now's"), f"repository:{mine}:pull,push")
    with asking(guarded, bearer=token) as client:
        push_image(client, mine, "1")
        people.revoke(EDITOR, "user:now")
        assert_error(client.get(f"/v2/{mine}/manifests/1"), 403, "DENIED")


def post(server: Server, **form: str) -> httpx.Response:
    with asking(server) as client:
        return client.post("/token", data={"service": "stowage", "client_id": "a test", **form})


def login(server: Server, who: tuple[str, str], **form: str) -> httpx.Response:
    return post(server, grant_type="password", username=who[0], password=who[1], **form)


def test_a_token_can_be_asked_for_as_oauth_does(guarded: Server, mine: str) -> None:
    answer = login(guarded, ALICE, scope=f"repository:{mine}:push,pull repository:other/x:pull")
    assert answer.status_code == 200
    found = answer.json()
    assert set(found) == {"access_token", "token_type", "scope", "expires_in", "issued_at"}
    assert found["scope"] == f"repository:{mine}:pull,push"
    assert access_of(guarded, found["access_token"]) == {f"repository:{mine}": ["pull", "push"]}


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"grant_type": "password", "username": "alice", "password": "wrong"}, 401),
        ({"grant_type": "password"}, 401),
        ({"grant_type": "refresh_token"}, 401),
        ({"grant_type": "refresh_token", "refresh_token": "stw_" + "a" * 32}, 401),
        ({"grant_type": "refresh_token", "refresh_token": "x" * 3000}, 401),
        ({"grant_type": "client_credentials"}, 400),
        ({}, 400),
        ({"grant_type": "password", "username": ALICE[0], "password": ALICE[1], "service": "elsewhere"}, 400),
        ({"grant_type": "password", "username": "x" * 70000}, 400),
    ],
)
def test_other_forms_are_refused(guarded: Server, form: dict[str, str], status: int) -> None:
    assert post(guarded, **form).status_code == status


def test_only_forms_are_read(guarded: Server) -> None:
    with asking(guarded) as client:
        assert client.post("/token", json={"grant_type": "password"}).status_code == 400
        assert client.put("/token").status_code == 405


@pytest.mark.parametrize("by", ["GET", "POST"])
def test_a_refresh_token_stands_for_the_password(guarded: Server, mine: str, by: str) -> None:
    if by == "GET":
        with asking(guarded, ALICE) as client:
            refresh = token_for(client, offline_token="true", client_id="docker")["refresh_token"]
    else:
        refresh = login(guarded, ALICE, access_type="offline").json()["refresh_token"]
    again = post(guarded, grant_type="refresh_token", refresh_token=refresh, scope=f"repository:{mine}:pull")
    assert again.status_code == 200
    assert again.json()["refresh_token"] == refresh
    claims = verified(guarded, again.json()["access_token"])
    assert (claims["sub"], claims["access"][0]["actions"]) == ("user:alice", ["pull"])


def test_a_refresh_token_is_for_nothing_else(guarded: Server) -> None:
    refresh = login(guarded, ALICE, access_type="offline").json()["refresh_token"]
    for client in (asking(guarded, ("alice", refresh)), asking(guarded, bearer=refresh)):
        with client:
            assert client.get("/v2/").status_code == 401
            assert client.get("/token").status_code == 401


def test_a_refresh_token_ends_with_what_it_was_given_for(guarded: Server, people: People) -> None:
    people.service_account("refreshed")
    secret, credential = people.token("refreshed")
    refresh = login(guarded, ("x", secret), access_type="offline").json()["refresh_token"]
    token = post(guarded, grant_type="refresh_token", refresh_token=refresh).json()["access_token"]
    with asking(guarded, bearer=token) as client:
        assert client.get("/v2/").status_code == 200
        people.revoke_token(credential)
        assert_error(client.get("/v2/"), 401, "UNAUTHORIZED")
    assert post(guarded, grant_type="refresh_token", refresh_token=refresh).status_code == 401


def test_a_refresh_token_ends_when_the_password_changes(guarded: Server, people: People) -> None:
    people.add_user("changing", "before")
    refresh = login(guarded, ("changing", "before"), access_type="offline").json()["refresh_token"]
    token = bearer_of(guarded, ("changing", "before"))
    people.set_password("changing", "after")
    assert post(guarded, grant_type="refresh_token", refresh_token=refresh).status_code == 401
    with asking(guarded, bearer=token) as client:
        assert client.get("/v2/").status_code == 401
    with asking(guarded, ("changing", "before")) as client:
        assert client.get("/v2/").status_code == 401
    with asking(guarded, ("changing", "after")) as client:
        assert client.get("/v2/").status_code == 200


def test_a_token_does_not_renew_itself(guarded: Server) -> None:
    with asking(guarded, bearer=bearer_of(guarded, ALICE)) as client:
        assert client.get("/v2/").status_code == 200
        assert client.get("/token").status_code == 401


def test_a_scope_of_a_token_bounds_what_is_made_of_it(guarded: Server, people: People, mine: str) -> None:
    secret, _ = people.token("user:alice", scope=f"repository:{mine}:pull")
    scopes = f"repository:{mine}:pull,push repository:{mine}x:pull"
    answer = login(guarded, ("x", secret), access_type="offline", scope=scopes).json()
    assert answer["scope"] == f"repository:{mine}:pull"
    again = post(guarded, grant_type="refresh_token", refresh_token=answer["refresh_token"], scope=scopes).json()
    assert again["scope"] == f"repository:{mine}:pull"
