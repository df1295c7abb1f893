"""Tokens that somebody altered, made up, or kept for too long."""

import time
from collections.abc import Iterator

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from auth.signing import LEEWAY_S
from tests.factories import assert_error, digest_of, random_bytes
from tests.support.forging import Forge
from tests.support.people import ALICE, People, asking, bearer_of, challenge_of
from tests.support.server import Server

NOW = int(time.time())
HOUR = 3600
_MARGIN_S = 10
"""For the first requests with a token that ends soon."""


@pytest.fixture(scope="module")
def forge(people: People) -> Forge:
    return Forge(people)


def get(server: Server, token: str) -> httpx.Response:
    with asking(server, bearer=token) as client:
        return client.get("/v2/")


def test_the_forge_makes_tokens_that_count(guarded: Server, forge: Forge) -> None:
    assert get(guarded, forge.token()).status_code == 200
    assert get(guarded, forge.token(sub="user:bob")).status_code == 200


@pytest.mark.parametrize(
    "changed",
    [
        {"exp": NOW - HOUR},
        {"nbf": NOW + HOUR},
        {"iat": NOW + HOUR},
        {"aud": "elsewhere"},
        {"iss": "elsewhere"},
        {"sub": "user:nobody-like-this"},
        {"sub": "serviceaccount:none/none"},
        {"sub": "group:everybody"},
        {"sub": "user:alice", "cred": "token:1000000"},
        {"sub": "user:alice", "cred": "token:x"},
        {"sub": "user:alice", "cred": "password:x"},
        {"sub": 7},
        {"cred": 7},
        {"access": [{"type": "repository"}]},
        {"access": [7]},
        *({name: None} for name in ("iss", "sub", "aud", "exp", "nbf", "iat", "jti")),
    ],
)
def test_a_token_that_says_something_else_is_refused(guarded: Server, forge: Forge, changed: dict[str, object]) -> None:
    answer = get(guarded, forge.token(**changed))
    assert_error(answer, 401, "UNAUTHORIZED")


def test_a_token_of_another_key_is_refused(guarded: Server, forge: Forge) -> None:
    claims = forge.claims(sub="user:admin")
    other = generate_private_key(SECP256R1())
    public = forge.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    tokens = [
        jwt.encode(claims, other, "ES256", headers={"kid": forge.kid}),
        jwt.encode(claims, other, "ES256", headers={"kid": "another"}),
        jwt.encode(claims, other, "ES256"),
        jwt.encode(claims, "", "none", headers={"kid": forge.kid}),
        jwt.encode(claims, forge.key, "ES256", headers={"kid": "../" + forge.kid}),
        jwt.encode(claims, public[:32] * 2, "HS256", headers={"kid": forge.kid}),
    ]
    head, body, signature = forge.token(sub="user:bob").split(".")
    _, others, _ = forge.token(sub="user:alice").split(".")
    tokens += [f"{head}.{others}.{signature}", f"{head}.{body}.", f"{head}.{body}", f"{head}.{body}.{signature}x"]
    for token in tokens:
        answer = get(guarded, token)
        assert_error(answer, 401, "UNAUTHORIZED")
        assert challenge_of(answer)[1]["error"] == "invalid_token"


def test_a_token_that_was_seen_ends_when_its_time_is_over(guarded: Server, forge: Forge) -> None:
    """It is remembered as verified, and no longer than it is good."""
    ends = int(time.time()) + _MARGIN_S
    token = forge.token(exp=ends - LEEWAY_S)
    assert get(guarded, token).status_code == 200
    while time.time() <= ends + 0.5:
        time.sleep(0.1)
    assert_error(get(guarded, token), 401, "UNAUTHORIZED")


def test_a_token_that_ends_during_an_upload_does_not_end_it(guarded: Server, forge: Forge, mine: str) -> None:
    ends = int(time.time()) + _MARGIN_S
    token = forge.token(
        sub="user:alice",
        exp=ends - LEEWAY_S,
        access=[{"type": "repository", "name": mine, "actions": ["pull", "push"]}],
    )
    content = random_bytes(5000)

    def slowly() -> Iterator[bytes]:
        yield content[:1000]
        while time.time() <= ends + 0.5:
            time.sleep(0.1)
        yield content[1000:]

    with asking(guarded, bearer=token) as client:
        began = client.post(f"/v2/{mine}/blobs/uploads/")
        assert began.status_code == 202
        location = began.headers["Location"]
        assert client.patch(location, content=slowly()).status_code == 202
        assert client.put(location, params={"digest": digest_of(content)}).status_code == 401
    with asking(guarded, bearer=bearer_of(guarded, ALICE, f"repository:{mine}:pull,push")) as client:
        assert client.put(location, params={"digest": digest_of(content)}).status_code == 201
