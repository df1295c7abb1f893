"""Every setting: name, default, what it means. The one place that reads the environment.

A value is looked for on the command line, in the environment (`STOWAGE_<SECTION>__<KEY>`), in the YAML file and in
the defaults below, in this order. `docs/configure.md` lists them all; a test holds the two together.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from registry.backup_settings import BackupSettings
from registry.database_settings import DatabaseSettings
from registry.retention_settings import CollectionSettings, HistorySettings, ScrubSettings
from registry.setting_types import Duration, Networks, Section, Size, masked
from registry.storage_settings import StorageSettings
from registry.watching_settings import LogSettings, MetricsSettings, OperationsSettings, TracingSettings

ENVIRONMENT_PREFIX = "STOWAGE_"


class SettingsError(Exception):
    """The configuration can't be used. The message names each key, where its value came from and what was expected."""


class TlsSettings(Section):
    """`http.tls`: TLS served by Stowage itself. PEM files."""

    certificate: Path | None = Field(None, description="The certificate and its chain; turns TLS on.")
    key: Path | None = Field(None, description="Its private key, when that is not in `certificate`.")
    client_ca: Path | None = Field(None, description="Only clients with a certificate signed by one of these get in.")


class LimitSettings(Section):
    """`http.limits`: what connections may cost. `registry.http.limits` holds them as the protocol takes them."""

    connections: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="Open connections a worker. Beyond them the one that waited longest for a request is closed; if "
        "none waits, the new one gets 503.",
    )
    headers: int = Field(100, ge=10, le=10_000, description="Most headers of a request; more is 431.")
    head_size: Size = Field(
        64 * 1024,
        ge=8 * 1024,
        le=1024**2,
        description="Most bytes of a request's line and headers, trailers included; more is 431.",
    )
    ignored_body: Size = Field(
        64 * 1024,
        le=1024**3,
        description="Most bytes of a body sent with GET, HEAD, DELETE or OPTIONS, which nothing reads; more is 413.",
    )
    idle: Duration = Field(
        75, description="From a connection's start, or an answer, to the end of the next request's head."
    )
    stall: Duration = Field(
        60,
        description="A request's body that doesn't come on for so long is answered with 408, an answer that isn't "
        "taken is cut off. Less than 4 KiB in this time counts as nothing; a whole transfer may take as long as it "
        "likes.",
    )


