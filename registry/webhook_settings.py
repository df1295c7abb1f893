"""Settings of webhooks: endpoints that the operator names, and what holds for all of them."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from registry.setting_types import Duration, Networks, Section

Action = Literal[
    "push", "pull", "mount", "delete", "tag", "untag", "create", "quota", "quarantine", "recover", "undelete", "purge"
]
"""`registry.event.ACTIONS`; a test compares them."""
DEFAULT: tuple[Action, ...] = (
    "push",
    "delete",
    "tag",
    "untag",
    "create",
    "quota",
    "quarantine",
    "recover",
    "undelete",
    "purge",
)
"""`registry.webhooks.endpoint.DEFAULT_EVENTS`; a test compares them."""

_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_OURS = re.compile(
    r"(?i)host|content-length|content-type|connection|transfer-encoding|user-agent|webhook-.*|ce-.*|authorization"
)
_SECRET = re.compile(r"whsec_[A-Za-z0-9+/]+={0,2}")
_Pattern = Annotated[str, Field(min_length=1, max_length=300)]


class BasicSettings(Section):
    """`webhooks[].basic`: a name and a password."""

    user: str = Field(min_length=1)
    password: SecretStr | None = None
    password_file: Path | None = None

    @model_validator(mode="after")
    def _has_password(self) -> Self:
        if (self.password is None) == (self.password_file is None):
            raise ValueError("expected either password or password_file")
        return self


class WebhookSettings(Section):
    """One of `webhooks`: an endpoint. Its keys are explained in `docs/webhooks.md`."""

    name: str = Field(pattern=r"^[a-z0-9]+(?:[._-][a-z0-9]+)*$", max_length=100)
    url: SecretStr = Field(max_length=2000)  # its path often is one
    format: Literal["distribution", "cloudevents", "slack"] = "distribution"
    mode: Literal["structured", "binary"] = "structured"
    events: tuple[Action, ...] = Field(DEFAULT, min_length=1)
    repositories: tuple[_Pattern, ...] = ()
    tags: tuple[_Pattern, ...] = ()
    media_types: tuple[_Pattern, ...] = ()
    blobs: bool = False
    secret: SecretStr | None = None
    secret_file: Path | None = None
    headers: Mapping[str, SecretStr] = Field(default_factory=dict, max_length=50)
    bearer: SecretStr | None = None
    bearer_file: Path | None = None
    basic: BasicSettings | None = None
    ca: Path | None = None
    allow_private: bool = False
    timeout: Duration = Field(10, le=60)
    concurrency: int = Field(4, ge=1, le=64)
    max_attempts: int = Field(20, ge=0, le=1000)
    give_up: Duration = Field(3 * 86400, le=30 * 86400)
    backoff: Duration = Field(1, le=86400)
    backoff_cap: Duration = Field(600, le=86400)

    @field_validator("url")
    @classmethod
    def _is_url(cls, value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise ValueError("expected https:// and a host") from None
        if parts.scheme not in {"https", "http"} or not parts.hostname or parts.fragment or port == 0:
            raise ValueError("expected https:// and a host, and no fragment")
        if parts.username is not None or not url.isascii() or not url.isprintable() or " " in url:
            raise ValueError("expected a URL without a user: say it as `basic`, and encode what is not ASCII")
        return value

    @field_validator("secret")
    @classmethod
    def _is_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            text = value.get_secret_value()
            if not text or (text.startswith("whsec_") and _SECRET.fullmatch(text) is None):
                raise ValueError("expected whsec_ and base64, or another text")
        return value

    @field_validator("headers")
    @classmethod
    def _are_headers(cls, value: Mapping[str, SecretStr]) -> Mapping[str, SecretStr]:
        for name, content in value.items():
            if (wrong := header_problem(name, content.get_secret_value())) is not None:
                raise ValueError(wrong)
        return value

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if urlsplit(self.url.get_secret_value()).scheme == "http" and not self.allow_private:
            raise ValueError("expected url to be https://; http:// takes allow_private")
        if self.secret is not None and self.secret_file is not None:
            raise ValueError("expected secret or secret_file, not both")
        if sum(one is not None for one in (self.bearer, self.bearer_file, self.basic)) > 1:
            raise ValueError("expected one of bearer, bearer_file and basic")
        if self.backoff > self.backoff_cap:
            raise ValueError("expected backoff to be at most backoff_cap")
        return self


class DeliverySettings(Section):
    """`delivery`: what holds for all webhooks."""

    networks: Networks = Field(
        (),
        description="Networks within which webhooks of the database may be, whatever kind of address that is, and in "
        "plain http:// too. Others reach addresses of the internet alone, by https://.",
    )
    keep: Duration = Field(86400, description="How long it is shown what was delivered.")
    keep_failed: Duration = Field(30 * 86400, description="How long it is shown what was given up.")
    most: int = Field(50, ge=0, le=10_000, description="Most webhooks of one project; as many of the whole registry.")


def header_problem(name: str, value: str) -> str | None:
    """Return why a header can't be sent with messages; None if it can."""
    if _HEADER.fullmatch(name) is None:
        return f"expected the name of a header, got {name[:100]!r}"
    if _OURS.fullmatch(name):
        return f"{name} is set by the registry, or by secret, bearer and basic"
    if not value.isprintable() or not value.isascii():
        return f"expected printable ASCII as the value of {name}"
    return None


def problem(webhooks: tuple[WebhookSettings, ...]) -> str | None:
    """Return what does not go together, as an error of the settings says it; None if all does."""
    names = [one.name for one in webhooks]
    twice = sorted({name for name in names if names.count(name) > 1})
    return f"webhooks: expected names of their own, but {', '.join(twice)} is there twice" if twice else None
