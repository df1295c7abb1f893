"""The parts of the section `auth` that say who else is believed: directories, identity providers, issuers."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode

from registry.setting_types import Duration, Section

_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
_ACCOUNT = re.compile(r"[a-z0-9._-]+/[a-z0-9._-]+")
_ANYTHING = {"", "*", "**"}


def _list(value: object) -> object:
    return tuple(one for one in re.split(r"[,\s]+", value) if one) if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], BeforeValidator(_list), NoDecode]
"""A list, or one string with commas or spaces between."""


class LdapSettings(Section):
    """`auth.ldap`: people in a directory. How they are found is said in `docs/identity.md`."""

    urls: Words = Field(
        (),
        description="Where the directory is: ldaps://HOST or ldap://HOST, with a port where need be; several are tried "
        "in this order. No directory is asked without.",
    )
    start_tls: bool = Field(False, description="Whether ldap:// goes over to TLS before anything is said.")
    plain: bool = Field(
        False, description="Whether passwords may go over the network in ldap:// without TLS, readable to others."
    )
    ca: Path | None = Field(None, description="PEM file with whom to trust; the system's own when not given.")
    bind_dn: str | None = Field(
        None, description="Who looks for people; nobody in particular (anonymous) when not given."
    )
    bind_password: SecretStr | None = Field(None, description="The password of `bind_dn`.")
    user_dn: str | None = Field(
        None,
        description="A person's entry, e.g. uid={name},ou=people,dc=example,dc=org, where nobody needs to look for it.",
    )
    user_base: str | None = Field(None, description="Below what people are looked for; either this or `user_dn`.")
    user_filter: str = Field("(uid={name})", description="Which entry is somebody's.")
    name_attribute: str = Field(
        "uid", min_length=1, description="What of an entry is the name here; sAMAccountName in Active Directory."
    )
    subject_attribute: str = Field(
        "entryUUID",
        description="What of an entry stays when the name changes; objectGUID in Active Directory. The DN where there "
        "is none.",
    )
    group_base: str | None = Field(None, description="Below what groups are looked for; none are when not given.")
    group_filter: str = Field("(member={dn})", description="Which groups somebody is in, by `{dn}` or `{name}`.")
    group_name_attribute: str = Field("cn", min_length=1, description="What of a group is its name here.")
    member_of: str | None = Field(
        None,
        description="The attribute of a person that lists groups by DN, memberOf where there is one; the DN's first "
        "part is the name here.",
    )
    timeout: Duration = Field(5, le=60, description="Longest wait for a connection, and for each answer.")

    @field_validator("urls")
    @classmethod
    def _are_urls(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for url in value:
            parts = _parts(url)
            if parts.scheme not in {"ldap", "ldaps"} or not parts.hostname or parts.path.strip("/") or parts.username:
                raise ValueError("expected ldaps://HOST or ldap://HOST and nothing after it but a port")
        return value

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if not self.urls:
            return self
        if bool(self.user_dn) == bool(self.user_base):
            raise ValueError("expected either user_dn or user_base beside urls")
        if "{name}" not in (self.user_dn or self.user_filter):
            raise ValueError("expected {name} in user_dn, or in user_filter: else everybody is the same one")
        for found in (self.user_filter, self.group_filter):
            if not (found.startswith("(") and found.endswith(")")) or found.count("(") != found.count(")"):
                raise ValueError("expected user_filter and group_filter in parentheses, e.g. (uid={name})")
        if self.bind_dn and not (self.bind_password and self.bind_password.get_secret_value()):
            raise ValueError("expected bind_password beside bind_dn")
        for url in self.urls:
            parts = _parts(url)
            if parts.scheme == "ldap" and not (self.start_tls or self.plain or parts.hostname in _LOOPBACK):
                raise ValueError(f"expected ldaps://, start_tls or plain: {url} would carry passwords readable to all")
        return self


class OidcSettings(Section):
    """`auth.oidc`: people of an identity provider, by OpenID Connect."""

    issuer: str | None = Field(
        None,
        description="The provider, e.g. https://login.example.org/realms/main: what its discovery document calls it. "
        "Nobody logs in by browser without.",
    )
    client_id: str = Field("stowage", min_length=1, description="What the provider calls this registry.")
    client_secret: SecretStr | None = Field(None, description="The secret that belongs to it, if it has one.")
    scopes: str = Field(
        "openid profile",
        description="What the provider is asked for; email or groups too, where claims come with these alone.",
    )
    name_claim: str = Field(
        "preferred_username", min_length=1, description="What of somebody's claims is the name here."
    )
    groups_claim: str = Field("groups", min_length=1, description="Which of them lists the groups.")
    session: Duration = Field(
        43200, ge=60, le=86400, description="How long the token is good for that people get in their browser."
    )
    ca: Path | None = Field(None, description="PEM file with whom to trust; the system's own when not given.")
    allow_private: bool = Field(
        False, description="Whether the provider may be at a private address, and in plain http://."
    )

    @field_validator("scopes")
    @classmethod
    def _is_openid(cls, value: str) -> str:
        if "openid" not in value.split():
            raise ValueError("expected openid among them")
        return value

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        _check_url("issuer", self.issuer, plain=self.allow_private)
        return self


class TrustRule(Section):
    """A rule of `auth.trust`: whose claims are all as said is that service account."""

    claims: dict[str, Any] = Field(min_length=1)
    serviceaccount: str

    @field_validator("claims")
    @classmethod
    def _tell_somebody(cls, value: dict[str, Any]) -> dict[str, Any]:
        if not any(_tells(one) for one in value.values()):
            raise ValueError("expected a claim that not everybody's token has: with these, everybody is let in")
        _check_claims(value)
        return value

    @field_validator("serviceaccount")
    @classmethod
    def _is_account(cls, value: str) -> str:
        if _ACCOUNT.fullmatch(value) is None:
            raise ValueError("expected PROJECT/NAME")
        return value


class TrustSettings(Section):
    """One of `auth.trust`: an issuer whose tokens are taken as passwords of service accounts."""

    name: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    issuer: str = Field(min_length=1)
    audience: Words
    jwks: str | None = None
    keys_file: Path | None = None
    token_file: Path | None = None
    ca: Path | None = None
    allow_private: bool = False
    rules: tuple[TrustRule, ...]

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if not self.rules or not self.audience:
            raise ValueError("expected at least one rule, and one audience")
        if self.jwks is not None and self.keys_file is not None:
            raise ValueError("expected jwks or keys_file, not both")
        _check_url("jwks", self.jwks, plain=self.allow_private)
        if self.jwks is None and self.keys_file is None:
            _check_url("issuer", self.issuer, plain=self.allow_private)
        return self


class TokenServerSettings(Section):
    """The part of `auth.token` that names an outside token server, as CNCF distribution's `auth.token` does."""

    realm: str | None = Field(
        None,
        description="The URL of an outside token server that is trusted instead of this one's own: its tokens' "
        "`access` decides alone. It needs `issuer`, `service`, and `rootcertbundle` or `jwks`.",
    )
    rootcertbundle: Path | None = Field(
        None, description="PEM file of the certificates that its keys have, or that sign those."
    )
    jwks: str | None = Field(None, description="File or URL of its key set.")
    ca: Path | None = Field(None, description="PEM file with whom to trust when `jwks` is a URL.")
    allow_private: bool = Field(
        False, description="Whether that URL may lead to a private address, and be plain http://."
    )

    @model_validator(mode="after")
    def _names_keys(self) -> Self:
        if self.realm is None:
            if self.rootcertbundle or self.jwks:
                raise ValueError("expected realm beside rootcertbundle and jwks")
            return self
        _check_url("realm", self.realm, plain=True)
        if not self.rootcertbundle and not self.jwks:
            raise ValueError("expected rootcertbundle or jwks beside realm")
        if self.jwks_url is not None:
            _check_url("jwks", self.jwks_url, plain=self.allow_private)
        return self

    @property
    def jwks_url(self) -> str | None:
        """The URL of the key set, if it is not in a file."""
        return self.jwks if self.jwks is not None and "://" in self.jwks else None


def _tells(wanted: object) -> bool:
    if isinstance(wanted, Mapping):
        return any(_tells(one) for one in wanted.values())
    return not (isinstance(wanted, str) and wanted in _ANYTHING)


def _check_claims(claims: Mapping[str, object]) -> None:
    for wanted in claims.values():
        if isinstance(wanted, Mapping):
            _check_claims(wanted)
        elif not isinstance(wanted, str | bool | int):
            raise ValueError("expected a text or pattern, true or false, a number, or claims within it")


def _check_url(name: str, url: str | None, *, plain: bool) -> None:
    if url is None:
        return
    parts = _parts(url)
    schemes = {"https", "http"} if plain else {"https"}
    if parts.scheme not in schemes or not parts.hostname or parts.username or parts.fragment or not url.isprintable():
        hint = "" if plain else "; http:// takes allow_private"
        raise ValueError(f"expected {name} to be https:// and a host{hint}")


def _parts(url: str) -> Any:
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")
