"""Identities that others vouch for, as the settings have them: built in one place, each only where it is configured.

What they are made of takes long to import (ldap3, httpx, PyJWT, cryptography), so each part is imported by its name
when the settings ask for it, and not before.
"""

import asyncio
import importlib
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from auth.errors import TokenInvalid
from auth.sources import PasswordSource
from registry.db.connection import Database
from registry.errors import Unavailable
from registry.services.arrivals import Arrivals
from registry.services.audit import Auditor
from registry.services.credentials import Credentials
from registry.settings import Settings

if TYPE_CHECKING:
    from auth.directory import LdapSource
    from auth.outside import OutsideTokens
    from auth.trust import Trust
    from registry.http.rates import Rates
    from registry.http.sign_in import SignIn

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Outside:
    """What vouches for identities beside the database.

    Attributes:
        directory: asked for passwords after all other sources.
        trust: verifies tokens that are shown as passwords, and says which service account each is.
        token_server: verifies tokens of a server that is trusted instead of ours.
        sign_in: pages for people who log in by browser.
    """

    directory: "LdapSource | None"
    trust: "Trust | None"
    token_server: "OutsideTokens | None"
    sign_in: "SignIn | None"

    async def problems(self) -> list[str]:
        """Ask each of them whether it can be asked, and return what is wrong."""
        openid = None if self.sign_in is None else self.sign_in.openid
        parts = {"ldap": self.directory, "trust": self.trust, "token": self.token_server, "oidc": openid}
        asked = {f"auth.{name}": part.probe() for name, part in parts.items() if part is not None}
        answers = await asyncio.gather(*asked.values())
        return [f"{name}: {text}" for name, found in zip(asked, answers, strict=True) for text in found]

    async def close(self) -> None:
        """Ask nobody any more."""
        if self.directory is not None:
            self.directory.close()
        if self.sign_in is not None:
            await self.sign_in.openid.close()


def build_outside(
    settings: Settings,
    database: Database,
    secret: bytes,
    auditor: Auditor,
    *,
    rates: "Rates | None" = None,
    sources: Sequence[PasswordSource] = (),
) -> Outside:
    """Return what the settings ask for.

    Args:
        secret: what replicas have in common.
        auditor: told of logins by browser.
        rates: how often somebody may begin one.
        sources: whose names nobody gets who comes that way.

    Raises:
        Unavailable: a file that they name can't be used.
    """
    auth = settings.auth
    for name, ca in (("ldap", auth.ldap.ca), ("oidc", auth.oidc.ca), ("token", auth.token.ca)):
        _check_ca(f"auth.{name}.ca", ca)
    for one in auth.trust:
        _check_ca(f"auth.trust: {one.name}: ca", one.ca)
    directory = trust = token_server = sign_in = None
    if auth.ldap.urls:
        directory = _part("registry.services.directories").build_source(auth.ldap)
    if auth.trust:
        trust = _usable("auth.trust", lambda: _part("registry.services.issuers").build_trust(auth.trust))
    if auth.token.realm is not None:
        build = _part("registry.services.issuers").build_token_server
        token_server = _usable("auth.token", lambda: build(auth.token))
    if auth.oidc.issuer is not None:
        public_url = settings.http.public_url or ""  # which is there, by the settings
        sign_in = _part("registry.http.sign_in").build_sign_in(
            auth.oidc, public_url, secret, Arrivals(database, sources), Credentials(database), auditor, rates
        )
    return Outside(directory, trust, token_server, sign_in)


def _part(name: str) -> Any:
    """Import a module by its name. The one place: see above."""
    return importlib.import_module(name)


def _usable(name: str, build: Callable[[], T]) -> T:
    try:
        return build()
    except OSError as error:
        raise Unavailable(f"{name}: {error.filename} can't be read: {error.strerror}") from None
    except TokenInvalid as error:
        raise Unavailable(f"{name}: a file of keys can't be used: {error}") from None


def _check_ca(name: str, ca: Path | None) -> None:
    if ca is None:
        return
    try:
        ssl.create_default_context(cafile=str(ca))
    except OSError as error:
        raise Unavailable(f"{name}: {ca} can't be used: {error.strerror or error}") from None
