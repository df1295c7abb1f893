"""An outside token server: its certificates and keys, and that its `access` decides alone."""

import base64
import itertools
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.x509.oid import NameOID

from auth.certificates import TokenServerKeys
from auth.errors import Denied, InsufficientScope, TokenInvalid, Unauthenticated
from auth.issuers import FileKeys
from auth.keys import key_ids
from auth.outside import AccessPolicy, OutsideTokens, principal_of
from auth.policy import Action, authorize
from auth.principal import ANONYMOUS
from tests.support.certificates import make_certificate
from tests.support.issuer import Signer

pytestmark = pytest.mark.anyio

ISSUER, SERVICE = "token-server", "registry.test"
_SERIAL = itertools.count(1)
SERVER = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


class Signed:
    """A key with a certificate, which signs tokens and other certificates."""

    def __init__(
        self,
        name: str,
        by: "Signed | None" = None,
        *,
        ca: bool = False,
        days: int = 1,
        usage: x509.KeyUsage | None = None,
    ) -> None:
        self.key: EllipticCurvePrivateKey = generate_private_key(SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signer = by or self
        issuer = subject if by is None else by.certificate.subject
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder(issuer, subject, self.key.public_key(), next(_SERIAL))
            .not_valid_before(now - timedelta(days=30))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key()), critical=False)
        )
        if usage is not None:
            builder = builder.add_extension(usage, critical=True)
        self.certificate: x509.Certificate = builder.sign(signer.key, hashes.SHA256())

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def der(self) -> str:
        return base64.b64encode(self.certificate.public_bytes(serialization.Encoding.DER)).decode()

    def token(self, headers: dict[str, Any], access: object = None, **changed: Any) -> str:
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": SERVICE, "sub": "alice", "exp": now + 300, "access": access, **changed}
        return jwt.encode(claims, self.key, algorithm="ES256", headers=headers)


ROOT = Signed("root", ca=True)


def trusting(folder: Path, *certificates: Signed, jwks: list[dict[str, Any]] | None = None) -> OutsideTokens:
    bundle = None
    if certificates:
        bundle = folder / "bundle.pem"
        bundle.write_bytes(b"".join(one.pem for one in certificates))
    keys = None
    if jwks is not None:
        (folder / "keys.json").write_text(json.dumps({"keys": jwks}))
        keys = FileKeys(folder / "keys.json")
    return OutsideTokens(TokenServerKeys(bundle, keys), issuer=ISSUER, service=SERVICE)


async def test_a_key_is_named_by_a_chain_that_leads_to_the_bundle(tmp_path: Path) -> None:
    tokens = trusting(tmp_path, ROOT)
    between = Signed("between", ROOT, ca=True)
    leaf, below = Signed("leaf", ROOT), Signed("below", between)
    for signer, chain in ((ROOT, [ROOT]), (leaf, [leaf]), (leaf, [leaf, ROOT]), (below, [below, between])):
        assert (await tokens.verify(signer.token({"x5c": [one.der for one in chain]}))).subject == "user:alice"
    with pytest.raises(TokenInvalid):
        await tokens.verify(below.token({"x5c": [below.der]}))  # the one between is missing


async def test_a_chain_that_leads_elsewhere_or_has_ended_is_refused(tmp_path: Path) -> None:
    tokens = trusting(tmp_path, ROOT)
    other = Signed("root", ca=True)  # of the same name
    leaf = Signed("leaf", ROOT)
    forged = Signed("forged", leaf)  # by a certificate that is not to sign others
    server = Signed("server", ROOT, ca=True, usage=SERVER)  # a CA that is not to sign certificates
    served = Signed("served", server)
    ended, stranger = Signed("ended", ROOT, days=-1), Signed("stranger", other)
    for signer, chain in (
        (other, [other]),
        (stranger, [stranger, other]),
        (stranger, [stranger, ROOT]),
        (forged, [forged, leaf]),
        (ended, [ended]),
        (served, [served, server]),
        (stranger, [leaf]),  # of another's key
    ):
        with pytest.raises(TokenInvalid):
            await tokens.verify(signer.token({"x5c": [one.der for one in chain]}))


@pytest.mark.parametrize("x5c", ["text", [1], ["!!"], ["AAAA"], [ROOT.der] * 11, {"a": 1}])
async def test_what_is_no_chain_is_refused(tmp_path: Path, x5c: object) -> None:
    with pytest.raises(TokenInvalid):
        await trusting(tmp_path, ROOT).verify(ROOT.token({"x5c": x5c}))


async def test_a_bundle_as_openssl_makes_it_is_read_again_when_it_changes(tmp_path: Path) -> None:
    made = make_certificate(tmp_path / "made")
    tokens = trusting(tmp_path, ROOT)
    key = serialization.load_pem_private_key(made.key.read_bytes(), None)
    assert isinstance(key, EllipticCurvePrivateKey)
    claims = {"iss": ISSUER, "aud": SERVICE, "exp": int(time.time()) + 300}
    token = jwt.encode(claims, key, algorithm="ES256", headers={"kid": key_ids(key.public_key())[0]})
    with pytest.raises(TokenInvalid):
        await tokens.verify(token)
    (tmp_path / "bundle.pem").write_bytes(made.certificate.read_bytes())
    assert (await tokens.verify(token)).subject == "system:anonymous"