class HttpSettings(Section):
    """`http`: where the server listens and how it is reached."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(5000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    workers: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="Processes that answer requests; one for each CPU core that affinity and cgroup grant when not "
        "given.",
    )
    public_url: str | None = Field(
        None,
        description="How clients reach the server, e.g. https://registry.example.org. Locations become absolute with "
        "it; without it they are relative, which every client understands.",
    )
    trusted_proxies: Networks = Field(
        (),
        description="Addresses and networks of the proxies whose `Forwarded` and `X-Forwarded-For`, `-Proto` and "
        "`-Host` are believed.",
    )
    limits: LimitSettings = LimitSettings()
    tls: TlsSettings = TlsSettings()

    @field_validator("public_url")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.netloc or parts.path.strip("/") or parts.query:
            raise ValueError("expected http:// or https://, a host and nothing after it")
        return value.rstrip("/")


class AuthSettings(Section):
    """`auth`: who may do what."""

    mode: Literal["open"] = Field(
        "open", description="open: whoever reaches the server may push, pull and delete; it stays on loopback."
    )


class NameSettings(Section):
    """`names`: what may be called how. What has a longer name already can still be pulled and deleted."""

    max_repository_length: int = Field(255, ge=1, le=255, description="Longest name of a repository that is pushed to.")
    max_tag_length: int = Field(128, ge=1, le=128, description="Longest tag that is pushed.")


class ManifestSettings(Section):
    """`manifests`: what a pushed manifest may be."""

    sparse: Literal["deny", "index", "allow"] = Field(
        "deny",
        description="Whether a manifest may refer to content that is not in the repository: never; children of an "
        "index; anything.",
    )
    max_size: Size = Field(4 * 1024**2, ge=1024, le=64 * 1024**2, description="Largest manifest accepted.")
    max_tags: int = Field(100, ge=1, le=1000, description="Most `tag` parameters in one push by digest.")


class UploadSettings(Section):
    """`uploads`: unfinished blobs."""

    expire: Duration = Field(7 * 86400, description="An upload session nobody wrote to for so long is removed.")
    max_sessions: int = Field(
        1000, ge=1, le=1_000_000, description="Open upload sessions of one repository; one more is 429."
    )
    chunk_min_length: Size = Field(
        0, description="Advertised as OCI-Chunk-Min-Length, so that clients send larger chunks; 0 asks for nothing."
    )


class ListingSettings(Section):
    """`listings`: tags, catalog and referrers."""

    max_page: int = Field(10_000, ge=1, le=100_000, description="Most entries in one answer; the rest is linked to.")


class EventSettings(Section):
    """`events`: the record of changes that notifications are made from."""

    keep: Duration = Field(7 * 86400, description="How long a recorded event is kept.")


class Settings(BaseSettings):
    """The whole configuration, frozen. Built by `load_settings`, passed as argument, never global."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=ENVIRONMENT_PREFIX, env_nested_delimiter="__"
    )

    data: Path = Field(Path("data"), description="Folder of the database and the blobs, unless those say otherwise.")
    http: HttpSettings = HttpSettings()
    storage: StorageSettings = StorageSettings()
    database: DatabaseSettings = DatabaseSettings()
    auth: AuthSettings = AuthSettings()
    names: NameSettings = NameSettings()
    manifests: ManifestSettings = ManifestSettings()
    uploads: UploadSettings = UploadSettings()
    listings: ListingSettings = ListingSettings()
    events: EventSettings = EventSettings()
    collection: CollectionSettings = CollectionSettings()
    history: HistorySettings = HistorySettings()
    scrub: ScrubSettings = ScrubSettings()
    backup: BackupSettings = BackupSettings()
    logs: LogSettings = LogSettings()
    metrics: MetricsSettings = MetricsSettings()
    operations: OperationsSettings = OperationsSettings()
    tracing: TracingSettings = TracingSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take values only as given: `load_settings` has merged every source before."""
        return (init_settings,)

    @property
    def filesystem_root(self) -> Path:
        """Folder of the blobs."""
        return self.storage.filesystem.root or self.data / "storage"

    @property
    def sqlite_path(self) -> Path:
        """File of the SQLite database, if that is what keeps the facts."""
        if self.database.url is None:
            return self.data / "stowage.sqlite3"
        return Path(self.database.url.removeprefix("sqlite:///"))


def load_settings(file: Path | None = None, command_line: Mapping[str, Any] | None = None) -> Settings:
    """Merge command line, environment, file and defaults.

    Args:
        file: the YAML file, or None.
        command_line: nested like the file; leaves that are None count as not given.

    Raises:
        SettingsError: an unreadable file, an unknown key, a wrong value.
    """
    return merged(read_layers(file, command_line))


@dataclass(frozen=True, slots=True)
class Layers:
    """What each source says, nested like the file. `path`: the file, if there is one."""

    command_line: Mapping[str, Any]
    environment: Mapping[str, Any]
    file: Mapping[str, Any]
    path: Path | None

    @staticmethod
    def holds(layer: Any, path: Sequence[str]) -> bool:
        """Say whether a source has a value at `path`."""
        for part in path:
            if not isinstance(layer, Mapping) or part not in layer:
                return False
            layer = layer[part]
        return True


def read_layers(file: Path | None, command_line: Mapping[str, Any] | None) -> Layers:
    """Read every source; the file is what STOWAGE_CONFIG names if none is given.

    Raises:
        SettingsError: an unreadable file, an unknown section in the environment.
    """
    environment = _environment()
    if file is None and (named := os.environ.get(f"{ENVIRONMENT_PREFIX}CONFIG")):
        file = Path(named)
    return Layers(_without_none(command_line or {}), environment, {} if file is None else _read_file(file), file)


def merged(layers: Layers) -> Settings:
    """Return the settings that the sources make together. Raises SettingsError: an unknown key, a wrong value."""
    values = _merge(_merge(layers.file, layers.environment), layers.command_line)
    try:
        return Settings(**values)
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(problem, layers) for problem in error.errors())) from None


def admin_password_given() -> bool:
    """Say whether STOWAGE_ADMIN_PASSWORD is set. Nothing reads it while there are no users, and the server says so."""
    return bool(os.environ.get(f"{ENVIRONMENT_PREFIX}ADMIN_PASSWORD"))


SOURCE_LOGIN = f"{ENVIRONMENT_PREFIX}FROM_LOGIN"


def source_login() -> tuple[str, str] | None:
    """Return name and password for a registry that a command reads from, if STOWAGE_FROM_LOGIN has NAME:PASSWORD.

    Raises:
        SettingsError: it has something else.
    """
    given = os.environ.get(SOURCE_LOGIN, "")
    name, separator, password = given.partition(":")
    if given and not (name and separator):
        raise SettingsError(f"{SOURCE_LOGIN}: expected NAME:PASSWORD")
    return (name, password) if given else None


FIXED = ("data", "http.host", "http.port", "http.workers", "storage", "database", "operations")
"""What can't change while the server runs: its processes share it, or the supervisor holds it."""


