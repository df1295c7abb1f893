"""What everybody may do: their own password, tokens and sessions."""

from collections.abc import Iterator

import httpx
import pytest

from tests.api_v1.callers import PASSWORD, Callers, assert_problem, made, new, shown
from tests.support.people import asking
from tests.support.server import Server


@pytest.fixture
def name(root: httpx.Client) -> str:
    return str(made(root, "/users", {"name": new("user"), "password": PASSWORD})["name"])


@pytest.fixture
def me(served: Server, name: str) -> Iterator[httpx.Client]:
    """Somebody whom nobody else is."""
    with asking(served, (name, PASSWORD)) as client:
        client.base_url = client.base_url.join("/api/v1/")
        yield client


def with_token(server: Server, secret: str) -> httpx.Client:
    client = asking(server, bearer=secret)
    client.base_url = client.base_url.join("/api/v1/")
    return client


def test_who_asks(callers: Callers, me: httpx.Client, name: str) -> None:
    assert shown(me, "/me") == {"principal": f"user:{name}", "groups": [], "admin": False, "token": None}
    assert shown(callers["root"], "/me")["admin"] is True
    robot = shown(callers["robot"], "/me")
    assert robot["principal"] == "serviceaccount:team/robot" and robot["token"] > 0


def test_tokens_of_ones_own(served: Server, me: httpx.Client, name: str, stranger: httpx.Client) -> None:
    token = made(me, "/me/tokens", {"name": "laptop", "expiresInSeconds": 3600})
    assert (token["owner"], token["kind"], token["name"], token["counts"]) == (f"user:{name}", "token", "laptop", True)
    assert token["secret"].startswith(token["begins"])
    [listed] = shown(me, "/me/tokens")["items"]
    assert "secret" not in listed and listed == {key: value for key, value in token.items() if key != "secret"}
    with with_token(served, token["secret"]) as client:
        assert shown(client, "/me")["token"] == token["id"]
        assert_problem(stranger.get(f"/tokens/{token['id']}"), 404, "unknown")
        assert_problem(stranger.delete(f"/tokens/{token['id']}"), 404, "unknown")
        assert shown(client, f"/tokens/{token['id']}")["id"] == token["id"]
        assert me.delete(f"/tokens/{token['id']}").status_code == 204
        assert_problem(client.get("/me"), 401, "unauthenticated")
    assert me.delete(f"/tokens/{token['id']}").status_code == 204  # it has ended, as was asked for
    assert shown(me, f"/tokens/{token['id']}")["counts"] is False


def test_a_token_with_a_scope_is_no_good_here_and_makes_none_without(served: Server, me: httpx.Client) -> None:
    token = made(me, "/me/tokens", {"scope": "repository:team/app:pull"})
    assert token["scope"] == "repository:team/app:pull"
    with with_token(served, token["secret"]) as client:
        assert_problem(client.post("/me/tokens", json={}), 403, "denied")
        assert_problem(client.get("/me"), 403, "denied")


def test_a_session(served: Server, me: httpx.Client) -> None:
    session = made(me, "/session", {"name": "console"})
    assert session["kind"] == "session"
    assert session["expiresAt"] > session["createdAt"]
    assert_problem(me.post("/session", json={"expiresInSeconds": 86401}), 422, "value-invalid")
    with with_token(served, session["secret"]) as client:
        assert shown(client, "/me/tokens")["items"][0]["kind"] == "session"
        assert client.get("/v2/", headers={}).status_code in {200, 404}
        assert client.delete("/session").status_code == 204
        assert_problem(client.get("/me"), 401, "unauthenticated")
    assert_problem(me.delete("/session"), 422, "value-invalid")
    token = made(me, "/me/tokens", {})
    with with_token(served, token["secret"]) as client:
        assert_problem(client.delete("/session"), 422, "value-invalid")


def test_a_new_password(served: Server, me: httpx.Client, name: str) -> None:
    session, token = made(me, "/session", {}), made(me, "/me/tokens", {})
    new_one = {"newPassword": "the new password"}
    assert_problem(me.put("/me/password", json={"currentPassword": "a wrong one", **new_one}), 403, "denied")
    # A token is no password: whoever has found one does not own the account.
    for secret in (token["secret"], session["secret"]):
        assert_problem(me.put("/me/password", json={"currentPassword": secret, **new_one}), 403, "denied")
    assert me.put("/me/password", json={"currentPassword": PASSWORD, **new_one}).status_code == 204
    assert_problem(me.get("/me"), 401, "unauthenticated")
    with with_token(served, session["secret"]) as client:
        assert_problem(client.get("/me"), 401, "unauthenticated")
    with with_token(served, token["secret"]) as client:
        assert client.get("/me").status_code == 200
        change = {"currentPassword": "the new password", "newPassword": PASSWORD, "revokeTokens": True}
        assert client.put("/me/password", json=change).status_code == 204
        assert_problem(client.get("/me"), 401, "unauthenticated")


def test_service_accounts_have_neither(callers: Callers) -> None:
    robot = callers["robot"]
    assert_problem(robot.post("/session", json={}), 403, "denied")
    assert_problem(robot.get("/me/tokens"), 403, "denied")


def test_a_token_of_somebody_else_says_who_made_it(served: Server, root: httpx.Client, name: str) -> None:
    token = made(root, f"/users/{name}/tokens", {"name": "for a machine"})
    assert (token["owner"], token["createdBy"]) == (f"user:{name}", "user:admin")
    assert [one["id"] for one in shown(root, f"/users/{name}/tokens")["items"]] == [token["id"]]
    with with_token(served, token["secret"]) as client:
        assert shown(client, "/me")["principal"] == f"user:{name}"


def test_all_tokens_at_once(served: Server, root: httpx.Client, me: httpx.Client) -> None:
    token = made(me, "/me/tokens", {})
    assert shown_revoked(root.delete("/tokens")) >= 1
    with with_token(served, token["secret"]) as client:
        assert_problem(client.get("/me"), 401, "unauthenticated")
    assert shown_revoked(root.delete("/tokens")) == 0


def shown_revoked(answer: httpx.Response) -> int:
    assert answer.status_code == 200
    return int(answer.json()["revoked"])
