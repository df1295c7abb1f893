"""Clients before three replicas: nginx gives each of a client's requests to another one."""

import json

import httpx
import pytest

from tests.clients.adapters import Client
from tests.clients.folders import Crane, Regctl, Skopeo
from tests.clients.stored import is_missing, stored_manifest, stored_tags
from tests.support.fleet import Fleet
from tests.support.images import Image
from tests.support.server import new_client


@pytest.fixture(params=["podman", "docker", "skopeo", "crane", "regctl"])
def pusher(request: pytest.FixtureRequest) -> Client:
    """Each client that people push with."""
    client: Client = request.getfixturevalue(request.param)
    return client


@pytest.mark.parametrize("what", ["image", "large"])
def test_what_is_pushed_is_pulled_back_and_each_replica_has_it(
    pusher: Client, fleet: Fleet, repository: str, what: str, request: pytest.FixtureRequest
) -> None:
    image: Image = request.getfixturevalue(what)
    reference = f"{fleet.address}/{repository}:v1"
    before = len(fleet.front.served_by())
    pusher.load(image, reference)
    pusher.push(reference)
    pusher.remove(reference)
    assert len({address for address, _ in fleet.front.served_by()[before:]}) == len(fleet.replicas)
    for replica in fleet.replicas:
        with new_client(replica) as client:
            assert stored_manifest(client, repository, "v1").json()["config"]["digest"] == image.config_digest
            assert stored_tags(client, repository) == ["v1"]
    pusher.pull(reference)
    pusher.look(reference).is_same_as(image)
    pusher.remove(reference)
    pusher.pull_missing(f"{fleet.address}/{repository}:none")


def test_tags_copies_and_deletions(
    crane: Crane, skopeo: Skopeo, regctl: Regctl, fleet: Fleet, repository: str, image: Image
) -> None:
    name = f"{fleet.address}/{repository}"
    crane.load(image, f"{name}:latest")
    crane.push(f"{name}:latest")
    for number in range(4):
        crane.tool.run("tag", f"{name}:latest", f"t{number}")
    tags = ["latest", "t0", "t1", "t2", "t3"]
    assert sorted(crane.tool.run("ls", name).stdout.split()) == tags
    assert sorted(regctl.tool.run(*regctl.access(name), "tag", "ls", name).stdout.split()) == tags
    listed = json.loads(skopeo.tool.run("list-tags", "--tls-verify=false", f"docker://{name}").stdout)
    assert sorted(listed["Tags"]) == tags
    crane.tool.run("copy", f"{name}:latest", f"{name}/copy:crane")
    both = ("--src-tls-verify=false", "--dest-tls-verify=false")
    skopeo.tool.run("copy", *both, f"docker://{name}:latest", f"docker://{name}/copy:skopeo")
    regctl.tool.run(*regctl.access(name), "image", "copy", f"{name}:latest", f"{name}/copy:regctl")
    regctl.tool.run(*regctl.access(name), "tag", "delete", f"{name}:t0")
    crane.tool.run("delete", f"{name}:t1")
    for replica in fleet.replicas:
        with new_client(replica) as client:
            assert stored_tags(client, repository) == ["latest", "t2", "t3"]
            assert stored_tags(client, f"{repository}/copy") == ["crane", "regctl", "skopeo"]
            assert stored_manifest(client, f"{repository}/copy", "crane").content == image.manifest
    skopeo.tool.run("delete", "--tls-verify=false", f"docker://{name}:latest")  # the manifest, with all its tags
    for replica in fleet.replicas:
        with new_client(replica) as client:
            assert everything_is_gone(client, repository, image)
            assert stored_manifest(client, f"{repository}/copy", "skopeo").content == image.manifest


def everything_is_gone(client: httpx.Client, repository: str, image: Image) -> bool:
    """Whether neither the manifest nor a tag is there."""
    return all(is_missing(client, repository, reference) for reference in ("latest", "t2", "t3", image.digest))
