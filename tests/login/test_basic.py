"""Passwords and tokens of ours in the header Authorization, and what refusals look like."""

import base64
import socket

import httpx
import pytest

from auth.roles import VIEWER
from tests.factories import UNKNOWN_DIGEST, assert_error, digest_of, push_image, random_bytes
from tests.support.people import ADMIN, ALICE, BOB, CAROL, PROJECT, People, asking, bearer_of, challenge_of
from tests.support.server import Server


def test_whoever_shows_nothing_is_told_where_to_log_in(guarded: Server) -> None:
    with asking(guarded) as client:
        answer = client.get("/v2/")
    assert_error(answer, 401, "UNAUTHORIZED")
    scheme, told = challenge_of(answer)
    assert (scheme, told) == ("Bearer", {"realm": f"{guarded.url}/token", "service": "stowage"})
    assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"


@pytest.mark.parametrize("who", [ADMIN, ALICE, BOB, CAROL])
def test_a_password_lets_in(guarded: Server, who: tuple[str, str]) -> None:
    with asking(guarded, who) as client:
        assert client.get("/v2/").status_code == 200


@pytest.mark.parametrize(
    "who",
    [
        ("alice", BOB[1]),
        ("alice", ""),
        ("", ALICE[1]),
        ("", ""),
        ("nobody", ALICE[1]),
        ("Alice", ALICE[1]),
        ("alice ", ALICE[1]),
        ("alice", ALICE[1] + "\0"),
        ("alice", ALICE[1] * 100),
        ("user:alice", ALICE[1]),
        ("alice", "stw_" + "a" * 32),
        ("alice", "eyJhbGciOiJub25lIn0.e30."),
        ("\u00e4lice", ALICE[1]),
    ],
)
def test_other_credentials_do_not(guarded: Server, who: tuple[str, str]) -> None:
    encoded = base64.b64encode(":".join(who).encode()).decode()
    with asking(guarded) as client:
        answer = client.get("/v2/", headers={"Authorization": f"Basic {encoded}"})
    assert_error(answer, 401, "UNAUTHORIZED")
    assert challenge_of(answer)[1]["realm"]


@pytest.mark.parametrize(
    "header",
    [
        "Basic",
        "Basic %%%",
        "Basic YWxpY2U=",
        "Bearer",
        "Bearer x",
        "Bearer a.b.c",
        "Digest x",
        "x" * 40000,
        "Basic YTpi, Basic YTpi",
    ],
)
def test_a_header_that_makes_no_sense_is_refused(guarded: Server, header: str) -> None:
    with asking(guarded) as client:
        assert_error(client.get("/v2/", headers={"Authorization": header}), 401, "UNAUTHORIZED")


def test_nobody_learns_whether_a_user_is_there(guarded: Server) -> None:
    with asking(guarded, ("alice", "wrong")) as known, asking(guarded, ("nobody-like-this", "wrong")) as unknown:
        one, other = known.get("/v2/"), unknown.get("/v2/")
    varying = {"date", "x-request-id"}
    assert (one.status_code, one.content) == (other.status_code, other.content)
    assert {name: value for name, value in one.headers.items() if name not in varying} == {
        name: value for name, value in other.headers.items() if name not in varying
    }


def test_what_one_may_do_follows_from_grants(guarded: Server, mine: str) -> None:
    with asking(guarded, ALICE) as alice, asking(guarded, BOB) as bob, asking(guarded, CAROL) as carol:
        push_image(alice, mine, "1")
        assert bob.get(f"/v2/{mine}/manifests/1").status_code == 200
        assert_error(bob.put(f"/v2/{mine}/manifests/2", content=b"{}"), 403, "DENIED")
        assert_error(carol.get(f"/v2/{mine}/manifests/1"), 403, "DENIED")


def test_who_may_not_is_told_the_same_whether_a_repository_is_there(guarded: Server, mine: str) -> None:
    with asking(guarded, ALICE) as alice, asking(guarded, CAROL) as carol:
        push_image(alice, mine, "1")
        there, missing = carol.get(f"/v2/{mine}/manifests/1"), carol.get(f"/v2/{mine}x/manifests/1")
    assert there.status_code == missing.status_code == 403
    assert there.text.replace(mine, "NAME") == missing.text.replace(f"{mine}x", "NAME")


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "manifests/1", "pull"),
        ("HEAD", "manifests/1", "pull"),
        ("PUT", "manifests/1", "pull,push"),
        ("DELETE", "manifests/1", "delete"),
        ("GET", f"blobs/{UNKNOWN_DIGEST}", "pull"),
        ("POST", "blobs/uploads/", "pull,push"),
        ("GET", "tags/list", "pull"),
        ("GET", f"referrers/{UNKNOWN_DIGEST}", "pull"),
    ],
)
@pytest.mark.parametrize("shown", [None, ("alice", "wrong")])
def test_a_challenge_names_what_a_token_would_have_to_be_for(
    guarded: Server, mine: str, method: str, path: str, scope: str, shown: tuple[str, str] | None
) -> None:
    with asking(guarded, shown) as client:
        answer = client.request(method, f"/v2/{mine}/{path}")
    assert answer.status_code == 401
    assert challenge_of(answer)[1]["scope"] == f"repository:{mine}:{scope}"
    assert "error" not in challenge_of(answer)[1]


