"""Endpoints in the settings: what is wrong is named, without what is secret."""

import json
from pathlib import Path

import pytest

from registry.errors import Unavailable
from registry.services.endpoints import configured
from registry.setting_origins import shown
from registry.settings import Settings, SettingsError, load_settings


def load(folder: Path, text: str) -> Settings:
    file = folder / "stowage.yaml"
    file.write_text(f"webhooks: [{{name: one, url: 'https://x/y'{text}}}]")
    return load_settings(file)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (", evnts: [push]", ["webhooks.0.evnts", "no such setting", "events"]),
        (", events: [pushed]", ["webhooks.0.events.0", "'push'"]),
        (", events: []", ["webhooks.0.events", "at least 1"]),
        (", format: json", ["webhooks.0.format", "'cloudevents'"]),
        (", url: 'ftp://x'", ["webhooks.0.url", "https://"]),
        (", url: 'http://x'", ["webhooks.0", "allow_private"]),
        (", url: 'https://me:hunter2@x'", ["webhooks.0.url", "basic"]),
        (", url: 'https://x/#hunter2'", ["webhooks.0.url", "fragment"]),
        (", name: Big", ["webhooks.0.name"]),
        (", headers: {'X A': hunter2}", ["webhooks.0.headers", "'X A'"]),
        (", headers: {Authorization: hunter2}", ["webhooks.0.headers", "bearer"]),
        (', headers: {X-A: "hunter2\\r\\nb: c"}', ["webhooks.0.headers", "X-A", "printable"]),
        (", secret: whsec_hunter2!", ["webhooks.0.secret", "base64"]),
        (", secret: hunter2, secret_file: /x", ["webhooks.0", "not both"]),
        (", bearer: hunter2, basic: {user: a, password: hunter2}", ["webhooks.0", "one of bearer"]),
        (", basic: {user: a}", ["webhooks.0.basic", "password_file"]),
        (", timeout: 2h", ["webhooks.0.timeout", "60"]),
        (", backoff: 1h, backoff_cap: 1m", ["webhooks.0", "backoff_cap"]),
        ("}, {name: one, url: 'https://z'", ["webhooks", "one is there twice"]),
    ],
)
def test_an_error_names_what_is_wrong_and_no_secret(tmp_path: Path, text: str, named: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, text)
    for word in named:
        assert word in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_secrets_come_from_files_and_are_not_shown(tmp_path: Path) -> None:
    for name in ("key", "token", "password"):
        (tmp_path / name).write_text(f"hunter2 {name}\n")
    (one,) = load(
        tmp_path, f", secret_file: {tmp_path}/key, basic: {{user: me, password_file: {tmp_path}/password}}"
    ).webhooks
    found = configured([one])["one"]
    assert (found.secrets.secret, found.secrets.basic) == ("hunter2 key", "me:hunter2 password")
    settings = load(tmp_path, f", bearer_file: {tmp_path}/token, headers: {{X-Key: hunter2}}, secret: hunter2")
    found = configured(settings.webhooks)["one"]
    assert (found.secrets.bearer, found.secrets.headers) == ("hunter2 token", {"X-Key": "hunter2"})
    for text in (repr(settings.webhooks), str(shown(settings.webhooks)), found.options_json):
        assert "hunter2" not in text


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"x" * 10_000, b"a\0b"])
def test_a_file_without_a_secret_is_named(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(Unavailable, match=r"webhooks: one: secret_file: .*key"):
        configured(load(tmp_path, f", secret_file: {file}").webhooks)


def test_a_token_that_is_no_header_and_a_secret_that_is_none_are_named_when_a_server_starts(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("hunter2\nhunter3")
    for text, said in (
        (f", bearer_file: {file}", "webhooks: one: bearer_file: expected printable ASCII"),
        (", bearer: 'hunter2 \u00e9'", "webhooks: one: bearer: expected printable ASCII"),
        (", secret: whsec_abc", "webhooks: one: secret: expected base64 after whsec_"),
    ):
        with pytest.raises(Unavailable) as caught:
            configured(load(tmp_path, text).webhooks)
        assert str(caught.value) == said


def test_they_come_from_the_environment_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOWAGE_WEBHOOKS", json.dumps([{"name": "one", "url": "https://x", "timeout": "3s"}]))
    monkeypatch.setenv("STOWAGE_DELIVERY__NETWORKS", "10.0.0.0/8, 192.168.0.0/16")
    found = load_settings()
    assert [(one.name, one.timeout) for one in found.webhooks] == [("one", 3)]
    assert len(found.delivery.networks) == 2
