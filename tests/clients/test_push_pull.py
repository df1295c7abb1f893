"""What every client does with every registry: push, pull, find layers again, start over after being cut off."""

import os
import signal
from pathlib import Path

import httpx
import pytest

from tests.clients.adapters import Client
from tests.clients.engines import Docker, Podman
from tests.clients.stored import stored_manifest
from tests.support.gate import Gate
from tests.support.images import MESSAGE, Image, build_image, build_layer
from tests.support.server import Server, ServerFactory

_HELD_AFTER = 8 * 1024 * 1024
_SHARED = 4 * 1024 * 1024
_LAYERS_AT_LEAST = 1_000_000
_WITHOUT_LAYERS = 50_000
"""More than a push without layers sends, and much less than the layers have."""


@pytest.mark.parametrize("name", ["one", "five/level/with_under.score/and-dash/name"])
def test_an_image_survives_the_round_trip(
    any_client: Client, server: Server, client: httpx.Client, repository: str, image: Image, name: str
) -> None:
    """What was pushed, removed and pulled back has the same id, layers and files."""
    reference = f"{server.address}/{repository}/{name}:v1"
    any_client.load(image, reference)
    any_client.push(reference)
    any_client.remove(reference)
    stored = stored_manifest(client, f"{repository}/{name}", "v1")
    assert stored.json()["config"]["digest"] == image.config_digest
    any_client.pull(reference)
    any_client.look(reference).is_same_as(image)


def test_an_image_is_pulled_by_digest(
    any_client: Client, server: Server, client: httpx.Client, repository: str, image: Image
) -> None:
    """The digest keeps naming what was pushed first when the tag has moved on."""
    name = f"{server.address}/{repository}"
    any_client.load(image, f"{name}:latest")
    any_client.push(f"{name}:latest")
    any_client.remove(f"{name}:latest")
    stored = stored_manifest(client, repository, "latest")
    digest = stored.headers["Docker-Content-Digest"]
    moved = client.put(
        f"/v2/{repository}/manifests/latest",
        content=stored.content + b"\n",  # the same image under another digest
        headers={"Content-Type": stored.headers["Content-Type"]},
    )
    assert moved.status_code == httpx.codes.CREATED
    any_client.pull(f"{name}@{digest}")
    any_client.look(f"{name}@{digest}").is_same_as(image)


def test_what_is_not_there_is_an_error_a_person_understands(
    any_client: Client, server: Server, repository: str, image: Image
) -> None:
    """A missing tag and a missing repository are told as such."""
    name = f"{server.address}/{repository}"
    any_client.pull_missing(f"{name}:nothing")
    any_client.load(image, f"{name}:here")
    any_client.push(f"{name}:here")
    any_client.pull_missing(f"{name}:nothing")


def test_each_client_pulls_what_each_pushed(
    writer: Client, any_client: Client, server: Server, repository: str, image: Image
) -> None:
    """Manifests and layers of one client suit every other."""
    reference = f"{server.address}/{repository}:shared"
    writer.load(image, reference)
    writer.push(reference)
    writer.remove(reference)
    any_client.pull(reference)
    any_client.look(reference).is_same_as(image)


@pytest.mark.parametrize("name", ["ctr", "skopeo", "crane", "regctl"])
def test_some_clients_push_the_bytes_that_they_were_given(
    name: str, request: pytest.FixtureRequest, server: Server, client: httpx.Client, repository: str, image: Image
) -> None:
    """The digest is the same in the client's store and in the registry."""
    pushing: Client = request.getfixturevalue(name)
    pushing.load(image, f"{server.address}/{repository}:v1")
    pushing.push(f"{server.address}/{repository}:v1")
    assert stored_manifest(client, repository, "v1").content == image.manifest


def test_pushes_at_once_share_layers(
    all_clients: list[Client], server: Server, client: httpx.Client, repository: str, image: Image, tmp_path: Path
) -> None:
    """Every client pushes an image of its own on the same layers, half of them to either of two repositories."""
    shared = [*image.layers, build_layer({"data/shared": os.urandom(_SHARED)}, level=0)]
    pushes = []
    for number, pushing in enumerate(all_clients):
        made = build_image([*shared, build_layer({MESSAGE: pushing.name.encode()})])
        reference = f"{server.address}/{repository}/{number % 2}:{pushing.name}"
        pushing.load(made, reference)
        pushes.append((pushing, made, reference))
    started = [pushing.start_push(reference, tmp_path / pushing.name) for pushing, _, reference in pushes]
    for (pushing, _, reference), process in zip(pushes, started, strict=True):
        pushing.end_push(process, reference, tmp_path / pushing.name)
    for number, (pushing, made, reference) in enumerate(pushes):
        pushing.remove(reference)
        stored_manifest(client, f"{repository}/{number % 2}", pushing.name)
        puller = all_clients[number - 1]
        puller.pull(reference)
        puller.look(reference).is_same_as(made)


