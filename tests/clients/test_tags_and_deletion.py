"""Listing, tagging, copying and deleting, as people do it with skopeo, crane and podman."""

import json
from pathlib import Path

import httpx
import pytest

from tests.clients.adapters import Client, Crane, Podman, Skopeo
from tests.clients.stored import is_missing, stored, stored_manifest
from tests.support.gate import Gate
from tests.support.images import OCI_MANIFEST, Image, build_image, read_directory
from tests.support.server import Server

_TAGS = ["1.0", "1.1", "1.10", "Upper-Case_tag.x", "latest"]
_WITHOUT_LAYERS = 50_000


@pytest.fixture
def pushed(crane: Crane, server: Server, repository: str, image: Image) -> Image:
    """An image that is in the repository as `latest`."""
    reference = f"{server.address}/{repository}:latest"
    crane.load(image, reference)
    crane.push(reference)
    return image


def test_every_client_lists_tags(
    skopeo: Skopeo, crane: Crane, podman: Podman, server: Server, repository: str, pushed: Image
) -> None:
    name = f"{server.address}/{repository}"
    for tag in _TAGS[:-1]:
        crane.tool.run("tag", f"{name}:latest", tag)
    assert sorted(crane.tool.run("ls", name).stdout.split()) == sorted(_TAGS)
    listed = json.loads(skopeo.tool.run("list-tags", "--tls-verify=false", f"docker://{name}").stdout)
    assert (listed["Repository"], sorted(listed["Tags"])) == (name, sorted(_TAGS))
    search = ("search", "--list-tags", "--tls-verify=false", "--format", "json")
    [found] = json.loads(podman.tool.run(*search, name).stdout)
    assert (found["Name"], sorted(found["Tags"])) == (name, sorted(_TAGS))
    assert crane.tool.run("digest", f"{name}:1.10").stdout.strip() == pushed.digest


def test_a_list_of_tags_longer_than_one_page(
    crane: Crane, server: Server, repository: str, client: httpx.Client
) -> None:
    """Crane asks for pages of 1000 and follows the links."""
    empty = build_image([])
    started = client.post(f"/v2/{repository}/blobs/uploads/?digest={empty.config_digest}", content=empty.config)
    assert started.status_code == httpx.codes.CREATED
    tags = [f"t{number}" for number in range(1100)]
    for first in range(0, len(tags), 100):
        answer = client.put(
            f"/v2/{repository}/manifests/{empty.digest}",
            params={"tag": tags[first : first + 100]},
            content=empty.manifest,
            headers={"Content-Type": OCI_MANIFEST},
        )
        assert answer.status_code == httpx.codes.CREATED
    assert sorted(crane.tool.run("ls", f"{server.address}/{repository}").stdout.split()) == sorted(tags)


def test_crane_lists_repositories(crane: Crane, server: Server, repository: str, pushed: Image) -> None:
    assert repository in crane.tool.run("catalog", server.address).stdout.split()


def test_a_copy_mounts_what_is_there(
    crane: Crane, skopeo: Skopeo, server: Server, client: httpx.Client, repository: str, pushed: Image
) -> None:
    """Copying between repositories keeps the digest and sends no layer."""
    with Gate(server.port) as gate:
        name = f"{gate.address}/{repository}"
        crane.tool.run("copy", f"{name}:latest", f"{name}/copy:crane")
        both = ("--src-tls-verify=false", "--dest-tls-verify=false")
        skopeo.tool.run("copy", *both, f"docker://{name}:latest", f"docker://{name}/copy:skopeo")
        assert gate.sent < _WITHOUT_LAYERS
    for tag in ("crane", "skopeo"):
        assert stored_manifest(client, f"{repository}/copy", tag).content == pushed.manifest


def test_a_whole_repository_is_synchronised(
    skopeo: Skopeo, crane: Crane, server: Server, repository: str, client: httpx.Client, pushed: Image, tmp_path: Path
) -> None:
    """`skopeo sync` takes every tag to a folder, and from there to another repository."""
    name = f"{server.address}/{repository}"
    crane.tool.run("tag", f"{name}:latest", "old")
    sync = ("sync", "--scoped", "--src-tls-verify=false", "--dest-tls-verify=false")
    skopeo.tool.run(*sync, "--src", "docker", "--dest", "dir", name, tmp_path)
    for tag in ("latest", "old"):
        assert read_directory(tmp_path / f"{name}:{tag}").manifest == pushed.manifest
    skopeo.tool.run(
        *sync[:1], *sync[2:], "--src", "docker", "--dest", "docker", name, f"{server.address}/{repository}/to"
    )
    target = f"{repository}/to/{repository.rsplit('/', 1)[1]}"
    assert stored_manifest(client, target, "old").content == pushed.manifest


def test_crane_deletes_a_tag_and_leaves_the_image(
    crane: Crane, server: Server, client: httpx.Client, repository: str, pushed: Image
) -> None:
    """DELETE by tag removes the tag alone; by digest, the manifest with every tag of it."""
    name = f"{server.address}/{repository}"
    for tag in ("kept", "other"):
        crane.tool.run("tag", f"{name}:latest", tag)
    crane.tool.run("delete", f"{name}:latest")
    assert is_missing(client, repository, "latest")
    assert stored(client, repository, "kept").content == pushed.manifest
    crane.tool.run("delete", f"{name}@{pushed.digest}")
    assert is_missing(client, repository, "kept")
    assert is_missing(client, repository, pushed.digest)
    assert "unknown" in crane.tool.fail("delete", f"{name}@{pushed.digest}").both.lower()


def test_skopeo_deletes_an_image(
    skopeo: Skopeo, any_client: Client, server: Server, client: httpx.Client, repository: str, pushed: Image
) -> None:
    """After `skopeo delete` no client gets the image; pushed again, all is as before."""
    name = f"{server.address}/{repository}"
    skopeo.tool.run("delete", "--tls-verify=false", f"docker://{name}:latest")
    assert is_missing(client, repository, "latest")
    assert is_missing(client, repository, pushed.digest)
    assert "unknown" in any_client.pull_missing(f"{name}:latest").both.lower()
    any_client.load(pushed, f"{name}:again")
    any_client.push(f"{name}:again")
    any_client.remove(f"{name}:again")
    any_client.pull(f"{name}:again")
    any_client.look(f"{name}:again").is_same_as(pushed)
