"""The image: built from the Dockerfile by podman, run as strictly as it allows, pushed to and pulled from."""

import hashlib
import http.client
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.clients.tools import Tool, find_tool
from tests.packaging.containers import BASE, IMAGE, Container, Images
from tests.support.certificates import Certificate
from tests.support.images import Image, read_directory, sample_image, write_directory
from tests.support.ports import free_port
from tests.support.served import eventually

pytestmark = pytest.mark.timeout(2400)  # building the image, before the first of them, takes minutes
STRICT = (
    *("--read-only", "--read-only-tmpfs=false", "--cap-drop", "all"),
    *("--security-opt", "no-new-privileges"),
)
"""Nothing can be written but volumes, not even /tmp; no capability is left, and none can be got."""
_MOST_BEYOND_THE_BASE = 120_000_000
_USER = 10001


@contextmanager
def serving(images: Images, *options: str, command: tuple[str, ...] = ()) -> Iterator[tuple[Container, httpx.Client]]:
    """A container that serves on a free port of loopback, and a client of it."""
    port = free_port()
    place = ("--env", "STOWAGE_HTTP__HOST=127.0.0.1", "--env", f"STOWAGE_HTTP__PORT={port}")
    with (
        images.start(*place, *options, command=command) as container,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=120) as client,
    ):
        wait_until_ready(container, client)
        yield container, client


def wait_until_ready(container: Container, client: httpx.Client) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        try:
            if client.get("/readyz").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass  # not listening yet
        assert container.state()["Running"], container.log()
        time.sleep(0.1)
    raise AssertionError(f"it did not become ready\n{container.log()}")


def push(client: httpx.Client, repository: str, blob: bytes) -> str:
    digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
    answer = client.post(f"/v2/{repository}/blobs/uploads/", params={"digest": digest}, content=blob)
    assert answer.status_code == httpx.codes.CREATED, answer.text
    return digest


def address(client: httpx.Client) -> str:
    return f"127.0.0.1:{client.base_url.port}"


def test_an_image_survives_the_round_trip(images: Images, tmp_path: Path) -> None:
    """On a read-only system, as an own user without capabilities; a new container on the same volume has it too."""
    image: Image = sample_image(busybox=False)
    skopeo = Tool(find_tool("skopeo"))
    options = (*STRICT, "--volume", "kept:/var/lib/stowage")
    with serving(images, *options) as (container, client):
        target = f"docker://{address(client)}/a/b:1"
        skopeo.run("copy", "--dest-tls-verify=false", f"dir:{write_directory(tmp_path / 'out', image)}", target)
        process = Path(f"/proc/{container.state()['Pid']}/status").read_text()
        fields = dict(line.split(":\t", 1) for line in process.splitlines())
        assert fields["Uid"].split() == fields["Gid"].split() == 4 * [str(_USER)]
        assert int(fields["CapEff"], 16) == 0
        assert container.stop() == 0
    with serving(images, *options) as (_, client):
        source = f"docker://{address(client)}/a/b:1"
        skopeo.run("copy", "--src-tls-verify=false", source, f"dir:{tmp_path / 'back'}")
    assert read_directory(tmp_path / "back").blobs == image.blobs


def test_any_user_of_group_0_can_run_it(images: Images) -> None:
    """Some platforms choose the user themselves, in the group 0."""
    with serving(images, *STRICT, "--user", "1234567:0") as (_, client):
        push(client, "a/b", b"content")


def test_beyond_loopback_it_stays_closed_and_says_how_to_open_it(images: Images) -> None:
    said = images.refuse().both
    assert "http.host is 0.0.0.0 and auth.mode is open" in said
    assert "--insecure-open" in said
    assert "STOWAGE_ADMIN_PASSWORD" not in said


def test_a_password_opens_nothing_while_there_are_no_users(images: Images) -> None:
    said = images.refuse("--env", "STOWAGE_ADMIN_PASSWORD=secret").both
    assert "STOWAGE_ADMIN_PASSWORD protects nothing: nobody logs in, while auth.mode is open" in said
    assert "secret" not in said


def test_told_to_be_open_it_is_and_is_healthy(images: Images) -> None:
    """With the image's own address and port, in a network of its own."""
    with images.start(*STRICT, network="none", command=("serve", "--insecure-open")) as container:
        deadline = time.monotonic() + 300
        while not container.is_healthy():
            assert container.state()["Running"], container.log()
            assert time.monotonic() < deadline, container.log()
        asked = "import http.client as h; c = h.HTTPConnection('127.0.0.1', 5000); c.request('GET', '/v2/')"
        container.run("python", "-c", f"{asked}; assert c.getresponse().status == 200")


