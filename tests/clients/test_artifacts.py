"""Artifacts that refer to an image: what clients push, the referrers API lists."""

import os
from pathlib import Path

import httpx

from tests.clients.adapters import Crane, Skopeo
from tests.clients.stored import stored, stored_manifest
from tests.support.images import Image, artifact_of, read_directory, write_directory, write_layout
from tests.support.server import Server


def listed(client: httpx.Client, repository: str, subject: Image) -> list[tuple[str, str]]:
    """Digest and artifact type of each referrer that the API lists."""
    answer = client.get(f"/v2/{repository}/referrers/{subject.digest}")
    assert answer.status_code == httpx.codes.OK, answer.text
    return [(entry["digest"], entry["artifactType"]) for entry in answer.json()["manifests"]]


def test_an_artifact_that_crane_pushed_is_listed(
    crane: Crane, server: Server, client: httpx.Client, repository: str, image: Image, tmp_path: Path
) -> None:
    """Crane finds the referrers API, and so makes no tag in its place."""
    name = f"{server.address}/{repository}"
    artifact = artifact_of(image, os.urandom(1000))
    crane.tool.run("push", write_layout(tmp_path / "image", image), f"{name}:image")
    assert listed(client, repository, image) == []
    crane.tool.run("push", write_layout(tmp_path / "artifact", artifact), f"{name}:note")
    assert listed(client, repository, image) == [(artifact.digest, "application/vnd.example.note")]
    assert sorted(crane.tool.run("ls", name).stdout.split()) == ["image", "note"]
    assert crane.tool.run("manifest", f"{name}@{artifact.digest}").stdout.encode() == artifact.manifest


def test_an_artifact_may_come_before_its_subject(
    skopeo: Skopeo, server: Server, client: httpx.Client, repository: str, image: Image, tmp_path: Path
) -> None:
    """Copying tools don't keep that order; the artifact goes when it is deleted."""
    name = f"docker://{server.address}/{repository}"
    artifact = artifact_of(image, os.urandom(1000))
    copy = ("copy", "--src-tls-verify=false", "--dest-tls-verify=false")
    skopeo.tool.run(*copy, f"dir:{write_directory(tmp_path / 'artifact', artifact)}", f"{name}:note")
    assert listed(client, repository, image) == [(artifact.digest, "application/vnd.example.note")]
    skopeo.tool.run(*copy, f"dir:{write_directory(tmp_path / 'image', image)}", f"{name}:image")
    skopeo.tool.run(*copy, f"{name}:note", f"dir:{tmp_path / 'back'}")
    assert read_directory(tmp_path / "back").blobs == artifact.blobs
    skopeo.tool.run("delete", "--tls-verify=false", f"{name}:note")
    assert listed(client, repository, image) == []
    stored_manifest(client, repository, "image")


def test_an_image_keeps_its_artifacts_when_it_is_tagged_anew(
    crane: Crane, server: Server, client: httpx.Client, repository: str, image: Image, tmp_path: Path
) -> None:
    name = f"{server.address}/{repository}"
    artifact = artifact_of(image, b"note")
    crane.tool.run("push", write_layout(tmp_path / "image", image), f"{name}:one")
    crane.tool.run("push", write_layout(tmp_path / "artifact", artifact), f"{name}@{artifact.digest}")
    crane.tool.run("tag", f"{name}:one", "two")
    crane.tool.run("delete", f"{name}:one")
    assert stored(client, repository, "two").content == image.manifest
    assert [digest for digest, _ in listed(client, repository, image)] == [artifact.digest]