def with_fixed(settings: Settings, started: Settings) -> tuple[Settings, list[str]]:
    """Return `settings` with what is FIXED as the server was started with, and the names of those that differ."""
    differ: list[str] = []
    kept: dict[str, Any] = {}
    kept_http: dict[str, Any] = {}
    for name in FIXED:
        section, _, key = name.rpartition(".")
        now, before = (getattr(one.http if section else one, key) for one in (settings, started))
        if now != before:
            differ.append(name)
        (kept_http if section else kept)[key] = before
    http = settings.http.model_copy(update=kept_http)
    return settings.model_copy(update={**kept, "http": http}), differ


def _read_file(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{file}: can't be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file}: not YAML: {_where(error)}") from None
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise SettingsError(f"{file}: expected sections like `http:` with keys below them")
    return content


def _environment() -> dict[str, Any]:
    for name in os.environ:
        section = name.removeprefix(ENVIRONMENT_PREFIX).split("__")[0].lower()
        if name.startswith(ENVIRONMENT_PREFIX) and "__" in name and section not in Settings.model_fields:
            raise SettingsError(f"{name}: there is no section {section!r}: expected one of {_names(Settings)}")
    values: dict[str, Any] = EnvSettingsSource(Settings)()
    return values


def _explain(problem: Any, layers: Layers) -> str:
    path = [str(part) for part in problem["loc"]]
    if layers.holds(layers.command_line, path):
        source = "the command line"
    elif layers.holds(layers.environment, path):
        source = f"the environment, {ENVIRONMENT_PREFIX}{'__'.join(path).upper()}"
    else:
        source = str(layers.path) if layers.holds(layers.file, path) else "the configuration"
    if problem["type"] == "extra_forbidden":
        return f"{'.'.join(path)}: there is no such setting (in {source}): expected one of {_siblings(path)}"
    expected = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    expected = expected if expected.startswith("expected") else f"expected {expected}"
    if problem["type"] == "value_error" and isinstance(problem["input"], Mapping):
        return f"{'.'.join(path)}: {expected} (in {source})"  # a section as a whole, with all that is in it
    return f"{'.'.join(path)}: {expected}, got {_harmless(problem['input'], path)} (in {source})"


def _where(error: Exception) -> str:
    """Say what is no YAML without quoting the line: there may be a secret in it."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return type(error).__name__
    return f"line {mark.line + 1}, column {mark.column + 1}: {getattr(error, 'problem', None) or 'it makes no sense'}"


def _harmless(value: Any, path: Sequence[str]) -> str:
    """Return a wrong value as text, or no more than its type where it is, or holds, a secret."""
    if isinstance(value, Mapping | list) or _is_secret(path):
        return f"a {type(value).__name__}"
    return masked(repr(value))


def _is_secret(path: Sequence[str]) -> bool:
    model: Any = Settings
    for part in path:
        if not (isinstance(model, type) and issubclass(model, BaseModel)) or part not in model.model_fields:
            return True  # inside of a value that says nothing of itself
        model = model.model_fields[part].annotation
    return "SecretStr" in str(model)


def _siblings(path: list[str]) -> str:
    model: type[BaseModel] = Settings
    for part in path[:-1]:
        annotation = model.model_fields[part].annotation
        assert isinstance(annotation, type)  # noqa: S101 - sections are classes, above
        model = annotation
    return _names(model)


def _names(model: type[BaseModel]) -> str:
    return ", ".join(model.model_fields)


def _without_none(layer: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, Mapping) else value
        for key, value in layer.items()
        if value is not None
    }


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        beneath = merged.get(key)
        merged[key] = _merge(beneath, value) if isinstance(beneath, Mapping) and isinstance(value, Mapping) else value
    return merged