def test_where_people_log_in_it_starts_and_the_first_password_is_with_the_data(images: Images) -> None:
    """As docs/install.md has it: without a word on its command line."""
    with images.start(*STRICT, "--env", "STOWAGE_AUTH__MODE=users", network="none", command=()) as container:
        deadline = time.monotonic() + 300
        while not container.is_healthy():
            assert container.state()["Running"], container.log()
            assert time.monotonic() < deadline, container.log()
        password = container.run("cat", "/var/lib/stowage/admin-password").stdout.strip()
        asked = f"""
import base64, http.client as h
def status(header):
    c = h.HTTPConnection('127.0.0.1', 5000)
    c.request('GET', '/v2/', headers=header)
    return c.getresponse().status
shown = base64.b64encode(b'admin:{password}').decode()
assert [status({{}}), status({{'Authorization': f'Basic {{shown}}'}})] == [401, 200]
"""
        container.run("python", "-c", asked)


def test_its_health_follows_the_configuration(images: Images, certificate: Certificate, tmp_path: Path) -> None:
    """Another port, and TLS, from a file."""
    key, shown = tmp_path / "tls.key", tmp_path / "tls.pem"
    shutil.copy(certificate.key, key)
    shutil.copy(certificate.certificate, shown)
    key.chmod(0o644)  # the image's user has to read it
    port = free_port()
    tls = "tls: {certificate: /etc/stowage/tls.pem, key: /etc/stowage/tls.key}"
    (tmp_path / "stowage.yaml").write_text(f"http:\n  port: {port}\n  {tls}\n")
    tmp_path.chmod(0o755)
    options = ("--volume", f"{tmp_path}:/etc/stowage:ro", "--env", "STOWAGE_CONFIG=/etc/stowage/stowage.yaml")
    with (
        images.start(*STRICT, *options, "--env", "STOWAGE_HTTP__HOST=127.0.0.1") as container,
        httpx.Client(base_url=f"https://127.0.0.1:{port}", trust_env=False, verify=False) as client,  # noqa: S501 - a certificate made for this test
    ):
        wait_until_ready(container, client)
        eventually(container.is_healthy)  # a machine that has much to do may need longer than it may take
        assert container.run("stowage", "--version").stdout.startswith("stowage ")


def test_it_is_not_healthy_while_nobody_answers(images: Images) -> None:
    with images.start("--entrypoint", "sleep", network="none", command=("600",)) as container:
        assert not container.is_healthy()


def test_a_stop_lets_a_push_end(images: Images) -> None:
    """SIGTERM while a body is on its way: the push is answered, then the container ends with status 0."""
    blob = os.urandom(4_000_000)
    with serving(images) as (container, client):
        digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
        connection = http.client.HTTPConnection("127.0.0.1", client.base_url.port, timeout=60)
        connection.putrequest("POST", f"/v2/a/b/blobs/uploads/?digest={digest}")
        connection.putheader("Content-Length", str(len(blob)))
        connection.endheaders(blob[:1_000_000])
        status: list[int] = []
        stopping = threading.Thread(target=lambda: status.append(container.stop()))
        stopping.start()
        refused = False
        while not refused:  # until the server takes no more connections
            try:
                httpx.get(f"http://{address(client)}/healthz", trust_env=False, timeout=10)
            except httpx.TransportError:
                refused = True
        assert stopping.is_alive()
        connection.send(blob[1_000_000:])
        assert connection.getresponse().status == httpx.codes.CREATED
        connection.close()
        stopping.join(300)
    assert status == [0]


def test_it_is_small(images: Images) -> None:
    """Without what only building needs. The figure includes Stowage, its dependencies and their bytecode."""
    beyond = images.about(IMAGE)["Size"] - images.about(BASE)["Size"]
    assert beyond < _MOST_BEYOND_THE_BASE
    with images.files(IMAGE) as root:
        [packages] = (root / "opt" / "stowage" / "lib").glob("python3.*/site-packages")
        names = {entry.name for entry in packages.iterdir()}
        assert {"registry", "storage", "auth", "uvloop"} <= names
        assert names & {"pip", "setuptools", "wheel", "pytest", "tests"} == set()
        assert [folder for folder in packages.rglob("*") if folder.is_dir() and folder.name in {"test", "tests"}] == []
        assert list((packages / "registry").glob("__pycache__/*.pyc")), "bytecode saves time at each start"
        assert not (root / "src").exists()


def test_nothing_of_the_build_stays_in_it(images: Images) -> None:
    """Not pip's settings, which were handed in as a secret, nor where the wheels came from."""
    about = images.about(IMAGE)
    assert "no-index" not in json.dumps(about)
    assert "find-links" not in json.dumps(about)
    with images.files(IMAGE) as root:
        assert not (root / "etc" / "pip.conf").exists()
        assert not (root / "wheels").exists() or not any((root / "wheels").iterdir())


def test_it_says_what_it_is(images: Images) -> None:
    config = images.about(IMAGE)["Config"]
    assert config["User"] == f"{_USER}:{_USER}"
    assert config["ExposedPorts"] == {"5000/tcp": {}}
    assert config["Volumes"] == {"/var/lib/stowage": {}}
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
