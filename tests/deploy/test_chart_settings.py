"""What the chart hands to Stowage, read by Stowage; and the values that it refuses."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, SecretStr

from registry.cli.serve import exposure
from registry.settings import Settings, SettingsError
from tests.deploy.charts import CHART, VALUES, Rendered, changed, rendered, template
from tests.deploy.loading import load

SETS = ["", *sorted(file.stem for file in VALUES.glob("*.yaml"))]
_FLEET = {"settings.storage": {"driver": "s3", "s3": {"bucket": "a"}}, "settings.database": {"url": "postgresql://a/b"}}
_SECRET = {"STOWAGE_AUTH__SECRET": "a"}
_PASSWORD = {"STOWAGE_ADMIN_PASSWORD": "a"}
_INGRESS = {"enabled": True, "hosts": ["registry.example.org"]}
_ELSEWHERE = "from elsewhere, and long enough to seal keys"


def settings_of(whole: Rendered, monkeypatch: pytest.MonkeyPatch, folder: Path, kind: str = "Deployment") -> Settings:
    """Load what a pod's container is given; a Secret of others has what the chart's README says, with some text."""
    [container] = whole.one(kind)["spec"]["template"]["spec"]["containers"]
    environment = {one["name"]: one.get("value", _ELSEWHERE) for one in container["env"]}
    for source in container.get("envFrom", []):
        name = source["secretRef"]["name"]
        if name in {one["metadata"]["name"] for one in whole.of("Secret")}:
            environment |= whole.secret(name)
        else:
            environment |= dict.fromkeys(told_to_be_in_the_secret(), _ELSEWHERE)
    [volume] = [one for one in whole.one(kind)["spec"]["template"]["spec"]["volumes"] if one["name"] == "configuration"]
    file = folder / "stowage.yaml"
    file.write_text(whole.one("ConfigMap", volume["configMap"]["name"])["data"]["stowage.yaml"])
    return load(monkeypatch, environment, {"/etc/stowage/stowage.yaml": file})


def told_to_be_in_the_secret() -> set[str]:
    """What the README's example wants the Secret to have."""
    comments = re.findall(r"^  # .*$", (CHART / "README.md").read_text(), re.MULTILINE)
    return set(re.findall(r"STOWAGE_\w+", " ".join(comments)))


@pytest.mark.parametrize("values", SETS)
def test_stowage_takes_what_it_is_given(values: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = rendered(values)
    settings = settings_of(whole, monkeypatch, tmp_path)
    assert (settings.http.port, settings.operations.port) == (5000, 5001)
    assert settings.http.host == settings.operations.host
    assert str(settings.data) == "/var/lib/stowage"
    assert settings.database.is_postgresql is (values != "")
    assert settings.storage.driver == ("filesystem" if values in {"", "single"} else "s3")
    if whole.of("Job"):
        assert settings_of(whole, monkeypatch, tmp_path, "Job") == settings


def test_values_arrive_as_they_were_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = settings_of(rendered("single"), monkeypatch, tmp_path)
    assert (settings.storage.cache, settings.uploads.max_sessions) == (10_000_000, 1_000_000)
    assert (settings.http.workers, settings.database.pool, settings.tracing.sample) == (2, 4, 0.1)
    assert [str(one) for one in settings.http.trusted_proxies] == ["10.0.0.0/8", "fd00::/8"]
    assert settings.database.password is not None
    assert settings.database.password.get_secret_value() == "not-to-be-seen-1"


def test_a_setting_that_stowage_does_not_know_would_be_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"http\.threads: there is no such setting"):
        settings_of(changed("single", **{"settings.http.threads": 2}), monkeypatch, tmp_path)
    with pytest.raises(SettingsError, match="there is no section"):
        wrong = changed("single", extraEnv=[{"name": "STOWAGE_DATABASES__URL", "value": "a"}])
        settings_of(wrong, monkeypatch, tmp_path)


