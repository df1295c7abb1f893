"""Tokens that others sign: what is accepted, and every way to be refused that is known."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from auth.errors import TokenInvalid
from auth.foreign import LEEWAY_S, unverified_issuer, verify
from auth.keys import KeySet, PublicKey, key_ids, parse_jwks, public_key
from tests.support.issuer import Signer

pytestmark = pytest.mark.anyio

ISSUER = "https://issuer.test"
AUDIENCE = "registry.test"
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
ED = ed25519.Ed25519PrivateKey.generate()
SIGNER = Signer("one")


class Keys:
    def __init__(self, found: KeySet) -> None:
        self._found = found

    async def find(self, header: Mapping[str, Any], algorithm: str) -> PublicKey | None:
        return self._found.find(header.get("kid"), algorithm)

    async def probe(self) -> list[str]:
        return []


def rsa_jwk(kid: str = "rsa", **more: Any) -> dict[str, Any]:
    return {**jwt.algorithms.RSAAlgorithm.to_jwk(RSA.public_key(), as_dict=True), "kid": kid, **more}


def ed_jwk(kid: str = "ed") -> dict[str, Any]:
    return {**jwt.algorithms.OKPAlgorithm.to_jwk(ED.public_key(), as_dict=True), "kid": kid}


ALL = Keys(parse_jwks({"keys": [SIGNER.jwk, rsa_jwk(), ed_jwk()]}))


def claims(**changed: Any) -> dict[str, Any]:
    now = int(time.time())
    said = {"iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + 300, "sub": "x", **changed}
    return {name: value for name, value in said.items() if value is not None}


async def check(token: str, keys: Keys = ALL) -> dict[str, Any]:
    return await verify(token, keys, issuer=ISSUER, audiences=[AUDIENCE, "other.test"])


@pytest.mark.parametrize("algorithm", ["RS256", "RS512", "PS256", "PS384"])
async def test_keys_of_every_kind_verify(algorithm: str) -> None:
    for key, used, kid in ((RSA, algorithm, "rsa"), (ED, "EdDSA", "ed"), (SIGNER.private, "ES256", "one")):
        token = jwt.encode(claims(), key, algorithm=used, headers={"kid": kid})
        assert (await check(token))["sub"] == "x"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"iss": "https://other.test"}, "another issuer"),
        ({"iss": None}, "no issuer"),
        ({"iss": [ISSUER]}, "no"),
        ({"aud": "somebody.else"}, "another audience"),
        ({"aud": None}, "lacks"),
        ({"aud": []}, "the token"),
        ({"aud": {"a": 1}}, "the token"),
        ({"exp": None}, "lacks"),
        ({"exp": 1}, "has ended"),
        ({"exp": "soon"}, "the token"),
        ({"exp": int(time.time()) - LEEWAY_S - 1}, "has ended"),
        ({"nbf": int(time.time()) + LEEWAY_S + 3600}, "not valid yet"),
        ({"iat": int(time.time()) + LEEWAY_S + 3600}, "not valid yet"),
        ({"exp": float("inf")}, "the token"),
    ],
)
async def test_claims_that_do_not_count(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(TokenInvalid, match=said):
        await check(SIGNER.sign(claims(**changed)))


async def test_clocks_may_be_a_minute_apart() -> None:
    now = int(time.time())
    await check(SIGNER.sign(claims(exp=now - LEEWAY_S + 10)))
    await check(SIGNER.sign(claims(nbf=now + LEEWAY_S - 10, iat=now + LEEWAY_S - 10)))
    await check(SIGNER.sign(claims(aud=["somebody.else", "other.test"])))


def forged(header: dict[str, Any], secret: bytes | None = None) -> str:
    def encoded(part: bytes) -> str:
        return base64.urlsafe_b64encode(part).rstrip(b"=").decode()

    text = f"{encoded(json.dumps(header).encode())}.{encoded(json.dumps(claims()).encode())}"
    signature = b"" if secret is None else hmac.new(secret, text.encode(), hashlib.sha256).digest()
    return f"{text}.{encoded(signature)}"


async def test_no_algorithm_of_the_tokens_choice_counts() -> None:
    """CVE-2015-9235 and those after it: "none", and a public key taken for a shared secret."""
    pem = RSA.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    tokens = [forged({"alg": none, "kid": "rsa"}) for none in ("none", "None", "NONE", "", "nOnE")]
    tokens += [forged({"alg": alg, "kid": "rsa"}, pem) for alg in ("HS256", "HS512", "RS256", "ES256")]
    tokens += [forged({"kid": "rsa"}), forged({"alg": ["RS256"], "kid": "rsa"}), forged({"alg": None})]
    for token in tokens:
        with pytest.raises(TokenInvalid):
            await check(token)


async def test_a_key_is_for_what_its_owner_says_and_nothing_else() -> None:
    only = Keys(parse_jwks({"keys": [rsa_jwk(alg="RS256")]}))
    await check(jwt.encode(claims(), RSA, algorithm="RS256", headers={"kid": "rsa"}), only)
    with pytest.raises(TokenInvalid, match="algorithm"):
        await check(jwt.encode(claims(), RSA, algorithm="PS256", headers={"kid": "rsa"}), only)


async def test_a_token_does_not_bring_its_key() -> None:
    stranger = Signer("one")
    for headers in ({"jwk": stranger.jwk}, {"jku": "https://stranger.test/keys"}, {"x5u": "https://stranger.test/c"}):
        with pytest.raises(TokenInvalid, match="signature"):
            await check(stranger.sign(claims(), **headers))


async def test_what_is_critical_is_understood_or_refused() -> None:
    with pytest.raises(TokenInvalid):
        await check(SIGNER.sign(claims(), crit=["b64"], b64=True))
    with pytest.raises(TokenInvalid):
        await check(SIGNER.sign(claims(), crit=["mine"], mine=1))


async def test_a_token_without_a_key_id_is_verified_by_the_only_key_that_fits() -> None:
    token = jwt.encode(claims(), SIGNER.private, algorithm="ES256")
    await check(token)
    several = Keys(parse_jwks({"keys": [SIGNER.jwk, Signer("two").jwk]}))
    with pytest.raises(TokenInvalid):
        await check(token, several)


@pytest.mark.parametrize(
    "entry",
    [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "a"},
        {**SIGNER.jwk, "use": "enc"},
        {**SIGNER.jwk, "key_ops": ["encrypt"]},
        {**SIGNER.jwk, "alg": "HS256"},
        {**SIGNER.jwk, "alg": "none"},
        {**SIGNER.jwk, "crv": "P-521"},
        {**SIGNER.jwk, "x": "!!!"},
        {**SIGNER.jwk, "x": "AAAA"},
        {**SIGNER.jwk, "d": "c2VjcmV0"},
        {"kty": "EC"},
        {"kty": "RSA", "n": "AQ", "e": "AQ"},
        "text",
    ],
)
def test_keys_that_are_not_for_verifying_are_left_out(entry: object) -> None:
    with pytest.raises(TokenInvalid):
        parse_jwks({"keys": [entry]})
    assert len(parse_jwks({"keys": [entry, ed_jwk()]})) == 1


def test_short_keys_and_strange_curves_verify_nothing() -> None:
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - that is the question
    assert public_key(short.public_key()) is None
    assert public_key(ec.generate_private_key(ec.SECP256K1()).public_key()) is None
    assert public_key(object()) is None


def test_a_thumbprint_is_as_the_rfc_says() -> None:
    """RFC 7638, section 3.1, and RFC 8037, appendix A.3."""
    ed = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    found = parse_jwks({"keys": [ed]}).find(None, "EdDSA")
    assert found is not None
    assert key_ids(found.key)[0] == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    assert [len(part) for part in key_ids(found.key)[1].split(":")] == [4] * 12


@given(text=st.text(max_size=200) | st.tuples(*[st.text("eyJhbGciOiJub25lIn0-_", max_size=60)] * 3).map(".".join))
def test_any_text_is_a_token_of_some_issuer_or_refused(text: str) -> None:
    try:
        assert isinstance(unverified_issuer(text), str)
    except TokenInvalid as error:
        assert len(text) < 20 or text not in str(error)


@pytest.mark.parametrize("text", ["stw_abc", "hunter2", "a.b.c", "", "ey.", "eyJ" * 20_000 + ".a.b"])
def test_a_password_is_not_taken_for_a_token(text: str) -> None:
    with pytest.raises(TokenInvalid, match="not a JSON Web Token"):
        unverified_issuer(text)
