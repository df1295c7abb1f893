"""A store that can't be used: said in one line, at start, by `stowage check` and by `/readyz`, without secrets."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.commands import printed, stowage
from tests.s3.conftest import S3ServerFactory
from tests.support.faulty_s3 import Fault, FaultyS3
from tests.support.ports import free_port
from tests.support.s3 import BUCKET, SECRET_ACCESS_KEY, S3Server, server_settings
from tests.support.server import Connect

DENIED = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>no</Message></Error>"


@pytest.fixture
def relay(s3: S3Server) -> Iterator[FaultyS3]:
    """A relay in front of the S3 server."""
    with FaultyS3(s3.url) as running:
        yield running


def refusal(tmp_path: Path, **settings: str) -> str:
    """Start a server that can't start, and return what it says; `stowage check` must say the same."""
    data = str(tmp_path / "data")
    done = stowage("serve", "--data", data, "--port", str(free_port()), **settings)
    assert (done.returncode, done.stdout) == (1, "")
    told = [line for line in done.stderr.splitlines() if line.startswith("stowage: ")]
    assert len(told) == 1, done.stderr
    checked = stowage("check", "--json", "--data", data, "--port", str(free_port()), **settings)
    assert SECRET_ACCESS_KEY not in done.stderr + checked.stdout + checked.stderr
    problems = {one["reason"]: one["message"] for one in json.loads(checked.stdout)["problems"]}
    assert problems["StorageUnavailable"] == told[0].removeprefix("stowage: ")
    return told[0]


def test_a_bucket_that_is_missing(tmp_path: Path, s3: S3Server) -> None:
    text = refusal(tmp_path, **{**server_settings(s3.url), "STOWAGE_STORAGE__S3__BUCKET": "elsewhere"})
    assert f"bucket elsewhere at {s3.url} can't be used" in text
    assert "Create it, or correct storage.s3.bucket" in text


def test_credentials_that_are_wrong(tmp_path: Path, s3: S3Server) -> None:
    text = refusal(tmp_path, **server_settings(s3.url, secret_access_key="wrong"))
    assert f"bucket {BUCKET} at {s3.url} can't be used" in text
    assert "credentials" in text


def test_a_bucket_that_is_read_only(tmp_path: Path, relay: FaultyS3) -> None:
    relay.fail(Fault(lambda asked: asked.method == "PUT", 1000, 403, DENIED))
    text = refusal(tmp_path, **server_settings(relay.url))
    assert f"bucket {BUCKET} at {relay.url} can't be used: the credentials may not do that. Give" in text


def test_an_endpoint_where_nobody_is(tmp_path: Path) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    text = refusal(tmp_path, **server_settings(endpoint, attempts="1"))
    assert f"bucket {BUCKET} at {endpoint} can't be used: the endpoint can't be reached" in text
    assert "storage.s3.endpoint" in text


def test_a_store_that_fails_while_the_server_runs(on_s3: S3ServerFactory, relay: FaultyS3, connect: Connect) -> None:
    client = connect(on_s3(endpoint=relay.url, attempts="1"))
    assert client.get("/readyz").json()["storage"] == "ok"
    relay.fail(Fault(lambda asked: True, 1000, 403, DENIED))
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert f"bucket {BUCKET} at {relay.url} can't be used" in answer.json()["storage"]
    relay.heal()
    assert client.get("/readyz").status_code == 200


def test_what_the_credentials_come_from(tmp_path: Path, s3: S3Server) -> None:
    """Keys in the file of a profile, as the AWS command line has them."""
    file = tmp_path / "credentials"
    file.write_text(f"[there]\naws_access_key_id = stowage-tests\naws_secret_access_key = {SECRET_ACCESS_KEY}\n")
    settings = {**server_settings(s3.url), "STOWAGE_STORAGE__S3__PROFILE": "there"}
    settings = {name: text for name, text in settings.items() if "ACCESS_KEY" not in name}
    data = str(tmp_path / "data")
    asked = ("check", "--json", "--data", data, "--port", str(free_port()))
    assert "StorageUnavailable" in stowage(*asked, **settings).stdout
    assert "StorageUnavailable" not in stowage(*asked, **settings, AWS_SHARED_CREDENTIALS_FILE=str(file)).stdout


def test_secrets_are_not_shown(tmp_path: Path, s3: S3Server) -> None:
    settings = server_settings(s3.url)
    shown = printed("check", "--data", str(tmp_path / "data"), "--port", str(free_port()), **settings)
    assert SECRET_ACCESS_KEY not in shown
    assert "storage.s3.secret_access_key" in shown and "***" in shown


def test_a_driver_of_another_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package brings a driver by an entry point, and is told `storage.options`."""
    site = tmp_path / "site"
    (site / "attic-1.0.dist-info").mkdir(parents=True)
    (site / "attic-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: attic\nVersion: 1.0\n")
    (site / "attic-1.0.dist-info" / "entry_points.txt").write_text(
        "[stowage.storage_drivers]\nattic = attic:make\nbroken = attic:fail\n"
    )
    (site / "attic.py").write_text(
        "from pathlib import Path\n"
        "from storage.filesystem import FilesystemDriver\n"
        "def make(options):\n"
        "    return FilesystemDriver(Path(options['folder']), reserve=options['spare'])\n"
        "def fail(options):\n"
        "    raise ValueError('no such thing')\n"
    )
    folder = tmp_path / "kept"
    monkeypatch.syspath_prepend(str(site))
    settings = {"STOWAGE_STORAGE__OPTIONS": json.dumps({"folder": str(folder), "spare": 5})}
    found = stowage("check", "--json", "--data", str(tmp_path / "d"), **settings, STOWAGE_STORAGE__DRIVER="attic")
    assert "StorageUnavailable" not in found.stdout
    assert stat.S_ISDIR((folder / "blobs").stat().st_mode)
    assert str(folder) not in found.stdout  # what it is told may be a secret
    for name, text in (("broken", "no such thing"), ("cellar", "there are attic, broken, filesystem, s3")):
        found = stowage("check", "--json", "--data", str(tmp_path / "d"), **settings, STOWAGE_STORAGE__DRIVER=name)
        assert text in found.stdout
