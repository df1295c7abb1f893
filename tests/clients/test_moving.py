"""Taking over what clients pushed to other registries, and layouts that clients read and write."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.cli.commands import printed, refused
from tests.clients.adapters import Client
from tests.clients.engines import Docker, Podman
from tests.clients.folders import Crane, Skopeo
from tests.support.images import Image, read_directory, read_layout, sample_image, write_index_layout
from tests.support.peers import Peer, assert_same
from tests.support.s3 import S3Server
from tests.support.server import Server, ServerFactory, new_client
from tests.takeover.places import There, in_bucket, in_folder


@pytest.fixture
def there(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[There]:
    """A folder, or a bucket."""
    if request.param == "folder":
        yield in_folder(tmp_path / "peer")
        return
    with S3Server(tmp_path / "s3") as store:
        yield in_bucket(tmp_path / "peer", store)


@pytest.fixture
def peer(request: pytest.FixtureRequest, there: There) -> Iterator[Peer]:
    """Another registry, running."""
    with there.peer(request.param) as running:
        yield running


@pytest.mark.parametrize(
    ("peer", "there"),
    [("distribution", "folder"), ("docker-registry", "folder"), ("distribution", "bucket")],
    indirect=True,
)
def test_what_clients_pushed_elsewhere_is_pulled_from_here(
    there: There, peer: Peer, fresh_server: ServerFactory, podman: Podman, skopeo: Skopeo, crane: Crane, tmp_path: Path
) -> None:
    """Single images of each client, lists and indexes; a tag that moved, and one that was deleted."""
    clients: dict[str, Client] = {"podman": podman, "skopeo": skopeo, "crane": crane}
    images = {name: sample_image() for name in clients}
    for name, client in clients.items():
        reference = f"{peer.address}/{name}/deep/er:v1"
        client.load(images[name], reference)
        client.push(reference)
        client.remove(reference)
    platforms = [sample_image(architecture=one, busybox=False) for one in ("amd64", "arm64")]
    layout = write_index_layout(tmp_path / "index", platforms)
    for kind, tag in (("oci", "index"), ("v2s2", "list")):
        skopeo.tool.run(
            "copy", "--all", "--format", kind, "--dest-tls-verify=false",
            f"oci:{layout}:latest", f"docker://{peer.address}/multi:{tag}",
        )  # fmt: skip
    crane.tool.run("copy", "--insecure", f"{peer.address}/crane/deep/er:v1", f"{peer.address}/multi:moved")
    crane.tool.run("copy", "--insecure", f"{peer.address}/multi:index", f"{peer.address}/multi:moved")
    crane.tool.run("tag", "--insecure", f"{peer.address}/multi:index", "deleted")
    shutil.rmtree(peer.root / "docker/registry/v2/repositories/multi/_manifests/tags/deleted")  # as `untag` does

    server = fresh_server(**there.settings)
    command = ("import", "--from", there.source, "--data", str(server.data), "--json")
    report = json.loads(printed(*command, **there.settings))
    assert report["leftOut"]["count"] == 0
    assert (report["repositories"], report["tags"], report["history"]) == (4, 6, 1)
    with new_client(server) as here:
        for name in clients:
            assert_same(peer.client, here, f"{name}/deep/er", ["v1"])
        assert_same(peer.client, here, "multi", ["index", "list", "moved"])
        assert here.get("/v2/multi/tags/list").json()["tags"] == ["index", "list", "moved"]
    assert [*server.stored.objects(), *server.stored.uploads()] == []
    for name, client in clients.items():
        reference = f"{server.address}/{name}/deep/er:v1"
        client.pull(reference)
        client.look(reference).is_same_as(images[name])


def test_skopeo_reads_what_is_exported(
    server: Server, client: httpx.Client, skopeo: Skopeo, repository: str, image: Image, tmp_path: Path
) -> None:
    other = sample_image(busybox=False)
    for name, pushed in ((repository, image), (f"{repository}/other", other)):
        skopeo.load(pushed, f"{server.address}/{name}:v1")
        skopeo.push(f"{server.address}/{name}:v1")
    data = ("--data", str(server.data))
    single, several = tmp_path / "single", tmp_path / "several.tar"
    printed("export", f"{repository}:v1", *data, "--to", str(single))
    printed("export", repository, f"{repository}/other", *data, "--to", str(several))
    for source, expected in (
        (f"oci:{single}:v1", image),
        (f"oci-archive:{several}:{repository}:v1", image),
        (f"oci-archive:{several}:{repository}/other:v1", other),
    ):
        target = tmp_path / "copied"
        skopeo.tool.run("copy", source, f"dir:{target}")
        assert read_directory(target) == expected
        shutil.rmtree(target)
    assert read_layout(single) == image


def test_what_clients_export_is_loaded(
    server: Server,
    client: httpx.Client,
    skopeo: Skopeo,
    podman: Podman,
    repository: str,
    image: Image,
    tmp_path: Path,
) -> None:
    data = ("--data", str(server.data))
    skopeo.load(image, "kept/here:v1")
    kept = f"dir:{skopeo.place('kept/here:v1')}"
    skopeo.tool.run("copy", kept, f"oci:{tmp_path / 'layout'}:tagged")
    skopeo.tool.run("copy", kept, f"oci-archive:{tmp_path / 'archive.tar'}")
    printed("load", "--from", str(tmp_path / "layout"), *data, "--repository", repository)
    printed("load", "--from", str(tmp_path / "archive.tar"), *data, "--repository", repository, "--tag", "named")
    for tag in ("tagged", "named"):
        assert client.get(f"/v2/{repository}/manifests/{tag}").content == image.manifest

    reference = f"{server.address}/{repository}/podman:v1"
    podman.load(image, reference)
    podman.tool.run("save", "--format", "oci-archive", "--output", tmp_path / "podman.tar", reference)
    podman.remove(reference)
    printed("load", "--from", str(tmp_path / "podman.tar"), *data)
    podman.pull(reference)
    podman.look(reference).is_same_as(image)


def test_what_older_docker_saved_is_loaded_after_the_conversion_that_is_named(
    server: Server, skopeo: Skopeo, docker: Docker, repository: str, image: Image, tmp_path: Path
) -> None:
    data, saved = ("--data", str(server.data)), tmp_path / "docker.tar"
    reference = f"{server.address}/{repository}:v1"
    docker.load(image, reference)
    docker.tool.run("save", "--output", saved, reference)
    docker.remove(reference)
    assert "skopeo copy docker-archive:FILE oci:DIR:TAG" in refused("load", "--from", str(saved), *data)
    skopeo.tool.run("copy", f"docker-archive:{saved}", f"oci:{tmp_path / 'converted'}:v1")
    printed("load", "--from", str(tmp_path / "converted"), *data, "--repository", repository)
    docker.pull(reference)
    seen = docker.look(reference)
    assert seen.diff_ids == image.diff_ids
    assert image.files.items() <= seen.files.items()
