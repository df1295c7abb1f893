"""The compose files: as the specification wants them, and in agreement with Stowage, nginx and each other."""

import copy
import functools
import importlib.resources
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import httpx
import jsonschema
import pytest
from botocore.config import Config
from jsonschema import Draft202012Validator

from registry import __version__
from registry.settings import Settings, SettingsError
from tests.clients.tools import find_tool
from tests.deploy.composed import FOLDER, SECRETS, TLS, Service, environment, example, filled, read, services
from tests.deploy.loading import load
from tests.support.ports import free_port
from tests.support.server import Server

REPLICAS = ["stowage-1", "stowage-2", "stowage-3"]
FILES = ["compose.yaml", "compose.tls.yaml"]


@functools.cache
def schema() -> Draft202012Validator:
    """The Compose specification's schema."""
    file = importlib.resources.files("check_jsonschema").joinpath("builtin_schemas/vendor/compose-spec.json")
    return Draft202012Validator(json.loads(file.read_text()))


def check(content: Any) -> None:
    """Raise jsonschema's ValidationError for what the specification refuses."""
    schema().validate(content)


@pytest.mark.parametrize("name", FILES)
def test_files_are_as_the_specification_wants_them(name: str) -> None:
    check(read(name))
    check(filled(read(name), example() | TLS))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("services", "nginx", "heathcheck"), {}),
        (("services", "nginx", "healthcheck", "retry"), 3),
        (("services", "nginx", "tmpfs"), {}),
        (("services", "stowage-1", "depends_on", "s3", "condition"), "service_ready"),
        (("services", "nginx", "networks", "front", "ip"), "10.0.0.1"),
        (("volume",), {}),
    ],
)
def test_a_wrong_field_would_be_noticed(path: tuple[str, ...], value: Any) -> None:
    wrong = copy.deepcopy(filled(read("compose.yaml"), example()))
    place = wrong
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        check(wrong)


@pytest.mark.parametrize("name", FILES)
def test_variables_are_explained_or_have_a_default(name: str) -> None:
    text = "\n".join(line for line in (FOLDER / name).read_text().splitlines() if not line.strip().startswith("#"))
    used = dict(re.findall(r"\$\{(\w+)(:[-?][^}]*)?\}", text))
    for variable, otherwise in used.items():
        assert variable in example() or otherwise, variable
    assert {one for one, otherwise in used.items() if otherwise.startswith(":?")} == (
        set(TLS) if name == "compose.tls.yaml" else set()
    )


def loaded(service: Service, monkeypatch: pytest.MonkeyPatch) -> Settings:
    return load(monkeypatch, environment(service, example()))


