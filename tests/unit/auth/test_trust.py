"""Trusted issuers: whose token is which service account."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth.errors import SourceUnavailable, TokenInvalid
from auth.fetch import Fetcher
from auth.issuers import FileKeys, published_keys
from auth.trust import Rule, Trust, TrustedIssuer, Wanted
from tests.support.issuer import AUDIENCE, KUBERNETES, Issuer

pytestmark = pytest.mark.anyio

POD: dict[str, Wanted] = {"kubernetes.io": {"namespace": "ci", "serviceaccount": {"name": "runner"}}}
JOB: dict[str, Any] = {
    "sub": "repo:acme/app:ref:refs/heads/main",
    "repository": "acme/app",
    "ref": "refs/heads/release/1.0",
    "ref_protected": True,
    "run_attempt": 1,
    "groups": ["builders", "acme/app"],
}


def trusting(issuer: Issuer, *rules: Rule, name: str = "cluster", audience: str = AUDIENCE) -> TrustedIssuer:
    keys = published_keys(name, Fetcher(private=True), issuer=issuer.url)
    return TrustedIssuer(name, issuer.url, frozenset({audience}), keys, rules)


async def test_a_token_of_a_pod_is_the_service_account_that_a_rule_says() -> None:
    with Issuer() as issuer:
        others: dict[str, Wanted] = {"kubernetes.io": {"namespace": "prod"}}
        trust = Trust([trusting(issuer, Rule(others, "prod", "deployer"), Rule(POD, "team", "builder"))])
        found = await trust.verify(issuer.token())
        assert (found.subject, found.scopes, found.credential) == ("serviceaccount:team/builder", None, "")
        elsewhere = {"kubernetes.io": {**KUBERNETES["kubernetes.io"], "namespace": "ci-2"}}
        with pytest.raises(TokenInvalid, match="no rule of the trusted issuer cluster"):
            await trust.verify(issuer.token(**elsewhere))


async def test_a_token_for_somebody_else_is_not_let_in() -> None:
    with Issuer() as issuer, Issuer() as stranger:
        trust = Trust([trusting(issuer, Rule(POD, "team", "builder"))])
        for token, said in (
            (issuer.token(aud=["https://kubernetes.default.svc"]), "another audience"),
            (issuer.token(aud=None), "lacks"),
            (issuer.token(exp=1), "has ended"),
            (stranger.token(), "no issuer that is trusted"),
            (stranger.token(iss=issuer.url), "signature"),
        ):
            with pytest.raises(TokenInvalid, match=said):
                await trust.verify(token)
        assert stranger.asked == []


async def test_an_issuer_may_be_trusted_twice_for_other_audiences() -> None:
    with Issuer() as issuer:
        builds = trusting(issuer, Rule(POD, "team", "builder"))
        deploys = trusting(issuer, Rule(POD, "team", "deployer"), name="deploys", audience="deploy.test")
        trust = Trust([builds, deploys])
        assert (await trust.verify(issuer.token())).subject == "serviceaccount:team/builder"
        assert (await trust.verify(issuer.token(aud="deploy.test"))).subject == "serviceaccount:team/deployer"


async def test_an_issuer_that_is_away_is_not_a_wrong_token() -> None:
    with Issuer() as issuer:
        issuer.away = True
        with pytest.raises(SourceUnavailable):
            await Trust([trusting(issuer, Rule(POD, "team", "builder"))]).verify(issuer.token())


async def test_an_issuer_that_is_away_does_not_keep_its_other_keys_from_counting(tmp_path: Path) -> None:
    with Issuer() as issuer:
        (tmp_path / "keys").write_text(json.dumps({"keys": issuer.published}))
        issuer.away = True
        rules = (Rule(POD, "team", "builder"),)
        kept = TrustedIssuer("kept", issuer.url, frozenset({AUDIENCE}), FileKeys(tmp_path / "keys"), rules)
        for order in ([trusting(issuer, *rules), kept], [kept, trusting(issuer, *rules)]):
            assert (await Trust(order).verify(issuer.token())).subject == "serviceaccount:team/builder"
            with pytest.raises(SourceUnavailable):
                await Trust(order).verify(issuer.token({"kid": "new"}))


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        ({"repository": "acme/app"}, True),
        ({"repository": "acme/*"}, True),
        ({"repository": "acme"}, False),
        ({"repository": "*"}, False),  # `*` is within a component, as everywhere
        ({"repository": "**"}, True),
        ({"repository": "ACME/app"}, False),
        ({"ref": "refs/heads/*"}, False),
        ({"ref": "refs/heads/**"}, True),
        ({"ref": "refs/heads/release/1?0"}, True),
        ({"sub": "repo:acme/*:ref:refs/heads/main"}, True),
        ({"ref_protected": True}, True),
        ({"ref_protected": False}, False),
        ({"ref_protected": "True"}, False),
        ({"ref_protected": 1}, False),
        ({"run_attempt": 1}, True),
        ({"run_attempt": True}, False),
        ({"run_attempt": "1"}, False),
        ({"groups": "builders"}, True),
        ({"groups": "acme/*"}, True),
        ({"groups": "builder"}, False),
        ({"missing": "**"}, False),
        ({"repository": {"name": "app"}}, False),
        ({"repository": "acme/app", "ref": "refs/heads/main"}, False),
    ],
)
def test_claims_are_as_wanted(wanted: dict[str, Wanted], fits: bool) -> None:
    assert Rule(wanted, "p", "a").fits(JOB) is fits


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(claim=json_values)
def test_no_claim_but_the_very_text_fits_a_text(claim: object) -> None:
    if Rule({"a": "wanted"}, "p", "a").fits({"a": claim}):
        assert claim == "wanted" or (isinstance(claim, list) and "wanted" in claim)
