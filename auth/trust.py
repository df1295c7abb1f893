"""Trusted issuers: whose tokens stand for which service account, by rules on their claims. `auth.trust`."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from auth.errors import SourceUnavailable, TokenInvalid
from auth.foreign import KeySource, unverified_issuer, verify
from auth.grants import matches
from auth.tokens import Claims

_logger = logging.getLogger("stowage.auth")

Wanted = str | bool | int | Mapping[str, "Wanted"]
"""What a claim must be: a text or a pattern of texts, a truth, a number, or what must be of the claims in it."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Who is let in as a service account: those whose claims are all as wanted."""

    claims: Mapping[str, Wanted]
    project: str
    account: str

    @property
    def subject(self) -> str:
        """The service account's name, as grants have it."""
        return f"serviceaccount:{self.project}/{self.account}"

    def fits(self, claims: Mapping[str, Any]) -> bool:
        """Say whether claims are as wanted."""
        return _all_fit(self.claims, claims)


@dataclass(frozen=True, slots=True)
class TrustedIssuer:
    """An issuer, for whom its tokens must be, and the rules, of which the first that fits decides."""

    name: str
    issuer: str
    audiences: frozenset[str]
    keys: KeySource
    rules: Sequence[Rule]


class Trust:
    """A TokenVerifier of all issuers that are trusted. Several may be of one issuer, for other audiences or rules."""

    def __init__(self, issuers: Sequence[TrustedIssuer]) -> None:
        self._issuers = issuers

    async def verify(self, token: str) -> Claims:
        """Return which service account a token stands for; whether that is there is for others to say.

        Raises:
            TokenInvalid: it is of nobody who is trusted, does not count, or no rule fits its claims.
            SourceUnavailable: its issuer can't be asked for the keys.
        """
        issuer = unverified_issuer(token)
        candidates = [one for one in self._issuers if one.issuer == issuer]
        away: SourceUnavailable | None = None
        refusal = TokenInvalid("the token is of no issuer that is trusted here")
        for one in candidates:
            try:
                claims = await verify(token, one.keys, issuer=issuer, audiences=one.audiences)
            except SourceUnavailable as error:
                away = error
                continue
            except TokenInvalid as error:
                refusal = error
                continue
            rule = next((rule for rule in one.rules if rule.fits(claims)), None)
            if rule is not None:
                _logger.info("%s is let in: %.200r, says %s", rule.subject, claims.get("sub"), one.name)
                return Claims(rule.subject, float(claims["exp"]))
            refusal = TokenInvalid(f"no rule of the trusted issuer {one.name} fits the token's claims")
        raise away or refusal

    async def probe(self) -> list[str]:
        """Say what keeps it from verifying tokens now."""
        return [text for one in self._issuers for text in await one.keys.probe()]


def _all_fit(wanted: Mapping[str, Wanted], claims: Mapping[str, Any]) -> bool:
    return all(name in claims and _fits(one, claims[name]) for name, one in wanted.items())


def _fits(wanted: Wanted, claim: object) -> bool:
    """Say whether a claim is as wanted; of a list, one of it must be."""
    if isinstance(claim, list):
        return any(_fits(wanted, one) for one in claim if not isinstance(one, list))
    if isinstance(wanted, Mapping):
        return isinstance(claim, Mapping) and _all_fit(wanted, claim)
    if isinstance(wanted, bool) or isinstance(claim, bool):
        return wanted is claim
    if isinstance(wanted, int):
        return type(claim) is int and claim == wanted
    return isinstance(claim, str) and matches(wanted, claim)