def test_layers_that_are_there_are_not_sent_again(
    any_client: Client, server: Server, client: httpx.Client, repository: str, image: Image
) -> None:
    """Of another image with the same layers, only config and manifest are sent."""
    other = build_image(image.layers, command=["/bin/busybox", "false"])
    with Gate(server.port) as gate:
        name = f"{gate.address}/{repository}"
        for tag, content in [("one", image), ("two", other)]:
            any_client.load(content, f"{name}:{tag}")
        any_client.push(f"{name}:one")
        sent = gate.sent
        assert sent > _LAYERS_AT_LEAST
        any_client.push(f"{name}:two")
        assert gate.sent - sent < _WITHOUT_LAYERS
    assert stored_manifest(client, repository, "two").json()["config"]["digest"] == other.config_digest


@pytest.mark.parametrize("name", ["podman", "buildah", "docker", "skopeo", "regctl"])
def test_layers_of_another_repository_are_mounted(
    name: str, request: pytest.FixtureRequest, server: Server, client: httpx.Client, repository: str, image: Image
) -> None:
    """The same image in a second repository costs no upload of a layer; until then the layers are not seen there."""
    mounting: Client = request.getfixturevalue(name)
    first, second = f"{repository}/first", f"{repository}/second"
    with Gate(server.port) as gate:
        for target in (first, second):
            mounting.load(image, f"{gate.address}/{target}:v1")
        mounting.push(f"{gate.address}/{first}:v1")
        for layer in stored_manifest(client, first, "v1").json()["layers"]:
            assert client.head(f"/v2/{second}/blobs/{layer['digest']}").status_code == httpx.codes.NOT_FOUND
        sent = gate.sent
        assert sent > _LAYERS_AT_LEAST
        mounting.push(f"{gate.address}/{second}:v1")
        assert gate.sent - sent < _WITHOUT_LAYERS
    stored_manifest(client, second, "v1")


@pytest.mark.parametrize("engine", ["podman", "docker"])
def test_a_pulled_image_runs(
    engine: str, request: pytest.FixtureRequest, server: Server, repository: str, image: Image
) -> None:
    """A container of an image that went through the registry prints what it should."""
    client: Podman | Docker = request.getfixturevalue(engine)
    reference = f"{server.address}/{repository}:run"
    client.load(image, reference)
    client.push(reference)
    client.remove(reference)
    client.pull(reference)
    assert client.run(reference).encode() == image.files[MESSAGE]


def test_a_push_killed_half_way_is_repeated(
    any_client: Client, server: Server, client: httpx.Client, repository: str, large: Image, tmp_path: Path
) -> None:
    """Nothing of a push that was killed can be seen, and it is no hindrance to the next one."""
    with Gate(server.port, hold_after=_HELD_AFTER) as gate:
        reference = f"{gate.address}/{repository}:large"
        any_client.load(large, reference)
        process = any_client.start_push(reference, tmp_path / "push.log")
        try:
            assert gate.held.wait(300), (tmp_path / "push.log").read_text(errors="replace")
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
            gate.cut()
        assert client.head(f"/v2/{repository}/manifests/large").status_code == httpx.codes.NOT_FOUND
        for layer in large.layers:
            assert client.head(f"/v2/{repository}/blobs/{layer.digest}").status_code == httpx.codes.NOT_FOUND
        any_client.push(reference)
        any_client.remove(reference)
        stored_manifest(client, repository, "large")
        any_client.pull(reference)
        any_client.look(reference).is_same_as(large)
        any_client.remove(reference)


def test_a_push_is_repeated_after_the_server_was_killed(
    skopeo: Client, fresh_server: ServerFactory, repository: str, large: Image, tmp_path: Path
) -> None:
    """A server that died in the middle of an upload starts again on its data, and takes the push then."""
    server = fresh_server()
    with Gate(server.port, hold_after=_HELD_AFTER) as gate:
        reference = f"{gate.address}/{repository}:large"
        skopeo.load(large, reference)
        process = skopeo.start_push(reference, tmp_path / "push.log")
        assert gate.held.wait(300), (tmp_path / "push.log").read_text(errors="replace")
        server.kill()
        gate.cut()
        assert process.wait(300) != 0
        server.start()
        skopeo.push(reference)
        skopeo.remove(reference)
        skopeo.pull(reference)
        skopeo.look(reference).is_same_as(large)
        skopeo.remove(reference)


def test_docker_resumes_a_pull_that_was_cut(
    docker: Docker, server: Server, repository: str, large: Image, tmp_path: Path
) -> None:
    """The engine asks for the rest with Range, and does not start over."""
    size = len(large.layers[0].blob)
    with Gate(server.port, cut_after=size * 3 // 4) as gate:
        reference = f"{gate.address}/{repository}:large"
        docker.load(large, reference)
        docker.push(reference)
        docker.remove(reference)
        docker.pull(reference)
        docker.look(reference).is_same_as(large)
        docker.remove(reference)
        assert gate.received < size * 5 // 4
