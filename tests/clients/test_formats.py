"""Manifests and layers in every format that clients write: OCI, Docker schema 2, zstd; images that they built."""

import json
import os
from pathlib import Path

import httpx
import pytest

from tests.clients.adapters import Client
from tests.clients.engines import Buildah, Ctr, Docker, Podman
from tests.clients.folders import Crane, Regctl, Skopeo
from tests.clients.stored import stored_manifest
from tests.support.images import DOCKER_MANIFEST, OCI_LAYER_ZSTD, OCI_MANIFEST, Image, merged_files, write_layout
from tests.support.server import Server

_CHUNK = 128 * 1024


@pytest.mark.parametrize("pusher", ["podman", "buildah"])
@pytest.mark.parametrize(("kind", "media_type"), [("v2s2", DOCKER_MANIFEST), ("oci", OCI_MANIFEST)])
def test_podman_and_buildah_push_either_format(
    pusher: str,
    kind: str,
    media_type: str,
    request: pytest.FixtureRequest,
    ctr: Ctr,
    server: Server,
    client: httpx.Client,
    repository: str,
    image: Image,
) -> None:
    """The client itself and containerd take both back."""
    pushing: Podman | Buildah = request.getfixturevalue(pusher)
    reference = f"{server.address}/{repository}:{kind}"
    pushing.load(image, reference)
    pushing.tool.run("push", "--tls-verify=false", "--format", kind, reference)
    pushing.remove(reference)
    answer = stored_manifest(client, repository, kind)
    assert answer.headers["Content-Type"] == answer.json()["mediaType"] == media_type
    pulling: list[Client] = [pushing, ctr]
    for puller in pulling:
        puller.pull(reference)
        assert puller.look(reference).files.items() >= image.files.items()


def test_skopeo_converts_to_docker_schema_2(
    skopeo: Skopeo, docker: Docker, server: Server, client: httpx.Client, repository: str, image: Image, tmp_path: Path
) -> None:
    """What skopeo made of an OCI image is a Docker image to docker, and the same layers."""
    source = write_layout(tmp_path / "layout", image)
    reference = f"{server.address}/{repository}:v2s2"
    skopeo.tool.run(
        "copy", "--format", "v2s2", "--dest-tls-verify=false", f"oci:{source}:latest", f"docker://{reference}"
    )
    answer = stored_manifest(client, repository, "v2s2")
    assert answer.headers["Content-Type"] == answer.json()["mediaType"] == DOCKER_MANIFEST
    assert [layer["digest"] for layer in answer.json()["layers"]] == [layer.digest for layer in image.layers]
    docker.pull(reference)
    assert docker.look(reference).diff_ids == image.diff_ids


def test_docker_pushes_schema_2(
    docker: Docker, server: Server, client: httpx.Client, repository: str, image: Image
) -> None:
    reference = f"{server.address}/{repository}:v1"
    docker.load(image, reference)
    printed = docker.tool.run("push", reference).stdout
    answer = stored_manifest(client, repository, "v1")
    assert answer.headers["Content-Type"] == DOCKER_MANIFEST
    assert f"digest: {answer.headers['Docker-Content-Digest']}" in printed


def test_layers_in_zstd(
    skopeo: Skopeo,
    podman: Podman,
    buildah: Buildah,
    ctr: Ctr,
    server: Server,
    client: httpx.Client,
    repository: str,
    image: Image,
    tmp_path: Path,
) -> None:
    """Layers that skopeo compressed with zstd are stored as such, and podman, buildah and containerd unpack them."""
    plain, packed = write_layout(tmp_path / "gzip", image), tmp_path / "zstd"
    skopeo.tool.run("copy", "--dest-compress-format", "zstd", f"oci:{plain}:latest", f"oci:{packed}:latest")
    reference = f"{server.address}/{repository}:zstd"
    skopeo.tool.run("copy", "--dest-tls-verify=false", f"oci:{packed}:latest", f"docker://{reference}")
    layers = stored_manifest(client, repository, "zstd").json()["layers"]
    assert [layer["mediaType"] for layer in layers] == [OCI_LAYER_ZSTD] * len(image.layers)
    pulling: list[Podman | Buildah] = [podman, buildah]
    for puller in pulling:
        puller.pull(reference)
        puller.look(reference).is_same_as(image)
    ctr.pull(reference)
    assert ctr.unpacked(reference)


def test_regctl_pushes_layers_in_chunks(
    regctl: Regctl, server: Server, client: httpx.Client, repository: str, image: Image
) -> None:
    """Several PATCH with Content-Range make one blob."""
    reference = f"{server.address}/{repository}:chunks"
    size = str(_CHUNK)
    chunked = regctl.configured(server.address, "--tls", "disabled", "--blob-chunk", size, "--blob-max", size)
    chunked.load(image, reference)
    traced = chunked.tool.run("--verbosity", "trace", *chunked.push_command(reference)).both
    assert f"Content-Range:[{_CHUNK}-{2 * _CHUNK - 1}]" in traced
    assert stored_manifest(client, repository, "chunks").content == image.manifest
    chunked.remove(reference)
    chunked.pull(reference)
    chunked.look(reference).is_same_as(image)


