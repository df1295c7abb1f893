"""The section `auth`: who asks, and who may do what. Part of `registry.settings`, which reads it."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from registry.outside_settings import LdapSettings, OidcSettings, TokenServerSettings, TrustSettings
from registry.setting_types import Duration, Section

_SHORTEST_SECRET = 32


def _names(value: object) -> object:
    if isinstance(value, str):
        return tuple(name.strip() for name in value.split(",") if name.strip())
    return value


Names = Annotated[tuple[str, ...], BeforeValidator(_names), NoDecode]
"""A list of names, or one string of them with commas between."""


class TokenSettings(TokenServerSettings):
    """`auth.token`: the tokens that clients get for their password and show instead of it."""

    issuer: str = Field("stowage", min_length=1, description="Who the tokens say made them.")
    service: str = Field(
        "stowage", min_length=1, description="Whom the tokens are for: what the challenge calls this registry."
    )
    lifetime: Duration = Field(300, ge=60, le=86400, description="How long a token is good for.")
    refresh: Duration = Field(
        90 * 86400,
        description="How long a refresh token is good for, which clients like docker keep instead of the password.",
    )
    rotation: Duration = Field(30 * 86400, ge=3600, description="How long a key signs before the next one does.")


class LoginSettings(Section):
    """`auth.logins`: how often a password may be guessed."""

    attempts: int = Field(
        10,
        ge=1,
        le=1000,
        description="Failed logins of one account from one address before it has to wait, longer with each further "
        "one. Ten times as many of one account from anywhere, and from one address, make those wait.",
    )
    window: Duration = Field(
        900, le=86400, description="How long failed logins count, and the longest that anybody has to wait."
    )


class RateSettings(Section):
    """`auth.rates`: how much one may ask for."""

    principal: int = Field(
        0,
        ge=0,
        description="Most requests a minute that a worker answers to one user or service account; 0 sets no bound.",
    )
    address: int = Field(
        0, ge=0, description="Most requests a minute that a worker answers to one address; 0 sets no bound."
    )


class AuthSettings(Section):
    """`auth`: who may do what."""

    mode: Literal["open", "users"] = Field(
        "open",
        description="open: whoever reaches the server may push, pull and delete; it stays on loopback. users: people "
        "and service accounts log in, and do what was granted to them.",
    )
    create_projects: Literal["deny", "admins", "users"] = Field(
        "deny",
        description="Whose push to a project that is not there makes it, with registry-admin for them: nobody's; "
        "system admins'; every user's. Service accounts make none.",
    )
    htpasswd: Path | None = Field(
        None, description="File of further users and their passwords (bcrypt); read again when it changes."
    )
    admins: Names = Field((), description="Names of users who may do everything, beside those that were made so.")
    secret: SecretStr | None = Field(
        None,
        description="What seals the keys that sign tokens, at least 32 characters; all replicas have the same. With "
        "SQLite it is made at the first start, in a file beside the database, when not given.",
    )
    token: TokenSettings = TokenSettings()
    ldap: LdapSettings = LdapSettings()
    oidc: OidcSettings = OidcSettings()
    trust: tuple[TrustSettings, ...] = Field(
        (),
        description="Issuers whose tokens are taken as passwords of service accounts, by rules; see "
        "[Identity](identity.md).",
    )
    logins: LoginSettings = LoginSettings()
    rates: RateSettings = RateSettings()

    @field_validator("secret")
    @classmethod
    def _is_long(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < _SHORTEST_SECRET:
            raise ValueError(f"expected at least {_SHORTEST_SECRET} characters")
        return value

    def problem(self, public_url: str | None) -> str | None:
        """Return what does not go together, as an error of the settings says it; None if all does."""
        others = {"ldap": self.ldap.urls, "oidc": self.oidc.issuer, "trust": self.trust}
        used = [f"auth.{name}" for name, value in others.items() if value]
        server = self.token.realm is not None
        if self.mode == "open" and (used or server):
            return f"auth.mode: expected users beside {', '.join(used) or 'auth.token.realm'}"
        if server and (used or self.htpasswd is not None):
            return (
                "auth.token.realm: that token server decides alone: expected nothing of "
                f"{', '.join(used) or 'auth.htpasswd'} beside it"
            )
        if self.oidc.issuer is not None and public_url is None:
            return "http.public_url: is missing: the provider in auth.oidc sends people back there"
        return None
