"""Issuers of tokens that the settings trust: `auth.trust`, and the outside token server of `auth.token`."""

from collections.abc import Sequence
from pathlib import Path

from auth.certificates import TokenServerKeys
from auth.fetch import Fetcher
from auth.foreign import KeySource
from auth.issuers import FileKeys, published_keys
from auth.outside import OutsideTokens
from auth.trust import Rule, Trust, TrustedIssuer
from registry.auth_settings import TokenSettings
from registry.outside_settings import TrustSettings


def build_trust(settings: Sequence[TrustSettings]) -> Trust:
    """Return who verifies tokens of trusted issuers. Raises OSError, TokenInvalid: a file of keys is none."""
    return Trust([_issuer(one) for one in settings])


def build_token_server(settings: TokenSettings) -> OutsideTokens:
    """Return who verifies tokens of the outside token server. Raises OSError, TokenInvalid: a file of keys is none."""
    keys: KeySource | None = None
    if settings.jwks_url is not None:
        fetcher = Fetcher(private=settings.allow_private, ca=settings.ca)
        keys = published_keys("auth.token", fetcher, issuer=settings.issuer, jwks=settings.jwks_url)
    elif settings.jwks is not None:
        keys = FileKeys(Path(settings.jwks))
    both = TokenServerKeys(settings.rootcertbundle, keys)
    return OutsideTokens(both, issuer=settings.issuer, service=settings.service)


def _issuer(settings: TrustSettings) -> TrustedIssuer:
    keys: KeySource
    if settings.keys_file is not None:
        keys = FileKeys(settings.keys_file)
    else:
        fetcher = Fetcher(private=settings.allow_private, ca=settings.ca)
        keys = published_keys(
            settings.name, fetcher, issuer=settings.issuer, jwks=settings.jwks, token_file=settings.token_file
        )
    rules = [Rule(one.claims, *one.serviceaccount.split("/", 1)) for one in settings.rules]
    return TrustedIssuer(settings.name, settings.issuer, frozenset(settings.audience), keys, rules)