def test_a_challenge_to_a_mount_names_its_source_too(guarded: Server, mine: str) -> None:
    with asking(guarded) as client:
        path = f"/v2/{mine}/blobs/uploads/"
        answer = client.post(path, params={"mount": UNKNOWN_DIGEST, "from": "other/x"})
        assert challenge_of(answer)[1]["scope"] == f"repository:{mine}:pull,push repository:other/x:pull"
        answer = client.post(path, params={"mount": UNKNOWN_DIGEST, "from": 'a" b'})
        assert challenge_of(answer)[1]["scope"] == f"repository:{mine}:pull,push"


def test_who_mounts_with_a_token_for_the_target_alone_is_told_of_the_source(guarded: Server, mine: str) -> None:
    content = random_bytes(100)
    digest, other = digest_of(content), f"{mine}-other"
    with asking(guarded, ALICE) as client:
        assert client.post(f"/v2/{other}/blobs/uploads/?digest={digest}", content=content).status_code == 201
    path, scope = f"/v2/{mine}/blobs/uploads/", f"repository:{mine}:pull,push"
    with asking(guarded, bearer=bearer_of(guarded, ALICE, scope)) as client:
        for source in (f"&from={other}", ""):
            answer = client.post(f"{path}?mount={digest}{source}")
            assert answer.status_code == 401
            told = challenge_of(answer)[1]
            assert told["error"] == "insufficient_scope"
            assert told["scope"] == f"{scope} repository:{other}:pull"
    with asking(guarded, bearer=bearer_of(guarded, ALICE, f"{scope} repository:{other}:pull")) as client:
        assert client.post(f"{path}?mount={digest}").status_code == 201


def test_who_does_not_say_how_it_reached_the_server_is_asked_for_a_password(guarded: Server) -> None:
    """HTTP/1.0 without a Host: there is no URL to send it to."""
    with socket.create_connection((guarded.host, guarded.port), 20) as connection:
        connection.sendall(b"GET /v2/ HTTP/1.0\r\n\r\n")
        answer = connection.makefile("rb").read()
    assert b" 401 " in answer
    assert b'www-authenticate: Basic realm="stowage"' in answer


def test_a_token_of_a_service_account_is_a_password_under_any_name(guarded: Server, people: People, mine: str) -> None:
    people.service_account("any-name")
    secret, _ = people.token("any-name")
    for who in (("anything", secret), ("serviceaccount:test/any-name", secret), ("", secret), ("admin", secret)):
        with asking(guarded, who) as client:
            push_image(client, mine, "1")
    with asking(guarded, bearer=secret) as client:
        assert client.get(f"/v2/{mine}/tags/list").json()["tags"] == ["1"]
        assert_error(client.get("/v2/elsewhere/x/tags/list"), 403, "DENIED")


def test_a_token_with_a_scope_is_for_no_more(guarded: Server, people: People, mine: str) -> None:
    secret, _ = people.token("user:alice", scope=f"repository:{mine}:pull")
    with asking(guarded, ALICE) as alice:
        push_image(alice, mine, "1")
    with asking(guarded, ("x", secret)) as client:
        assert client.get(f"/v2/{mine}/manifests/1").status_code == 200
        refused = client.post(f"/v2/{mine}/blobs/uploads/")
        assert_error(refused, 401, "UNAUTHORIZED")
        assert challenge_of(refused)[1]["error"] == "insufficient_scope"
        assert client.get(f"/v2/{mine}x/manifests/1").status_code == 401


def test_a_token_that_has_ended_lets_nobody_in(guarded: Server, people: People) -> None:
    people.service_account("ended", None)
    secret, credential = people.token("ended", seconds=60)
    people.end_token(credential)
    with asking(guarded, ("x", secret)) as client:
        assert_error(client.get("/v2/"), 401, "UNAUTHORIZED")


def test_anonymous_pulls_where_it_may(guarded: Server, people: People) -> None:
    people.add_project("public")
    people.grant(VIEWER, "system:anonymous", "public")
    with asking(guarded, ADMIN) as admin, asking(guarded) as anybody:
        push_image(admin, "public/app", "1")
        assert anybody.get("/v2/public/app/manifests/1").status_code == 200
        assert anybody.get("/v2/public/none/manifests/1").status_code == 404
        assert anybody.post("/v2/public/app/blobs/uploads/").status_code == 401
        assert anybody.get(f"/v2/{PROJECT}/app/manifests/1").status_code == 401
    with asking(guarded, CAROL) as carol, asking(guarded, ("alice", "wrong")) as wrong:
        assert carol.get("/v2/public/app/manifests/1").status_code == 200
        assert wrong.get("/v2/public/app/manifests/1").status_code == 401


def test_answers_to_everybody_have_no_word_for_browsers_but_to_keep_out(guarded: Server) -> None:
    with asking(guarded, ADMIN) as client:
        crossing = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "PUT"}
        answers: list[httpx.Response] = [
            client.get("/v2/", headers=crossing),
            client.options("/v2/", headers=crossing),
            client.get("/token", headers=crossing),
            client.get("/v2/_catalog", headers=crossing),
            client.get("/healthz", headers=crossing),
        ]
    for answer in answers:
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_secrets_are_not_in_the_log(guarded: Server, people: People) -> None:
    people.service_account("logged", None)
    secret, _ = people.token("logged")
    with asking(guarded, ("x", secret)) as client:
        client.get("/v2/")
        client.get("/token", params={"password": secret})
        client.post("/token", data={"grant_type": "password", "username": "x", "password": secret})
    with asking(guarded, ("mistyped", "a wrong password of somebody")) as client:
        client.get("/v2/")
    log = guarded.log_file.read_text()
    assert secret not in log
    assert "a wrong password of somebody" not in log
    assert ADMIN[1] not in log
