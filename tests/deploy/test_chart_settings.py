"""What the chart hands to Stowage, read by Stowage; and the values that it refuses."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from registry.settings import Settings, SettingsError
from tests.deploy.charts import CHART, VALUES, Rendered, changed, rendered, template
from tests.deploy.loading import load

SETS = ["", *sorted(file.stem for file in VALUES.glob("*.yaml"))]
_FLEET = {"settings.storage": {"driver": "s3", "s3": {"bucket": "a"}}, "settings.database": {"url": "postgresql://a/b"}}


def settings_of(whole: Rendered, monkeypatch: pytest.MonkeyPatch, folder: Path, kind: str = "Deployment") -> Settings:
    """Load what a pod's container is given; a value that comes from a Secret of others is some text."""
    [container] = whole.one(kind)["spec"]["template"]["spec"]["containers"]
    environment = {one["name"]: one.get("value", "from-elsewhere") for one in container["env"]}
    for source in container.get("envFrom", []):
        name = source["secretRef"]["name"]
        if name in {one["metadata"]["name"] for one in whole.of("Secret")}:
            environment |= whole.secret(name)
    [volume] = [one for one in whole.one(kind)["spec"]["template"]["spec"]["volumes"] if one["name"] == "configuration"]
    file = folder / "stowage.yaml"
    file.write_text(whole.one("ConfigMap", volume["configMap"]["name"])["data"]["stowage.yaml"])
    return load(monkeypatch, environment, {"/etc/stowage/stowage.yaml": file})


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


def test_everybody_may_push_only_if_it_is_said() -> None:
    assert rendered().pod["spec"]["containers"][0]["args"] == ["serve", "--insecure-open"]
    assert rendered("everything").pod["spec"]["containers"][0]["args"] == ["serve"]


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
        ({"settings.http.port": 80}, "the chart says where data lies"),
        ({"settings.data": "/srv"}, "the chart says where data lies"),
        ({"settings.database": {"url": "sqlite:////tmp/a"}}, "the chart says where data lies"),
        ({"secret": {"existing": "a", "values": {"A": "b"}}}, "not both"),
        ({"terminationGracePeriodSeconds": 42}, "must be at least preStopSeconds + 35"),
        ({**_FLEET, "autoscaling": {"enabled": True, "minReplicas": 7}}, "must not be more than"),
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
    assert "whoever reaches the registry may push and delete" in single
    assert "max_connections" not in single
    everything = notes(tmp_path / "everything", "--values", VALUES / "everything.yaml")
    assert "3 to 9 replicas, PostgreSQL, s3" in everything
    assert "https://registry.example.org/v2/" in everything
    assert "leave room for 800:" in everything  # (9 + 1) replicas, 4 workers, 20 connections
    assert "may push" not in everything
