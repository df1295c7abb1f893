"""Images for several platforms: OCI indexes and Docker's manifest lists."""

from pathlib import Path

import httpx
import pytest

from tests.clients.adapters import Client
from tests.clients.engines import Buildah, Ctr, Docker, Podman
from tests.clients.folders import Crane, Regctl, Skopeo
from tests.clients.stored import stored, stored_manifest
from tests.support.images import (
    DOCKER_LIST,
    OCI_INDEX,
    Image,
    build_index,
    digest_of,
    layout_blobs,
    layout_entry,
    sample_image,
    write_index_layout,
    write_layout,
)
from tests.support.server import Server


@pytest.fixture
def images() -> list[Image]:
    """One image for this machine's architecture, one for another."""
    return [sample_image(), sample_image(architecture="arm64", busybox=False)]


def children(answer: httpx.Response) -> dict[str, str]:
    """Digests in an index, by architecture."""
    return {entry["platform"]["architecture"]: entry["digest"] for entry in answer.json()["manifests"]}


def test_skopeo_copies_all_of_an_index(
    skopeo: Skopeo, server: Server, client: httpx.Client, repository: str, images: list[Image], tmp_path: Path
) -> None:
    """Index, images and blobs come back byte for byte, through a second repository too."""
    source = write_index_layout(tmp_path / "source", images)
    first, second = (f"docker://{server.address}/{repository}/{name}:all" for name in ("first", "second"))
    copy = ("copy", "--all", "--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false")
    skopeo.tool.run(*copy, f"oci:{source}:latest", first)
    skopeo.tool.run(*copy, first, second)
    skopeo.tool.run(*copy, second, f"oci:{tmp_path / 'back'}:latest")
    answer = stored(client, f"{repository}/second", "all")
    assert (answer.content, answer.headers["Content-Type"]) == (build_index(images), OCI_INDEX)
    assert layout_blobs(tmp_path / "back") == layout_blobs(source)


def test_crane_pushes_and_pulls_an_index(
    crane: Crane, server: Server, client: httpx.Client, repository: str, images: list[Image], tmp_path: Path
) -> None:
    """Index, images and blobs come back byte for byte; one platform of it can be had alone."""
    reference = f"{server.address}/{repository}:all"
    source = write_index_layout(tmp_path / "source", images)
    crane.tool.run("push", "--index", source, reference)
    [child] = stored(client, repository, "all").json()["manifests"]  # crane pushes the layout's own index around it
    assert child["digest"] == digest_of(build_index(images))
    crane.tool.run("pull", "--format=oci", f"{server.address}/{repository}@{child['digest']}", tmp_path / "back")
    assert layout_blobs(tmp_path / "back") == layout_blobs(source)
    assert layout_entry(tmp_path / "back")["digest"] == child["digest"]
    one = crane.tool.run("digest", "--platform", "linux/arm64", f"{server.address}/{repository}@{child['digest']}")
    assert one.stdout.strip() == images[1].digest


def test_crane_makes_an_index_of_stored_images(
    crane: Crane, server: Server, client: httpx.Client, repository: str, images: list[Image], tmp_path: Path
) -> None:
    name = f"{server.address}/{repository}"
    for image in images:
        layout = write_layout(tmp_path / image.platform["architecture"], image)
        crane.tool.run("push", layout, f"{name}:{image.platform['architecture']}")
    crane.tool.run(
        "index", "append", "--manifest", f"{name}:amd64", "--manifest", f"{name}:arm64", "--tag", f"{name}:all"
    )
    assert children(stored(client, repository, "all")) == {"amd64": images[0].digest, "arm64": images[1].digest}
    assert "PASS" in crane.tool.run("validate", "--remote", f"{name}:all").both


