"""Endpoints as they are delivered to: of the settings, whose files are read, and of the database, which is opened."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from registry.db.projects import EVERYWHERE
from registry.db.webhooks import Webhook
from registry.errors import Unavailable
from registry.services.vault import Vault
from registry.webhook_settings import WebhookSettings
from registry.webhooks import signature
from registry.webhooks.endpoint import Endpoint, Format, Options, Secrets

NOT_OPENED = "its URL and secrets can't be opened: auth.secret is not what it was when they were set"
_LARGEST_SECRET = 8192


@dataclass(frozen=True, slots=True)
class Configured:
    """An endpoint of the settings. `address`: scheme and host of its URL."""

    name: str
    url: str
    address: str
    format: Format
    options: Options
    secrets: Secrets
    private: bool
    ca_file: Path | None

    @property
    def options_json(self) -> str:
        """The options, as the database has them."""
        return written(self.options, self.secrets)


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Says what an endpoint of the database is."""

    vault: Vault
    configured: dict[str, Configured] = field(default_factory=dict)

    def of(self, row: Webhook) -> Endpoint | None:
        """Return an endpoint; None if what is secret of it can't be opened, or it is not in the settings.

        Raises:
            Unavailable: there is no secret to open it with.
        """
        if row.is_file:
            found = self.configured.get(row.name)
            return None if found is None else _of_settings(row.id, found)
        if row.project_id != EVERYWHERE and not row.project:  # its project has gone, and "" would be all of them
            return None
        opened = None if row.sealed is None else self.vault.open(owner_of(row.project_id, row.name), row.sealed)
        if opened is None:
            return None
        url, secrets = opened
        options = Options.of(json.loads(row.options))
        return Endpoint(row.id, row.name, row.project, url, format_of(row.format), options, secrets)


def owner_of(project_id: int, name: str) -> str:
    """Return whom secrets are sealed for."""
    return f"webhook {project_id} {name}"


def address_of(url: str) -> str:
    """Return scheme and host of a URL: the rest of it is often a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def written(options: Options, secrets: Secrets) -> str:
    """Return options as the database has them, with what may be seen of the secrets."""
    authorization = "bearer" if secrets.bearer else "basic" if secrets.basic else None
    seen = {"signed": bool(secrets.secret), "headers": sorted(secrets.headers), "authorization": authorization}
    return json.dumps({**options.as_json(), **seen}, sort_keys=True, separators=(",", ":"))


def format_of(text: str) -> Format:
    """Return a format by its name, which was checked when it was set."""
    known: dict[str, Format] = {"distribution": "distribution", "cloudevents": "cloudevents", "slack": "slack"}
    return known[text]


def configured(webhooks: Sequence[WebhookSettings]) -> dict[str, Configured]:
    """Return the endpoints of the settings by their names. Reads the files that hold their secrets.

    Raises:
        Unavailable: a file can't be read, or has no secret in it.
    """
    return {one.name: _configured(one) for one in webhooks}


def _configured(one: WebhookSettings) -> Configured:
    def said(key: str, value: SecretStr | None, file: Path | None) -> str:
        if file is not None:
            return _read(f"webhooks: {one.name}: {key}_file", file)
        return "" if value is None else value.get_secret_value()

    basic = one.basic
    password = "" if basic is None else said("basic.password", basic.password, basic.password_file)
    secrets = Secrets(
        secret=said("secret", one.secret, one.secret_file),
        headers={name: value.get_secret_value() for name, value in one.headers.items()},
        bearer=said("bearer", one.bearer, one.bearer_file),
        basic="" if basic is None else f"{basic.user}:{password}",
    )
    try:
        if secrets.secret:
            signature.key_of(secrets.secret)
    except signature.SecretInvalid as error:
        raise Unavailable(f"webhooks: {one.name}: {_key('secret', one.secret_file)}: {error}") from None
    if not secrets.bearer.isprintable() or not secrets.bearer.isascii():
        raise Unavailable(f"webhooks: {one.name}: {_key('bearer', one.bearer_file)}: expected printable ASCII")
    if one.ca is not None:
        _read(f"webhooks: {one.name}: ca", one.ca, largest=2**20)
    options = Options(
        mode=one.mode,
        events=one.events,
        repositories=one.repositories,
        tags=one.tags,
        media_types=one.media_types,
        blobs=one.blobs,
        timeout=one.timeout,
        concurrency=one.concurrency,
        max_attempts=one.max_attempts,
        give_up=one.give_up,
        backoff=one.backoff,
        backoff_cap=one.backoff_cap,
    )
    url = one.url.get_secret_value()
    return Configured(one.name, url, address_of(url), one.format, options, secrets, one.allow_private, one.ca)


def _key(name: str, file: Path | None) -> str:
    return name if file is None else f"{name}_file"


def _of_settings(webhook_id: int, one: Configured) -> Endpoint:
    return Endpoint(
        webhook_id,
        one.name,
        "",
        one.url,
        one.format,
        one.options,
        one.secrets,
        private=one.private,
        ca_file=one.ca_file,
        is_file=True,
    )


def _read(key: str, file: Path, *, largest: int = _LARGEST_SECRET) -> str:
    try:
        content = file.read_bytes()[: largest + 1].decode("utf-8").strip()
    except OSError as error:
        raise Unavailable(f"{key}: {file} can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Unavailable(f"{key}: {file} is no text") from None
    if (
        not content
        or len(content) > largest
        or not all(letter.isprintable() or letter in "\r\n\t" for letter in content)
    ):
        raise Unavailable(f"{key}: {file} is empty, too large or no text")
    return content
