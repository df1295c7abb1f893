"""Keys of issuers: asked for, remembered, rotated, and what happens while their issuer is away."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from auth.errors import SourceUnavailable, TokenInvalid
from auth.fetch import Fetcher
from auth.foreign import verify
from auth.issuers import FRESH_S, GAP_S, STALE_S, FileKeys, IssuerKeys, published_keys
from auth.keys import KeySet, parse_jwks
from tests.support.certificates import make_certificate
from tests.support.issuer import AUDIENCE, Issuer, Signer

pytestmark = pytest.mark.anyio


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Publisher:
    """Publishes keys; counts how often it is asked."""

    def __init__(self, *kids: str) -> None:
        self.signers = [Signer(kid) for kid in kids]
        self.asked = 0
        self.away = False
        self.open = asyncio.Event()
        self.open.set()

    async def ask(self) -> KeySet:
        self.asked += 1
        await self.open.wait()
        if self.away:
            raise SourceUnavailable("away")
        return parse_jwks({"keys": [one.jwk for one in self.signers]})


def known(publisher: Publisher) -> tuple[IssuerKeys, Clock, Callable[[str], Awaitable[bool]]]:
    clock = Clock()
    keys = IssuerKeys("test", publisher.ask, clock=clock)

    async def has(kid: str) -> bool:
        return await keys.find({"kid": kid}, "ES256") is not None

    return keys, clock, has


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_keys_are_asked_for_once_however_many_wait() -> None:
    publisher = Publisher("a")
    _, _, has = known(publisher)
    publisher.open.clear()
    waiting = [asyncio.create_task(_as_coroutine(has("a"))) for _ in range(50)]
    await settled()
    publisher.open.set()
    assert await asyncio.gather(*waiting) == [True] * 50
    assert publisher.asked == 1


async def test_one_who_goes_away_does_not_take_the_question_with_him() -> None:
    publisher = Publisher("a")
    _, _, has = known(publisher)
    publisher.open.clear()
    impatient, patient = (asyncio.create_task(_as_coroutine(has("a"))) for _ in range(2))
    await settled()
    impatient.cancel()
    await settled()
    publisher.open.set()
    assert await patient
    assert publisher.asked == 1


async def test_an_unknown_key_is_asked_for_but_not_all_the_time() -> None:
    publisher = Publisher("a")
    _, clock, has = known(publisher)
    assert await has("a")
    for number in range(100):
        assert not await has(f"made-up-{number}")
    assert publisher.asked == 1
    clock.now += GAP_S
    publisher.signers.append(Signer("b"))
    assert await has("b")
    assert publisher.asked == 2


async def test_old_keys_are_asked_for_beside_those_who_use_them() -> None:
    publisher = Publisher("a")
    _, clock, has = known(publisher)
    assert await has("a")
    publisher.signers = [Signer("b")]
    publisher.open.clear()
    clock.now += FRESH_S
    assert await has("a")  # nobody waits
    publisher.open.set()
    await settled()
    assert publisher.asked == 2
    clock.now += GAP_S
    assert not await has("a")  # withdrawn
    assert await has("b")


async def test_keys_hold_for_a_day_while_the_issuer_is_away_and_no_longer() -> None:
    publisher = Publisher("a")
    _, clock, has = known(publisher)
    assert await has("a")
    publisher.away = True
    clock.now += STALE_S - 1
    assert await has("a")
    await settled()
    with pytest.raises(SourceUnavailable):  # it may be a new one
        await has("b")
    clock.now += GAP_S
    with pytest.raises(SourceUnavailable):
        await has("a")
    publisher.away = False
    clock.now += GAP_S
    assert await has("a")


async def test_an_issuer_that_was_never_there_is_not_asked_all_the_time() -> None:
    publisher = Publisher("a")
    publisher.away = True
    _, clock, has = known(publisher)
    for _ in range(20):
        with pytest.raises(SourceUnavailable):
            await has("a")
    assert publisher.asked == 1
    clock.now += GAP_S
    publisher.away = False
    assert await has("a")


async def _checked(issuer: Issuer, keys: IssuerKeys, **claims: Any) -> dict[str, Any]:
    return await verify(issuer.token(**claims), keys, issuer=issuer.url, audiences=[AUDIENCE])


async def test_keys_are_found_by_discovery_and_rotated() -> None:
    with Issuer() as issuer:
        keys = published_keys("test", Fetcher(private=True), issuer=issuer.url)
        assert (await _checked(issuer, keys))["sub"] == "system:serviceaccount:ci:runner"
        await _checked(issuer, keys)
        assert issuer.asked_for_keys() == 1
        issuer.rotate("second")
        keys._asked_at = None  # ten seconds later
        await _checked(issuer, keys)
        assert issuer.asked_for_keys() == 2


async def test_a_discovery_document_of_another_issuer_is_refused() -> None:
    with Issuer() as issuer:
        issuer.says_issuer = f"{issuer.url}/"
        keys = published_keys("test", Fetcher(private=True), issuer=issuer.url)
        with pytest.raises(SourceUnavailable):
            await _checked(issuer, keys)
        assert issuer.asked_for_keys() == 0


async def test_keys_of_a_private_address_are_not_asked_for_unless_allowed(tmp_path: Path) -> None:
    mine = make_certificate(tmp_path)
    with Issuer(mine) as issuer:
        for private in (False, True):
            fetcher = Fetcher(private=private, ca=mine.certificate)
            keys = published_keys("test", fetcher, issuer=issuer.url, jwks=f"{issuer.url}/keys")
            if private:
                await _checked(issuer, keys)
            else:
                with pytest.raises(SourceUnavailable):
                    await _checked(issuer, keys)
                assert issuer.asked == []


async def test_a_token_is_shown_only_where_the_setting_says(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("sesame\n")
    with Issuer() as issuer, Issuer() as other:
        keys = published_keys("test", Fetcher(private=True), issuer=issuer.url, token_file=secret)
        await _checked(issuer, keys)
        assert {one.headers.get("authorization") for one in issuer.asked} == {"Bearer sesame"}
        away = published_keys(
            "test", Fetcher(private=True), issuer=issuer.url, jwks=f"{other.url}/keys", token_file=secret
        )
        other.published = issuer.published
        await _checked(issuer, away)
        assert [one.headers.get("authorization") for one in other.asked] == ["Bearer sesame"]
        led = published_keys("test", Fetcher(private=True), issuer=other.url, token_file=secret)
        other.says_issuer = other.url
        before = len(other.asked)
        other.leads_to = f"{issuer.url}/keys"
        issuer.published = other.published
        with pytest.raises(TokenInvalid):  # it is signed by another key; what counts is what was asked
            await verify(other.token(), led, issuer=other.url, audiences=[AUDIENCE])
        assert other.asked[before].headers.get("authorization") == "Bearer sesame"
        assert issuer.asked[-1].path == "/keys"
        assert "authorization" not in issuer.asked[-1].headers


async def test_keys_in_a_file_are_read_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    first, second = Signer("first"), Signer("second")
    file.write_text(json.dumps({"keys": [first.jwk]}))
    keys = FileKeys(file)
    assert await keys.find({"kid": "first"}, "ES256") is not None
    assert await keys.find({"kid": "second"}, "ES256") is None
    file.write_text(json.dumps({"keys": [first.jwk, second.jwk]}))
    assert await keys.find({"kid": "second"}, "ES256") is not None
    file.write_text("{broken")
    assert await keys.find({"kid": "second"}, "ES256") is not None
    file.unlink()
    assert await keys.find({"kid": "second"}, "ES256") is not None


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"keys": []}', '{"keys": {}}', '{"keys": [1, null, {"kty": "oct"}]}']
)
def test_what_is_no_key_set_is_refused_at_first(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys").write_text(text)
    with pytest.raises(TokenInvalid):
        FileKeys(tmp_path / "keys")


async def _as_coroutine(awaitable: Awaitable[bool]) -> bool:
    return await awaitable