@pytest.mark.parametrize(
    ("maker", "kind", "media_type"), [("podman", "oci", OCI_INDEX), ("buildah", "v2s2", DOCKER_LIST)]
)
def test_a_manifest_list_is_made_and_pushed(
    maker: str,
    kind: str,
    media_type: str,
    request: pytest.FixtureRequest,
    podman: Podman,
    docker: Docker,
    ctr: Ctr,
    server: Server,
    client: httpx.Client,
    repository: str,
    images: list[Image],
) -> None:
    """Podman, docker and ctr all get this machine's image by the list's tag."""
    making: Podman | Buildah = request.getfixturevalue(maker)
    name = f"{server.address}/{repository}"
    making.tool.run("manifest", "create", f"{name}:all")
    for image in images:
        reference = f"{name}:{image.platform['architecture']}"
        making.load(image, reference)
        making.tool.run("manifest", "add", f"{name}:all", f"containers-storage:{reference}")
    push = ("manifest", "push", "--all", "--tls-verify=false", "--format", kind)
    making.tool.run(*push, f"{name}:all", f"docker://{name}:all")
    answer = stored(client, repository, "all")
    assert answer.headers["Content-Type"] == answer.json()["mediaType"] == media_type
    for digest in children(answer).values():
        stored_manifest(client, repository, digest)
    assert children(answer).keys() == {"amd64", "arm64"}
    making.tool.run("manifest", "rm", f"{name}:all")
    pulling: list[Client] = [podman, docker]
    for puller in pulling:
        puller.pull(f"{name}:all")
        assert puller.look(f"{name}:all").diff_ids == images[0].diff_ids
    ctr.pull(f"{name}:all")
    assert ctr.unpacked(f"{name}:all")


def test_ctr_pulls_and_pushes_all_of_an_index(
    ctr: Ctr, crane: Crane, server: Server, client: httpx.Client, repository: str, images: list[Image], tmp_path: Path
) -> None:
    """Every platform, byte for byte."""
    name = f"{server.address}/{repository}"
    crane.tool.run("push", "--index", write_index_layout(tmp_path / "source", images), f"{name}:outer")
    [child] = stored(client, repository, "outer").json()["manifests"]
    first, second = f"{name}@{child['digest']}", f"{name}/copy:all"
    ctr.tool.run("images", "pull", "--plain-http", "--all-platforms", "--snapshotter", "native", first)
    ctr.tool.run("images", "tag", first, second)
    ctr.push(second)
    answer = stored(client, f"{repository}/copy", "all")
    assert (answer.content, answer.headers["Content-Type"]) == (build_index(images), OCI_INDEX)
    for image in images:
        assert stored_manifest(client, f"{repository}/copy", image.digest).content == image.manifest


@pytest.mark.parametrize("media_type", [OCI_INDEX, DOCKER_LIST])
def test_regctl_makes_and_copies_an_index(
    regctl: Regctl, server: Server, client: httpx.Client, repository: str, images: list[Image], media_type: str
) -> None:
    """Of images in the registry; of one platform, a copy has only that."""
    name = f"{server.address}/{repository}"
    for image in images:
        regctl.load(image, f"{name}:{image.platform['architecture']}")
        regctl.push(f"{name}:{image.platform['architecture']}")
    access, create = regctl.access(name), ("index", "create", "--media-type", media_type)
    regctl.tool.run(*access, *create, "--ref", f"{name}:amd64", "--ref", f"{name}:arm64", f"{name}:all")
    regctl.tool.run(*access, "image", "copy", f"{name}:all", f"{name}/copy:all")
    original, copy = stored(client, repository, "all"), stored(client, f"{repository}/copy", "all")
    assert original.headers["Content-Type"] == copy.headers["Content-Type"] == media_type
    assert original.content == copy.content
    assert children(copy) == {"amd64": images[0].digest, "arm64": images[1].digest}
    for image in images:
        assert stored_manifest(client, f"{repository}/copy", image.digest).content == image.manifest
    regctl.tool.run(*access, "image", "copy", "--platform", "linux/arm64", f"{name}:all", f"{name}/copy:one")
    assert stored_manifest(client, f"{repository}/copy", "one").content == images[1].manifest


def test_docker_makes_a_manifest_list(
    docker: Docker, server: Server, client: httpx.Client, repository: str, images: list[Image]
) -> None:
    """`docker manifest` pushes a list of images that are in the registry."""
    name = f"{server.address}/{repository}"
    for image in images:
        reference = f"{name}:{image.platform['architecture']}"
        docker.load(image, reference)
        docker.push(reference)
    docker.tool.run("manifest", "create", "--insecure", f"{name}:all", f"{name}:amd64", f"{name}:arm64")
    docker.tool.run("manifest", "push", "--insecure", "--purge", f"{name}:all")
    answer = stored(client, repository, "all")
    assert answer.headers["Content-Type"] == DOCKER_LIST
    digests = {tag: stored(client, repository, tag).headers["Docker-Content-Digest"] for tag in ("amd64", "arm64")}
    assert children(answer) == digests
