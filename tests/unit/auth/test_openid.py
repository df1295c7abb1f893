"""What a provider says that is wrong, or not for us. What a right one says is tried with a real one, by the pages."""

import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from auth.errors import Denied, LoginBroken, SourceUnavailable
from auth.fetch import Fetcher
from auth.openid import OpenId, Provider
from auth.sources import Identity
from tests.support.issuer import Signer
from tests.support.pages import Asked, Page, Pages

pytestmark = pytest.mark.anyio

CLIENT = "stowage"


class Wrong:
    """A provider that says what a test wants it to say."""

    def __init__(self) -> None:
        self.signer = Signer("one")
        self.nonce = ""
        self.claims: dict[str, Any] = {}
        self.told: dict[str, Any] = {"sub": "1"}
        self.document: dict[str, Any] = {}
        self.pages = Pages(self._answer)

    @property
    def url(self) -> str:
        return self.pages.url

    def _answer(self, asked: Asked) -> Page:
        answers: dict[str, Any] = {
            "/.well-known/openid-configuration": {
                "issuer": self.url,
                **{f"{name}_endpoint": f"{self.url}/{name}" for name in ("authorization", "token", "userinfo")},
                "jwks_uri": f"{self.url}/keys",
                **self.document,
            },
            "/keys": {"keys": [self.signer.jwk]},
            "/userinfo": self.told,
        }
        if asked.path == "/token":
            now = int(time.time())
            right = {"iss": self.url, "aud": CLIENT, "sub": "1", "exp": now + 60, "iat": now, "nonce": self.nonce}
            said = {**right, "preferred_username": "ann", **self.claims}
            token = self.signer.sign({name: value for name, value in said.items() if value is not None})
            return Page(json.dumps({"id_token": token, "access_token": "sesame"}).encode())
        return Page(json.dumps(answers[asked.path]).encode())


@pytest.fixture
def wrong() -> Iterator[Wrong]:
    provider = Wrong()
    with provider.pages:
        yield provider


async def log_in(provider: Wrong, **changed: Any) -> Identity:
    settings = Provider(provider.url, CLIENT, "", "https://registry.test/auth/callback", **changed)
    openid = OpenId(settings, Fetcher(private=True), b"secret")
    begun = await openid.begin()
    asked = parse_qs(urlsplit(begun.url).query)
    provider.nonce = asked["nonce"][0]
    return await openid.finish({"code": "x", "state": asked["state"][0]}, begun.cookie)


async def test_what_is_right_is_taken(wrong: Wrong) -> None:
    found = await log_in(wrong)
    assert found == Identity("ann", frozenset(), "oidc", f"{wrong.url}#1")
    form = next(one for one in wrong.pages.asked if one.path == "/token")
    assert "authorization" not in form.headers  # a client without a secret
    assert len(parse_qs(form.body.decode())["code_verifier"][0]) >= 43


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"nonce": ["x"]},
        {"aud": "another"},
        {"aud": [CLIENT, "another"]},
        {"aud": [CLIENT, "another"], "azp": "another"},
        {"azp": "another"},
        {"iss": "https://another.test"},
        {"exp": 1},
        {"exp": None},
        {"sub": ""},
        {"sub": None},
        {"sub": "x" * 300},
    ],
)
async def test_a_token_that_is_not_for_this_login_is_refused(wrong: Wrong, claims: dict[str, Any]) -> None:
    wrong.claims = claims
    with pytest.raises(LoginBroken):
        await log_in(wrong)


async def test_a_token_for_several_says_that_it_was_given_to_us(wrong: Wrong) -> None:
    wrong.claims = {"aud": [CLIENT, "another"], "azp": CLIENT}
    assert (await log_in(wrong)).name == "ann"


async def test_what_is_told_beside_is_of_the_same_person(wrong: Wrong) -> None:
    wrong.told = {"sub": "1", "groups": ["a", "b", 5, "", "x\n"], "preferred_username": "other"}
    found = await log_in(wrong)
    assert (found.name, found.groups) == ("ann", frozenset({"a", "b"}))  # what is signed counts
    wrong.told = {"sub": "2", "groups": ["a"]}
    with pytest.raises(LoginBroken, match="somebody else"):
        await log_in(wrong)


@pytest.mark.parametrize("verified", [None, False, "true", 1])
async def test_an_address_that_nobody_has_verified_is_no_name(wrong: Wrong, verified: object) -> None:
    wrong.claims = {"email": "ann@example.org", "email_verified": verified}
    with pytest.raises(Denied, match="verified"):
        await log_in(wrong, name_claim="email")
    wrong.claims["email_verified"] = True
    assert (await log_in(wrong, name_claim="email")).name == "ann@example.org"


@pytest.mark.parametrize("name", [None, "", 5, ["ann"], "a b", "user:ann", "../x", "\u00e4nn", "x" * 300])
async def test_what_can_be_no_name_is_refused(wrong: Wrong, name: object) -> None:
    wrong.claims = {"preferred_username": name}
    with pytest.raises(Denied):
        await log_in(wrong)


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://another.test"},
        {"authorization_endpoint": None},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": "https://user@x.test/"},
        {"token_endpoint": "ftp://x.test/"},
        {"token_endpoint": 5},
    ],
)
async def test_a_document_that_leads_elsewhere_is_not_followed(wrong: Wrong, document: dict[str, Any]) -> None:
    wrong.document = document
    with pytest.raises(SourceUnavailable):
        await log_in(wrong)
