"""Keys: made once, sealed, rotated without logging anybody out."""

import asyncio

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from auth import signing
from auth.errors import TokenInvalid
from auth.scopes import Scope
from auth.signing import Seal
from registry.db import signing_keys
from registry.db.connection import Database
from registry.errors import Unavailable
from registry.services.revision import Revision
from registry.services.signing_keys import NOTICE_S, SigningKeys, provide_key, rotate
from tests.support.databases import Place

pytestmark = pytest.mark.anyio

SEAL = Seal(b"a secret")
OTHER = Seal(b"another secret")
ACCESS = [Scope("repository", "a/b", frozenset({"pull"}))]


def keys_of(database: Database, seal: Seal = SEAL, service: str = "stowage") -> SigningKeys:
    return SigningKeys(database, Revision(database, polled=False), seal, issuer="stowage", service=service)


async def turn(database: Database, *, every_s: int) -> str:
    return await database.write(lambda tx: rotate(tx, seal=SEAL, every_s=every_s, lifetime_s=300))


async def test_a_key_is_made_once(database: Database) -> None:
    await provide_key(database, SEAL)
    await provide_key(database, SEAL)
    [key] = await signing_keys.every(database)
    assert SEAL.open(key.kid, key.sealed) is not None
    assert SEAL.open("another", key.sealed) is None


async def test_what_one_process_signs_another_verifies(database: Database) -> None:
    await provide_key(database, SEAL)
    token = await keys_of(database).sign("user:ann", ACCESS, "token:7", 300)
    claims = await keys_of(database, Seal(b"none of the verifier's business")).verify(token)
    assert (claims.subject, claims.scopes, claims.credential) == ("user:ann", tuple(ACCESS), "token:7")
    with pytest.raises(TokenInvalid):
        await keys_of(database, service="another").verify(token)


async def test_a_new_key_waits_until_everybody_knows_it_and_the_old_one_verifies_on(
    database: Database, place: Place
) -> None:
    await provide_key(database, SEAL)
    keys = keys_of(database)
    old = await keys.sign("user:ann", [], "", 300)
    assert await turn(database, every_s=3600) == ""
    assert "will sign" in await turn(database, every_s=0)
    newest, first = await signing_keys.every(database)
    assert first.ends_at == newest.signs_from + (300 + NOTICE_S) * 1_000_000
    assert newest.signs_from > first.signs_from
    assert {key["kid"] for key in await keys.published()} == {newest.kid, first.kid}
    assert (await keys.verify(await keys.sign("user:ann", [], "", 300))).subject == "user:ann"
    sql = "UPDATE signing_keys SET signs_from = created_at; UPDATE authority SET revision = revision + 1"
    await asyncio.to_thread(place.sql, sql)  # the notice is over
    new = await keys.sign("user:ann", [], "", 300)
    for token in (old, new):
        assert (await keys.verify(token)).subject == "user:ann"
    await asyncio.to_thread(place.sql, "UPDATE signing_keys SET ends_at = 1 WHERE ends_at IS NOT NULL")
    assert await turn(database, every_s=3600) == "1 keys removed"
    assert (await keys.verify(new)).subject == "user:ann"
    with pytest.raises(TokenInvalid):
        await keys.verify(old)


async def test_a_key_that_another_replica_has_just_made_is_known(database: Database) -> None:
    """Before the next look at the revision; and a made-up one never is."""
    await provide_key(database, SEAL)
    polled = Revision(database, polled=True)
    here = SigningKeys(database, polled, SEAL, issuer="stowage", service="stowage")
    await here.verify(await here.sign("user:ann", [], "", 300))
    await provide_key(database, OTHER)
    token = await keys_of(database, OTHER).sign("user:ann", [], "", 300)
    assert (await here.verify(token)).subject == "user:ann"
    forged = signing.sign({}, "made-up", generate_private_key(SECP256R1()))
    with pytest.raises(TokenInvalid):
        await here.verify(forged)


async def test_another_secret_gets_a_key_of_its_own_and_logs_nobody_out(database: Database) -> None:
    await provide_key(database, SEAL)
    token, other = await keys_of(database).sign("user:ann", [], "", 300), Seal(b"another secret")
    with pytest.raises(Unavailable, match=r"auth\.secret"):
        await keys_of(database, other).sign("user:ann", [], "", 300)
    await provide_key(database, other)
    keys = keys_of(database, other)
    assert (await keys.verify(token)).subject == "user:ann"
    assert (await keys.verify(await keys.sign("user:ben", [], "", 300))).subject == "user:ben"


async def test_nothing_in_the_database_signs(database: Database, place: Place) -> None:
    await provide_key(database, SEAL)
    [key] = await signing_keys.every(database)
    assert '"d"' not in key.public
    assert b"PRIVATE" not in key.sealed
