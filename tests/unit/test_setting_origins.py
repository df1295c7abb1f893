"""Where values come from, and that secrets are not among what is shown."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from registry.setting_origins import origins, shown
from registry.settings import merged, read_layers


def test_every_setting_has_an_origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("http: {port: 1, limits: {idle: 5s}}\nmanifests: {sparse: index}\n")
    monkeypatch.setenv("STOWAGE_HTTP__PORT", "2")
    monkeypatch.setenv("STOWAGE_MANIFESTS__SPARSE", "deny")
    layers = read_layers(file, {"data": Path("/d"), "http": {"port": 3, "host": None}})
    found = {one.name: (one.value, one.source, one.place) for one in origins(merged(layers), layers)}
    assert found["data"] == ("/d", "commandLine", "--data")
    assert found["http.port"] == (3, "commandLine", "--port")
    assert found["http.host"] == ("127.0.0.1", "default", "")
    assert found["http.limits.idle"] == (5, "file", str(file))
    assert found["manifests.sparse"] == ("deny", "environment", "STOWAGE_MANIFESTS__SPARSE")


def test_secrets_are_stars() -> None:
    assert shown(SecretStr("hunter2")) == "***"
    assert shown("postgresql://me:hunter2@db:5432/x") == "postgresql://me:***@db:5432/x"
    assert shown(["https://a:b@c/", 5, None]) == ["https://a:***@c/", 5, None]
    assert shown({"key": SecretStr("x")}) == {"key": "***"}
    assert shown("https://host:5000/path") == "https://host:5000/path"


def test_a_list_of_sections_is_shown_as_it_was_given(tmp_path: Path) -> None:
    rule = {"claims": {"sub": "x"}, "serviceaccount": "a/b"}
    issuer = {"name": "a", "issuer": "https://i.test", "audience": "b", "keys_file": tmp_path, "rules": [rule]}
    layers = read_layers(None, {"auth": {"mode": "users", "trust": [issuer]}})
    (found,) = (one for one in origins(merged(layers), layers) if one.name == "auth.trust")
    assert found.value == [{**issuer, "audience": ["b"], "keys_file": str(tmp_path)}]
