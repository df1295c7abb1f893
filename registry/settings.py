"""Every setting: name, default, what it means. The one place that reads the environment.

A value is looked for on the command line, in the environment (`STOWAGE_<SECTION>__<KEY>`), in the YAML file and in
the defaults below, in this order. `docs/configure.md` lists them all; a test holds the two together.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin

import yaml
from pydantic import BaseModel, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from registry.audit_settings import AuditSettings
from registry.auth_settings import AuthSettings
from registry.backup_settings import BackupSettings
from registry.database_settings import DatabaseSettings
from registry.http_settings import HttpSettings
from registry.retention_settings import (
    CollectionSettings,
    HistorySettings,
    QuotaSettings,
    RetentionSettings,
    ScrubSettings,
)
from registry.setting_types import Duration, Section, Size, masked
from registry.storage_settings import StorageSettings
from registry.watching_settings import LogSettings, MetricsSettings, OperationsSettings, TracingSettings
from registry.webhook_settings import DeliverySettings, WebhookSettings
from registry.webhook_settings import problem as problem_of_webhooks

ENVIRONMENT_PREFIX = "STOWAGE_"


class SettingsError(Exception):
    """The configuration can't be used. The message names each key, where its value came from and what was expected."""


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

    keep: Duration = Field(
        7 * 86400,
        description="How long a recorded event is kept: so long may whoever follows be away. What a webhook that "
        "is not paused has not had stays longer.",
    )
    pulls: bool = Field(False, description="Whether pulls of manifests are events.")
    watchers: int = Field(
        100, ge=0, le=10_000, description="Most clients that follow events on `/api/v1/watch` in one worker."
    )
    watchers_each: int = Field(
        20,
        ge=1,
        le=10_000,
        description="How many of them one principal may be; where nobody logs in, one address.",
    )
    heartbeat: Duration = Field(
        15, ge=1, le=3600, description="Whoever follows events hears something after so long a silence."
    )


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
    webhooks: tuple[WebhookSettings, ...] = Field(
        (), description="Endpoints that are told what happens; see [Webhooks](webhooks.md)."
    )
    delivery: DeliverySettings = DeliverySettings()
    collection: CollectionSettings = CollectionSettings()
    history: HistorySettings = HistorySettings()
    retention: RetentionSettings = RetentionSettings()
    scrub: ScrubSettings = ScrubSettings()
    quotas: QuotaSettings = QuotaSettings()
    audit: AuditSettings = AuditSettings()
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
    def requests_are_audited(self) -> bool:
        """Whether what requests do is recorded in the audit log."""
        return self.auth.mode != "open" if self.audit.enabled is None else self.audit.enabled

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
            if isinstance(layer, list) and part.isdigit() and int(part) < len(layer):
                layer = layer[int(part)]
            elif isinstance(layer, Mapping) and part in layer:
                layer = layer[part]
            else:
                return False
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
        settings = Settings(**values)
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(problem, layers) for problem in error.errors())) from None
    if (problem := settings.auth.problem(settings.http.public_url)) is not None:
        raise SettingsError(problem)
    if (problem := problem_of_webhooks(settings.webhooks)) is not None:
        raise SettingsError(problem)
    makes_tokens = settings.auth.mode == "users" and settings.auth.token.realm is None
    if makes_tokens and settings.database.is_postgresql and settings.auth.secret is None:
        raise SettingsError(
            "auth.secret: expected at least 32 characters, the same for all replicas: auth.mode is users, and the "
            "database is PostgreSQL"
        )
    return settings


def admin_password() -> str:
    """Return STOWAGE_ADMIN_PASSWORD: the first admin's, where the database has no users yet. "" if it is not set."""
    return os.environ.get(f"{ENVIRONMENT_PREFIX}ADMIN_PASSWORD", "")


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


CLIENT_SERVER = f"{ENVIRONMENT_PREFIX}SERVER"
CLIENT_LOGIN = f"{ENVIRONMENT_PREFIX}LOGIN"


class ClientEnvironment(NamedTuple):
    """What the environment tells commands that ask a server: which, who they are there, and where that may stand."""

    server: str
    login: str
    login_files: tuple[Path, ...]


def client_environment() -> ClientEnvironment:
    """Return what commands that ask a server go by; "" for what is not set.

    Logins stand in REGISTRY_AUTH_FILE alone, where that is set, or else where podman and docker keep them
    (containers-auth.json(5)).
    """
    given = os.environ.get
    if alone := given("REGISTRY_AUTH_FILE"):
        files = [Path(alone)]
    else:
        home = Path(os.path.expanduser("~"))
        files = [Path(folder) / "containers/auth.json" for folder in (given("XDG_RUNTIME_DIR"),) if folder]
        files.append(Path(given("XDG_CONFIG_HOME") or home / ".config") / "containers/auth.json")
        files.append(Path(given("DOCKER_CONFIG") or home / ".docker") / "config.json")
    return ClientEnvironment(given(CLIENT_SERVER, ""), given(CLIENT_LOGIN, ""), tuple(files))


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
    given = path[:-1] if problem["type"] == "missing" else path
    if layers.holds(layers.command_line, given):
        source = "the command line"
    elif layers.holds(layers.environment, given):
        source = f"the environment, {ENVIRONMENT_PREFIX}{'__'.join(path).upper()}"
    else:
        source = str(layers.path) if layers.holds(layers.file, given) else "the configuration"
    if problem["type"] == "extra_forbidden":
        return f"{'.'.join(path)}: there is no such setting (in {source}): expected one of {_siblings(path)}"
    if problem["type"] == "missing":
        return f"{'.'.join(path)}: is missing (in {source})"
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
    section = _section_at(path[:-1])
    if section is None or path[-1] not in section.model_fields:
        return True  # inside of a value that says nothing of itself
    return "SecretStr" in str(section.model_fields[path[-1]].annotation)


def _siblings(path: list[str]) -> str:
    section = _section_at(path[:-1])
    assert section is not None  # noqa: S101 - a key is unknown in a section
    return _names(section)


def _section_at(path: Sequence[str]) -> type[BaseModel] | None:
    """Return the section at a path, which may lead through lists of sections; None if something else is there."""
    model: Any = Settings
    for part in path:
        if get_origin(model) is tuple and part.isdigit():
            model = get_args(model)[0]
        elif isinstance(model, type) and issubclass(model, BaseModel) and part in model.model_fields:
            model = model.model_fields[part].annotation
        else:
            return None
    return model if isinstance(model, type) and issubclass(model, BaseModel) else None


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