@pytest.mark.parametrize("values", ["single", "everything"])
def test_secrets_are_in_secrets_alone(values: str) -> None:
    whole = rendered(values)
    given = yaml.safe_load((VALUES / f"{values}.yaml").read_text())["secret"]["values"]
    for secret in whole.of("Secret"):
        assert whole.secret(secret["metadata"]["name"]) == given
    assert len(whole.of("Secret")) == 2  # the migration's comes before the servers'
    assert "not-to-be-seen" not in json.dumps([one for one in whole.objects if one["kind"] != "Secret"])


def test_a_secret_that_is_there_is_used_by_both() -> None:
    whole = rendered("fleet")
    assert whole.of("Secret") == []
    for pod in whole.pods():
        assert pod["spec"]["containers"][0]["envFrom"] == [{"secretRef": {"name": "stowage"}}]


@pytest.mark.parametrize("values", SETS)
def test_everybody_may_push_only_if_it_is_said(values: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole, is_open = rendered(values), values == "everything"
    assert whole.pod["spec"]["containers"][0]["args"] == ["serve", *(["--insecure-open"] if is_open else [])]
    settings = settings_of(whole, monkeypatch, tmp_path)
    assert settings.auth.mode == ("open" if is_open else "users")
    assert exposure(settings, insecure_open=False) == "" or is_open


def test_who_shows_a_certificate_need_not_log_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tls = {"certificate": "/etc/tls/a", "key": "/etc/tls/b", "client_ca": "/etc/tls/c"}
    whole = changed("", **{"settings.auth": {"mode": "open"}, "settings.http.tls": tls})
    assert whole.pod["spec"]["containers"][0]["args"] == ["serve"]
    assert exposure(settings_of(whole, monkeypatch, tmp_path), insecure_open=False) == ""


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({}, None),
        ({"ingress": {"enabled": True, "hosts": ["a.example.org", "b.example.org"]}}, "http://a.example.org"),
        ({"ingress": {"enabled": True, "hosts": ["a.example.org"], "tls": [{}]}}, "https://a.example.org"),
        (
            {"ingress": {"enabled": True, "hosts": ["a"]}, "settings.http.public_url": "https://b.example.org"},
            "https://b.example.org",
        ),
        ({"ingress": {"enabled": True, "hosts": ["a"]}, "settings.http.trusted_proxies": ["10.0.0.0/8"]}, None),
    ],
)
def test_clients_are_sent_for_tokens_to_where_they_came_to(
    values: dict[str, Any], found: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert settings_of(changed("fleet", **values), monkeypatch, tmp_path).http.public_url == found


def secret_settings(model: type[BaseModel] = Settings, path: str = "") -> Iterator[str]:
    """The settings that are secrets, by their names."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from secret_settings(field.annotation, f"{path}{name}.")
        elif field.annotation == SecretStr | None:
            yield f"{path}{name}"


def test_no_secret_gets_into_a_config_map() -> None:
    secrets = [*secret_settings()]
    assert {"auth.secret", "auth.ldap.bind_password", "database.password"} <= {*secrets}
    for name in secrets:
        section, _, key = name.rpartition(".")
        done = template("--set-json", f'settings.{section}={{"{key}":"not-to-be-seen"}}')
        assert (done.returncode, "settings are kept in a ConfigMap" in done.stderr) == (1, True), name


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"replicas": 2}, "several replicas need PostgreSQL"),
        ({"autoscaling.enabled": True}, "several replicas need PostgreSQL"),
        ({"replicas": 2, "settings.storage": _FLEET["settings.storage"]}, "several replicas need PostgreSQL"),
        (
            {"replicas": 2, "settings.database": _FLEET["settings.database"]},
            "several replicas need a storage that they",
        ),
        ({"settings.storage": {"driver": "s3"}}, "settings.storage.s3.bucket must name the bucket"),
        ({"settings.database": {"password": "a"}}, "settings are kept in a ConfigMap"),
        ({"settings.database": {"url": "postgresql://a:b@c/d"}}, "settings are kept in a ConfigMap"),
        (
            {"settings.storage": {"driver": "s3", "s3": {"bucket": "a", "secret_access_key": "b"}}},
            "settings are kept in a ConfigMap",
        ),
        ({**_FLEET, "secret.values": _PASSWORD}, "give STOWAGE_AUTH__SECRET"),
        ({**_FLEET, "secret.values": _SECRET}, "give STOWAGE_ADMIN_PASSWORD"),
        ({"settings.auth": {"mode": "open"}}, "settings.auth.mode is open"),
        ({"settings.auth": {"mode": "users"}, "insecureOpen": True}, "insecureOpen is for"),
        ({"settings.http.public_url": "registry.example.org"}, "does not match pattern"),
        ({"settings.http.port": 80}, "the chart says where data lies"),
        ({"settings.data": "/srv"}, "the chart says where data lies"),
        ({"settings.database": {"url": "sqlite:////tmp/a"}}, "the chart says where data lies"),
        ({"secret": {"existing": "a", "values": {"A": "b"}}}, "not both"),
        ({"terminationGracePeriodSeconds": 42}, "must be at least preStopSeconds + 35"),
        (
            {**_FLEET, "insecureOpen": True, "autoscaling": {"enabled": True, "minReplicas": 7}},
            "must not be more than",
        ),
        ({"ingress.enabled": True}, "ingress.hosts must name"),
        ({"replicaCount": 3}, "additional properties 'replicaCount' not allowed"),
        ({"settings.storage": None}, "want object"),
        ({"secret.values": {"stowage_password": "a"}}, "does not match pattern"),
    ],
)
def test_values_that_can_not_work_are_refused(values: dict[str, Any], said: str) -> None:
    arguments = [part for key, value in values.items() for part in ("--set-json", f"{key}={json.dumps(value)}")]
    done = template(*arguments)
    assert done.returncode != 0
    assert said in done.stderr


def notes(chart: Path, *arguments: str | Path) -> str:
    """What `helm install` prints, from a copy of the chart that shows it as an object: `helm template` does not."""
    shutil.copytree(CHART, chart)
    (chart / "templates" / "NOTES.txt").rename(chart / "notes")
    (chart / "templates" / "shown.yaml").write_text('kind: Notes\ntext: {{ tpl (.Files.Get "notes") . | toJson }}\n')
    done = template("--show-only", "templates/shown.yaml", *arguments, chart=chart)
    assert done.returncode == 0, done.stderr
    return str(yaml.safe_load(done.stdout)["text"])


def test_the_notes_say_what_was_installed(tmp_path: Path) -> None:
    single = notes(tmp_path / "single")
    assert "one replica, SQLite, a folder" in single
    assert "port-forward service/prod-stowage 5000:5000" in single
    assert "exec deployment/prod-stowage -- cat /var/lib/stowage/admin-password" in single
    assert "may push" not in single
    assert "max_connections" not in single
    everything = notes(tmp_path / "everything", "--values", VALUES / "everything.yaml")
    assert "3 to 9 replicas, PostgreSQL, s3" in everything
    assert "https://registry.example.org/v2/" in everything
    assert "leave room for 800:" in everything  # (9 + 1) replicas, 4 workers, 20 connections
    assert "whoever reaches the registry may push and delete" in everything
    assert "admin" not in everything
    fleet = notes(
        tmp_path / "fleet", "--values", VALUES / "fleet.yaml", "--set-json", f"ingress={json.dumps(_INGRESS)}"
    )
    assert "STOWAGE_ADMIN_PASSWORD of the Secret\nstowage." in fleet
    assert "set\nsettings.http.trusted_proxies" in fleet
    assert "Passwords go over the network as they are" in fleet
    given = notes(tmp_path / "given", "--set-json", f"secret.values={json.dumps(_PASSWORD)}")
    assert "with the password in STOWAGE_ADMIN_PASSWORD." in given
    assert "cat " not in given