@pytest.mark.parametrize("name", [*REPLICAS, "migrate"])
def test_stowage_takes_what_it_is_given(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = loaded(services()[name], monkeypatch)
    assert settings.database.is_postgresql
    assert settings.database.password is not None
    assert settings.operations.port == 5001
    assert settings.http.workers == 2
    assert [str(one) for one in settings.http.trusted_proxies] == [f"{address('nginx')}/32"]
    assert settings.storage.driver == "s3"


def test_a_setting_that_stowage_does_not_know_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = services()["stowage-1"]
    wrong["environment"]["STOWAGE_OPERATIONS__PROT"] = "1"
    with pytest.raises(SettingsError, match="there is no such setting"):
        loaded(wrong, monkeypatch)


def test_the_bundled_servers_are_those_that_stowage_is_told_of() -> None:
    """Name, port, user and bucket, for env.example."""
    given, own = example(), services()
    assert given["COMPOSE_PROFILES"] == "postgresql,s3"
    database = own["postgresql"]["environment"]
    user, name = database["POSTGRES_USER"], database["POSTGRES_DB"]
    assert given["STOWAGE_DATABASE__URL"] == f"postgresql://{user}@postgresql:5432/{name}"
    assert database["POSTGRES_PASSWORD"] == SECRETS["STOWAGE_DATABASE__PASSWORD"]
    assert {f"--username={user}", f"--dbname={name}"} <= set(own["postgresql"]["healthcheck"]["test"])
    command = own["s3"]["command"]
    assert given["STOWAGE_STORAGE__S3__ENDPOINT"] == f"http://s3{command[command.index('--port') + 1]}"
    assert own["s3"]["environment"] == {
        "ROOT_ACCESS_KEY": given["STOWAGE_STORAGE__S3__ACCESS_KEY_ID"],
        "ROOT_SECRET_KEY": given["STOWAGE_STORAGE__S3__SECRET_ACCESS_KEY"],
        "VGW_REGION": given["STOWAGE_STORAGE__S3__REGION"],
    }
    assert own["bucket"]["environment"] == {"BUCKET": given["STOWAGE_STORAGE__S3__BUCKET"]}


def test_secrets_are_in_no_file() -> None:
    texts = "".join(file.read_text() for file in FOLDER.rglob("*") if file.is_file())
    assert not re.search(r"(?i)(password|secret\w*):[ ]+[^\s$]", texts)
    assert not re.search(r"(?im)^\w*(password|secret\w*)=\S", texts)


def test_what_is_referred_to_is_there() -> None:
    whole = filled(read("compose.yaml"), example())
    own = whole["services"]
    for name, service in own.items():
        assert set(service.get("networks", [])) <= set(whole["networks"])
        named = {one.split(":")[0] for one in service.get("volumes", []) if not one.startswith(("/", "."))}
        assert named <= set(whole["volumes"])
        for file in [one.split(":")[0] for one in service.get("volumes", []) if one.startswith(".")]:
            assert (FOLDER / file).is_file()
        for other, how in service.get("depends_on", {}).items():
            needed = own[other]
            if how["condition"] == "service_healthy":
                assert "healthcheck" in needed, (name, other)
            else:
                assert how["condition"] == "service_completed_successfully"
                assert needed["restart"] == "no"
            if set(needed.get("profiles", [])) - set(service.get("profiles", [])):
                assert how["required"] is False, (name, other)
            else:
                assert how.get("required", True)
    assert (FOLDER / own["migrate"]["build"] / "Dockerfile").is_file()


def test_containers_may_do_nothing_that_they_need_not() -> None:
    for name, service in services().items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in service
        if name == "bucket":
            assert service["network_mode"] == "none"  # root, for as long as `chown` takes
        elif service["image"].startswith("localhost/stowage"):
            assert "user" not in service  # the image's, which is nobody special
        else:
            assert not service["user"].startswith(("0", "root")), name
            assert service["restart"] == "unless-stopped"


def test_replicas_are_alike() -> None:
    own = services()
    alike = [{key: value for key, value in own[name].items() if key != "networks"} for name in REPLICAS]
    assert alike[0] == alike[1] == alike[2]
    assert own["stowage-1"]["image"] == f"localhost/stowage:{__version__}" == own["migrate"]["image"]
    assert own["migrate"]["command"] == ["migrate"]
    assert int(own["stowage-1"]["stop_grace_period"].removesuffix("s")) >= 35


def test_people_log_in_unless_it_is_said_that_nobody_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where .env says nothing of it."""
    old = {name: value for name, value in example().items() if "AUTH" not in name}
    assert environment(services(old)["stowage-1"], old)["STOWAGE_AUTH__MODE"] == "users"
    assert loaded(services()["stowage-1"], monkeypatch).auth.mode == "users"
    assert services()["stowage-1"]["command"].split() == ["serve"]
    opened = example() | {"STOWAGE_OPTIONS": "--insecure-open", "STOWAGE_AUTH__MODE": "open"}
    own = services(opened)["stowage-1"]
    assert own["command"].split() == ["serve", "--insecure-open"]
    assert load(monkeypatch, environment(own, opened)).auth.mode == "open"


def test_postgresql_takes_all_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice as many as the pools of all, as docs/operate.md wants it for a reload."""
    settings = loaded(services()["stowage-1"], monkeypatch)
    assert settings.http.workers is not None
    [allowed] = re.findall(r"max_connections=(\d+)", " ".join(services()["postgresql"]["command"]))
    kept_for_superusers = 3
    wanted = 2 * settings.http.workers * settings.database.pool * len(REPLICAS)
    assert wanted <= int(allowed) - kept_for_superusers


def address(name: str) -> str:
    return str(services()[name]["networks"]["front"]["ipv4_address"])


def test_addresses_are_one_network_of_fixed_ones() -> None:
    whole = filled(read("compose.yaml"), example() | {"STOWAGE_NET": "10.1.2"})
    assert whole["networks"]["front"]["ipam"]["config"] == [{"subnet": "10.1.2.0/24"}]
    addresses = [whole["services"][name]["networks"]["front"]["ipv4_address"] for name in ["nginx", *REPLICAS]]
    assert addresses == ["10.1.2.10", "10.1.2.11", "10.1.2.12", "10.1.2.13"]
    assert services()["nginx"]["extra_hosts"] == [f"{name}:{address(name)}" for name in REPLICAS]
    assert whole["networks"]["data"] == {"internal": True}
    assert {name for name, one in services().items() if "data" in one.get("networks", [])} == {
        *REPLICAS,
        "migrate",
        "postgresql",
        "s3",
    }


def test_only_nginx_is_reached_from_outside() -> None:
    published = {name: one["ports"] for name, one in services().items() if "ports" in one}
    assert published == {"nginx": ["127.0.0.1:5000:8080"]}
    tls = filled(read("compose.tls.yaml"), example() | TLS)["services"]
    assert {name: one["ports"] for name, one in tls.items()} == {"nginx": ["443:8443"]}


def test_a_replica_that_is_ready_is_healthy(server: Server) -> None:
    """The health check itself, asked of a real server, on its port; and where nobody listens."""
    [_, program, option, script] = services()["stowage-1"]["healthcheck"]["test"]
    assert (program, option) == ("/opt/stowage/bin/python", "-c")
    assert script.count("5001") == 1
    for port, status in ((server.port, 0), (free_port(), 1)):
        command = [sys.executable, "-c", script.replace("5001", str(port))]
        assert subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == status


def test_versitygw_takes_its_arguments_and_has_the_bucket(tmp_path: Path) -> None:
    """As the services `bucket` and `s3` start it, on another folder, port and user."""
    own, port = services(), free_port()
    bucket, [script] = own["bucket"], own["bucket"]["command"]
    assert own["s3"]["user"] == "10001:10001"
    script = script.replace("/s3", str(tmp_path)).replace("10001:10001", f"{os.getuid()}:{os.getgid()}")
    subprocess.run([*bucket["entrypoint"], script], env={**os.environ, **bucket["environment"]}, check=True)
    told = {":7070": f"127.0.0.1:{port}", "/s3": str(tmp_path)}
    command = [told.get(one, one) for one in own["s3"]["command"]]
    log = (tmp_path.parent / "versitygw.log").open("wb")
    with (
        log,
        subprocess.Popen(
            [find_tool("versitygw"), *command], env={**os.environ, **own["s3"]["environment"]}, stdout=log, stderr=log
        ) as process,
    ):
        try:
            with httpx.Client(
                base_url=f"http://127.0.0.1:{port}", trust_env=False, transport=httpx.HTTPTransport(retries=8)
            ) as asked:
                [path] = re.findall(r":7070(/\w+)", own["s3"]["healthcheck"]["test"][-1])
                assert asked.get(path).status_code == httpx.codes.OK
            store = boto3.client(
                "s3",
                endpoint_url=f"http://127.0.0.1:{port}",
                region_name=own["s3"]["environment"]["VGW_REGION"],
                aws_access_key_id=own["s3"]["environment"]["ROOT_ACCESS_KEY"],
                aws_secret_access_key=own["s3"]["environment"]["ROOT_SECRET_KEY"],
                config=Config(s3={"addressing_style": "path"}),
            )
            store.put_object(Bucket=bucket["environment"]["BUCKET"], Key="a/b", Body=b"1")
            assert store.get_object(Bucket="registry", Key="a/b")["Body"].read() == b"1"
        finally:
            process.terminate()
