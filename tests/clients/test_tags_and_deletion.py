"""Listing, tagging, copying and deleting, as people do it with each client that can."""

import json
from pathlib import Path

import httpx
import pytest

from tests.clients.adapters import Client
from tests.clients.engines import Ctr, Podman
from tests.clients.folders import Crane, Regctl, Skopeo
from tests.clients.stored import is_missing, stored, stored_manifest, stored_tags
from tests.support.gate import Gate
from tests.support.images import MESSAGE, OCI_MANIFEST, Image, build_image, read_directory
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
    skopeo: Skopeo,
    crane: Crane,
    podman: Podman,
    regctl: Regctl,
    server: Server,
    repository: str,
    pushed: Image,
) -> None:
    name = f"{server.address}/{repository}"
    for tag in _TAGS[:-1]:
        crane.tool.run("tag", f"{name}:latest", tag)
    assert sorted(crane.tool.run("ls", name).stdout.split()) == sorted(_TAGS)
    assert sorted(regctl.tool.run(*regctl.access(name), "tag", "ls", name).stdout.split()) == sorted(_TAGS)
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


def test_crane_and_regctl_list_repositories(
    crane: Crane, regctl: Regctl, server: Server, repository: str, pushed: Image
) -> None:
    assert repository in crane.tool.run("catalog", server.address).stdout.split()
    listed = regctl.tool.run(*regctl.access(server.address), "repo", "ls", server.address)
    assert repository in listed.stdout.split()


def test_a_copy_mounts_what_is_there(
    crane: Crane,
    skopeo: Skopeo,
    regctl: Regctl,
    ctr: Ctr,
    server: Server,
    client: httpx.Client,
    repository: str,
    pushed: Image,
) -> None:
    """Copying between repositories keeps the digest and sends no layer. ctr may mount what it pulled from elsewhere."""
    with Gate(server.port) as gate:
        name = f"{gate.address}/{repository}"
        crane.tool.run("copy", f"{name}:latest", f"{name}/copy:crane")
        both = ("--src-tls-verify=false", "--dest-tls-verify=false")
        skopeo.tool.run("copy", *both, f"docker://{name}:latest", f"docker://{name}/copy:skopeo")
        regctl.tool.run(*regctl.access(name), "image", "copy", f"{name}:latest", f"{name}/copy:regctl")
        ctr.pull(f"{name}:latest")
        ctr.tool.run("images", "tag", f"{name}:latest", f"{name}/copied-by-ctr:ctr")
        ctr.push(f"{name}/copied-by-ctr:ctr")
        assert gate.sent < _WITHOUT_LAYERS
    assert stored_manifest(client, f"{repository}/copied-by-ctr", "ctr").content == pushed.manifest
    for tag in ("crane", "skopeo", "regctl"):
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


def test_regctl_copies_a_whole_repository(
    regctl: Regctl, crane: Crane, server: Server, repository: str, client: httpx.Client, pushed: Image
) -> None:
    """Every tag; a second time, what is new."""
    name = f"{server.address}/{repository}"
    crane.tool.run("tag", f"{name}:latest", "old")
    copy = (*regctl.access(name), "repo", "copy", name, f"{name}/copy")
    regctl.tool.run(*copy)
    assert stored_tags(client, f"{repository}/copy") == ["latest", "old"]
    newer = build_image(pushed.layers, command=["/bin/busybox", "false"])
    crane.load(newer, f"{name}:new")
    crane.push(f"{name}:new")
    regctl.tool.run(*copy)
    assert stored_manifest(client, f"{repository}/copy", "old").content == pushed.manifest
    assert stored_manifest(client, f"{repository}/copy", "new").content == newer.manifest


def test_regctl_looks_into_a_stored_image(regctl: Regctl, server: Server, repository: str, pushed: Image) -> None:
    """Digest, manifest, config and a single file, without pulling."""
    name = f"{server.address}/{repository}:latest"

    def printed(*command: str) -> bytes:
        return regctl.tool.run(*regctl.access(name), *command).stdout.encode()

    assert printed("image", "digest", name).decode().strip() == pushed.digest
    assert printed("manifest", "get", "--format", "raw-body", name) == pushed.manifest
    assert json.loads(printed("image", "inspect", name)) == json.loads(pushed.config)
    assert printed("image", "get-file", name, MESSAGE) == pushed.files[MESSAGE]


def test_regctl_deletes_a_tag_and_an_image(
    regctl: Regctl, crane: Crane, server: Server, client: httpx.Client, repository: str, pushed: Image
) -> None:
    """The tag goes by the API for it, and no manifest is pushed in its place, as where a registry lacks that API."""
    name = f"{server.address}/{repository}"
    crane.tool.run("tag", f"{name}:latest", "kept")
    regctl.tool.run(*regctl.access(name), "tag", "delete", f"{name}:latest")
    assert stored_tags(client, repository) == ["kept"]
    assert stored(client, repository, "kept").content == pushed.manifest
    regctl.tool.run(*regctl.access(name), "manifest", "delete", f"{name}@{pushed.digest}")
    assert is_missing(client, repository, "kept")
    assert is_missing(client, repository, pushed.digest)


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
    any_client.pull_missing(f"{name}:latest")
    any_client.load(pushed, f"{name}:again")
    any_client.push(f"{name}:again")
    any_client.remove(f"{name}:again")
    any_client.pull(f"{name}:again")
    any_client.look(f"{name}:again").is_same_as(pushed)