def test_buildah_builds_on_a_stored_image(
    buildah: Buildah, server: Server, client: httpx.Client, repository: str, image: Image, tmp_path: Path
) -> None:
    """`FROM` an image of the registry: the new image has its layers and one more."""
    base, built = f"{server.address}/{repository}:base", f"{server.address}/{repository}:built"
    buildah.load(image, base)
    buildah.push(base)
    buildah.remove(base)
    (tmp_path / "more").write_text("added\n")
    (tmp_path / "Containerfile").write_text(f"FROM {base}\nCOPY more /more\n")
    buildah.tool.run("build", "--tls-verify=false", "--isolation", "chroot", "--layers", "--tag", built, tmp_path)
    buildah.push(built)
    buildah.remove(built)
    layers = [layer["digest"] for layer in stored_manifest(client, repository, "built").json()["layers"]]
    assert layers[:-1] == [layer["digest"] for layer in stored_manifest(client, repository, "base").json()["layers"]]
    buildah.pull(built)
    assert buildah.look(built).files == {**image.files, "more": b"added\n"}


def test_podman_builds_pushes_and_runs(
    podman: Podman, server: Server, client: httpx.Client, repository: str, tmp_path: Path
) -> None:
    """An image that podman built from a Containerfile, with a step that ran in it."""
    (tmp_path / "busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (tmp_path / "busybox").chmod(0o755)
    unique = os.urandom(8).hex()
    steps = [
        "FROM scratch",
        "COPY busybox /bin/sh",
        f"RUN echo built {unique} > /message",
        'CMD ["read m < /message; echo $m"]',
    ]
    steps.insert(1, 'ENTRYPOINT ["/bin/sh", "-c"]')
    (tmp_path / "Containerfile").write_text("\n".join(steps))
    reference = f"{server.address}/{repository}:built"
    podman.tool.run("build", "--network", "host", "--isolation", "chroot", "--layers", "--tag", reference, tmp_path)
    podman.push(reference)
    podman.remove(reference)
    assert len(stored_manifest(client, repository, "built").json()["layers"]) == 2
    podman.pull(reference)
    assert podman.run(reference) == f"built {unique}\n"


def test_skopeo_and_crane_read_what_is_stored(
    skopeo: Skopeo, crane: Crane, server: Server, client: httpx.Client, repository: str, image: Image, tmp_path: Path
) -> None:
    """Inspecting, validating and exporting without pulling give the image that was pushed."""
    reference = f"{server.address}/{repository}:v1"
    crane.load(image, reference)
    crane.push(reference)
    inspect = ("inspect", "--tls-verify=false")
    seen = json.loads(skopeo.tool.run(*inspect, f"docker://{reference}").stdout)
    assert (seen["Digest"], seen["RepoTags"]) == (image.digest, ["v1"])
    assert seen["Layers"] == [layer.digest for layer in image.layers]
    assert skopeo.tool.run(*inspect, "--raw", f"docker://{reference}").stdout.encode() == image.manifest
    assert skopeo.tool.run(*inspect, "--raw", "--config", f"docker://{reference}").stdout.encode() == image.config
    assert crane.tool.run("digest", reference).stdout.strip() == image.digest
    assert crane.tool.run("manifest", reference).stdout.encode() == image.manifest
    assert crane.tool.run("config", reference).stdout.encode() == image.config
    assert "PASS" in crane.tool.run("validate", "--remote", reference).both
    crane.tool.run("export", reference, tmp_path / "files.tar")
    assert merged_files([(tmp_path / "files.tar").read_bytes()]) == image.files


def test_a_client_changes_an_image_in_the_registry(
    crane: Crane,
    any_client: Client,
    server: Server,
    client: httpx.Client,
    repository: str,
    image: Image,
    tmp_path: Path,
) -> None:
    """`crane append` and `crane mutate` make new images of a stored one, which every client can pull."""
    base, changed = f"{server.address}/{repository}:base", f"{server.address}/{repository}:changed"
    crane.load(image, base)
    crane.push(base)
    (tmp_path / "layer.tar").write_bytes(image.layers[2].tar)
    crane.tool.run("append", "--base", base, "--new_layer", tmp_path / "layer.tar", "--new_tag", changed)
    crane.tool.run("mutate", "--label", "stage=changed", "--annotation", "org.example=1", changed, "--tag", changed)
    answer = stored_manifest(client, repository, "changed")
    assert len(answer.json()["layers"]) == len(image.layers) + 1
    assert answer.json()["annotations"] == {"org.example": "1"}
    any_client.pull(changed)
    assert any_client.look(changed).files.items() >= image.files.items()
    assert stored_manifest(client, repository, "base").headers["Docker-Content-Digest"] == image.digest
