"""Settings: precedence, errors that say what is wrong, and that each one is documented."""

from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest
from pydantic import BaseModel

from registry.settings import Settings, SettingsError, load_settings

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STOWAGE_HTTP__PORT", "STOWAGE_MANIFESTS__SPARSE", "STOWAGE_DATA", "STOWAGE_CONFIG"):
        monkeypatch.delenv(name, raising=False)


def write(folder: Path, text: str) -> Path:
    file = folder / "stowage.yaml"
    file.write_text(text)
    return file


def test_the_command_line_wins_over_environment_over_file_over_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path, "http: {port: 1, host: 127.0.0.3}\nuploads: {expire: 2d}\n")
    monkeypatch.setenv("STOWAGE_HTTP__PORT", "2")
    assert load_settings(file).http.port == 2
    found = load_settings(file, {"http": {"port": 3, "host": None}})
    assert (found.http.port, found.http.host) == (3, "127.0.0.3")
    assert (found.uploads.expire, found.manifests.max_size) == (172800, 4 * 1024**2)


def test_the_environment_may_name_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--config` comes first; the rest of the environment counts as always; a file that is not there is told."""
    monkeypatch.setenv("STOWAGE_CONFIG", str(write(tmp_path, "http: {port: 1, host: 127.0.0.3}\n")))
    monkeypatch.setenv("STOWAGE_HTTP__PORT", "2")
    found = load_settings()
    assert (found.http.port, found.http.host) == (2, "127.0.0.3")
    (tmp_path / "other.yaml").write_text("http: {host: 127.0.0.4}\n")
    assert load_settings(tmp_path / "other.yaml").http.host == "127.0.0.4"
    monkeypatch.setenv("STOWAGE_CONFIG", str(tmp_path / "none.yaml"))
    with pytest.raises(SettingsError, match=r"none\.yaml: can't be read"):
        load_settings()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("http: {prot: 1}", ["http.prot", "no such setting", "host, port"]),
        ("htp: {port: 1}", ["htp", "no such setting", "http"]),
        ("http: {port: x}", ["http.port", "integer", "'x'"]),
        ("http: {port: 70000}", ["http.port", "65535"]),
        ("http: 3", ["http", "dictionary"]),
        ("http: {trusted_proxies: [10.0.0.0/8, proxy]}", ["http.trusted_proxies", "10.0.0.0/8", "'proxy'"]),
        ("http: {trusted_proxies: [10.0.0.1/8]}", ["http.trusted_proxies", "host bits"]),
        ("http: {trusted_proxies: 7}", ["http.trusted_proxies", "tuple"]),
        ("http: {limits: {connections: 0}}", ["http.limits.connections", "1"]),
        ("http: {limits: {idle: 0s}}", ["http.limits.idle", "1"]),
        ("http: {limits: {size: 1}}", ["http.limits.size", "head_size"]),
        ("names: {max_repository_length: 256}", ["names.max_repository_length", "255"]),
        ("names: {max_tag_length: 129}", ["names.max_tag_length", "128"]),
        ("uploads: {max_sessions: 0}", ["uploads.max_sessions", "1"]),
        ("http: {public_url: ftp://x}", ["http.public_url", "https://"]),
        ("http: {public_url: 'https://x/y'}", ["http.public_url", "nothing after it"]),
        ("uploads: {expire: 5x}", ["uploads.expire", "15m"]),
        ("manifests: {max_size: 4MB4}", ["manifests.max_size", "4MiB"]),
        ("manifests: {sparse: maybe}", ["manifests.sparse", "'deny', 'index' or 'allow'"]),
        ("database: {url: 'mysql://x'}", ["database.url", "sqlite:///PATH"]),
        ("storage: {driver: S 3}", ["storage.driver", "'S 3'"]),
        ("storage: {driver: s3}", ["storage", "storage.s3.bucket"]),
        ("storage: {s3: {access_key_id: x}}", ["storage.s3.access_key_id and secret_access_key", "both"]),
        ("storage: {s3: {endpoint: minio:9000}}", ["storage.s3.endpoint", "https://"]),
        ("storage: {s3: {prefix: a/../b}}", ["storage.s3.prefix", "slashes between"]),
        ("storage: {s3: {part_size: 4MiB}}", ["storage.s3.part_size", "5242880"]),
        ("- a", ["expected sections"]),
        ("a: [", ["not YAML"]),
    ],
)
def test_an_error_names_key_source_and_what_was_expected(tmp_path: Path, text: str, named: list[str]) -> None:
    file = write(tmp_path, text)
    with pytest.raises(SettingsError) as caught:
        load_settings(file)
    for word in [*named, str(file)]:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "storage: {s3: {secret_access_key: [hunter2]}}",
        "storage: {s3: {secret_access_key: {a: hunter2}}}",
        "storage: {driver: s3, s3: {access_key_id: x, secret_access_key: hunter2}}",
        "storage: {s3: [hunter2]}",
        "storage: {s3: {endpoint: 'https://me:hunter2@minio'}}",
        "storage: {options: {key: [hunter2]}}",
        "storage: {s3: {secret_access_key: 'hunter2}}",
        "storage:\n  s3:\n    secret_access_key: hunter2\n   x: [",
    ],
)
def test_an_error_shows_no_secret(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(write(tmp_path, text))
    assert "hunter2" not in str(caught.value)


def test_every_wrong_value_is_named_at_once(tmp_path: Path) -> None:
    file = write(tmp_path, "http: {port: x}\nmanifests: {sparse: maybe}\n")
    with pytest.raises(SettingsError) as caught:
        load_settings(file)
    assert len(str(caught.value).splitlines()) == 2


def test_an_error_in_the_environment_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOWAGE_HTTP__PORT", "many")
    with pytest.raises(SettingsError, match="STOWAGE_HTTP__PORT"):
        load_settings()


@pytest.mark.parametrize("text", ["10.0.0.0/8, 127.0.0.1,", "10.0.0.0/8,127.0.0.1"])
def test_networks_come_as_a_list_or_a_string(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    networks = (ip_network("10.0.0.0/8"), ip_network("127.0.0.1/32"))
    file = write(tmp_path, "http: {trusted_proxies: [10.0.0.0/8, 127.0.0.1]}")
    assert load_settings(file).http.trusted_proxies == networks
    assert load_settings(write(tmp_path, f"http: {{trusted_proxies: '{text}'}}")).http.trusted_proxies == networks
    monkeypatch.setenv("STOWAGE_HTTP__TRUSTED_PROXIES", text)
    assert load_settings().http.trusted_proxies == networks


def test_an_unknown_section_in_the_environment_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOWAGE_HTPP__PORT", "1")
    with pytest.raises(SettingsError, match="STOWAGE_HTPP__PORT"):
        load_settings()


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="can't be read"):
        load_settings(tmp_path / "none.yaml")


def test_database_and_blobs_follow_the_data_folder_unless_they_say_otherwise() -> None:
    found = load_settings(command_line={"data": Path("/d"), "storage": {"filesystem": {"root": "/b"}}})
    assert found.sqlite_path == Path("/d/stowage.sqlite3")
    assert found.filesystem_root == Path("/b")
    assert load_settings(command_line={"database": {"url": "sqlite:////x/y.db"}}).sqlite_path == Path("/x/y.db")


def leaves(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, str, str]]:
    for name, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from leaves(info.annotation, f"{path}{name}.")
        else:
            default = "" if info.default in (None, ()) else f"`{info.default}`"
            yield f"{path}{name}", default, info.description or ""


def test_every_setting_is_documented_with_its_default_and_meaning() -> None:
    documented = [line for line in (ROOT / "docs/configure.md").read_text().splitlines() if line.startswith("| `")]
    expected = [f"| `{name}` | {default} | {meaning} |" for name, default, meaning in leaves(Settings)]
    assert documented == [row.replace("|  |", "| |") for row in expected]


def test_only_settings_reads_the_environment() -> None:
    for folder in ("registry", "storage", "auth"):
        for file in (ROOT / folder).rglob("*.py"):
            if file != ROOT / "registry/settings.py":
                text = file.read_text()
                assert "os.environ" not in text and "getenv" not in text, file


def test_replicas_share_a_secret_unless_somebody_else_makes_their_tokens() -> None:
    given = {"auth": {"mode": "users"}, "database": {"url": "postgresql://stowage@database/registry"}}
    with pytest.raises(
        SettingsError, match=r"auth\.secret: expected at least 32 characters, the same for all replicas"
    ):
        load_settings(command_line=given)
    outside = {"realm": "https://tokens.example.org", "issuer": "a", "service": "b", "jwks": "/etc/keys"}
    assert load_settings(command_line={**given, "auth": {"mode": "users", "token": outside}}).auth.secret is None