async def test_a_key_of_the_bundle_is_named_by_its_id_as_distribution_2_and_3_do(tmp_path: Path) -> None:
    tokens = trusting(tmp_path, ROOT)
    for kid in key_ids(ROOT.key.public_key()):
        assert (await tokens.verify(ROOT.token({"kid": kid}))).subject == "user:alice"
        assert (await tokens.verify(ROOT.token({"jwk": {"kid": kid}}))).subject == "user:alice"
    for headers in ({"kid": "other"}, {}, {"jwk": {"kid": 1}}):
        with pytest.raises(TokenInvalid):
            await tokens.verify(ROOT.token(headers))


async def test_a_key_set_is_trusted_beside_the_bundle_or_alone(tmp_path: Path) -> None:
    signer = Signer("set")
    claims = {"iss": ISSUER, "aud": SERVICE, "exp": int(time.time()) + 300, "sub": "bob"}
    for tokens in (trusting(tmp_path, ROOT, jwks=[signer.jwk]), trusting(tmp_path, jwks=[signer.jwk])):
        assert (await tokens.verify(signer.sign(claims))).subject == "user:bob"
        own = Signer("set")  # a token that brings its key along is not believed
        with pytest.raises(TokenInvalid, match="signature"):
            await tokens.verify(own.sign(claims, jwk=own.jwk))
    with pytest.raises(TokenInvalid, match="no certificate"):
        await trusting(tmp_path, jwks=[signer.jwk]).verify(ROOT.token({"x5c": [ROOT.der]}))


@pytest.mark.parametrize(
    "access",
    [
        "all",
        {"type": "repository"},
        [1],
        [{"type": "repository", "name": "a"}, {"type": 1, "name": "a", "actions": []}],
        [{"type": "repository", "name": "a", "actions": "pull"}],
        [{"type": "r", "name": "a", "actions": []}] * 501,
    ],
)
async def test_an_access_that_makes_no_sense_is_refused(tmp_path: Path, access: object) -> None:
    kid = key_ids(ROOT.key.public_key())[0]
    with pytest.raises(TokenInvalid, match="access"):
        await trusting(tmp_path, ROOT).verify(ROOT.token({"kid": kid}, access))


def questions() -> Iterator[tuple[Action, str | None]]:
    for action in Action:
        for repository in ("team/app", "team/other", None):
            yield action, repository


async def test_access_decides_alone(tmp_path: Path) -> None:
    kid = key_ids(ROOT.key.public_key())[0]
    access = [
        {"type": "repository", "name": "team/app", "actions": ["pull"]},
        {"type": "repository(plugin)", "name": "team/app", "actions": ["push", 1]},
        {"type": "repository", "name": "team/nothing", "actions": None},
    ]
    claims = await trusting(tmp_path, ROOT).verify(ROOT.token({"kid": kid}, access))
    principal, policy = principal_of(claims), AccessPolicy()
    assert principal.name == "user:alice"
    allowed = [question for question in questions() if await policy.allows(principal, *question)]
    expected = {(action, "team/app") for action in (Action.PULL, Action.PUSH, Action.OVERWRITE)}
    assert {*allowed} == expected | {(Action.ENTER, repository) for repository in ("team/app", "team/other", None)}
    with pytest.raises(InsufficientScope):
        await authorize(policy, principal, Action.DELETE, "team/app")


async def test_the_catalog_is_an_access_of_its_own(tmp_path: Path) -> None:
    kid = key_ids(ROOT.key.public_key())[0]
    access = [{"type": "registry", "name": "catalog", "actions": ["*"]}]
    claims = await trusting(tmp_path, ROOT).verify(ROOT.token({"kid": kid}, access))
    assert await AccessPolicy().allows(principal_of(claims), Action.CATALOG, None)
    assert not await AccessPolicy().allows(principal_of(claims), Action.SETTINGS, None)


async def test_nobody_may_do_anything_and_is_asked_for_a_token(tmp_path: Path) -> None:
    for action, repository in questions():
        with pytest.raises(Unauthenticated):
            await authorize(AccessPolicy(), ANONYMOUS, action, repository)


async def test_a_token_for_nobody_may_do_what_it_says(tmp_path: Path) -> None:
    """Token servers let everybody pull what is public."""
    kid = key_ids(ROOT.key.public_key())[0]
    access = [{"type": "repository", "name": "public/app", "actions": ["pull"]}]
    claims = await trusting(tmp_path, ROOT).verify(ROOT.token({"kid": kid}, access, sub=""))
    principal = principal_of(claims)
    assert principal.is_anonymous
    await authorize(AccessPolicy(), principal, Action.PULL, "public/app")
    with pytest.raises((Unauthenticated, Denied)):
        await authorize(AccessPolicy(), principal, Action.PUSH, "public/app")
