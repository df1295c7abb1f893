"""Artifacts that refer to an image: what clients push, the referrers API lists."""

import os
from pathlib import Path

import httpx

from tests.clients.folders import Crane, Regctl, Skopeo
from tests.clients.stored import listed_referrers, stored, stored_manifest, stored_tags
from tests.support.images import Image, artifact_of, read_directory, write_directory, write_layout
from tests.support.server import Server


def test_an_artifact_that_crane_pushed_is_listed(
    crane: Crane, server: Server, client: httpx.Client, repository: str, image: Image, tmp_path: Path
) -> None:
    """Crane finds the referrers API, and so makes no tag in its place."""
    name = f"{server.address}/{repository}"
    artifact = artifact_of(image, os.urandom(1000))
    crane.tool.run("push", write_layout(tmp_path / "image", image), f"{name}:image")
    assert listed_referrers(client, repository, image.digest) == []
    crane.tool.run("push", write_layout(tmp_path / "artifact", artifact), f"{name}:note")
    assert listed_referrers(client, repository, image.digest) == [(artifact.digest, "application/vnd.example.note")]
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
    assert listed_referrers(client, repository, image.digest) == [(artifact.digest, "application/vnd.example.note")]
    skopeo.tool.run(*copy, f"dir:{write_directory(tmp_path / 'image', image)}", f"{name}:image")
    skopeo.tool.run(*copy, f"{name}:note", f"dir:{tmp_path / 'back'}")
    assert read_directory(tmp_path / "back").blobs == artifact.blobs
    skopeo.tool.run("delete", "--tls-verify=false", f"{name}:note")
    assert listed_referrers(client, repository, image.digest) == []
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
    assert [digest for digest, _ in listed_referrers(client, repository, image.digest)] == [artifact.digest]


def test_regctl_puts_and_gets_artifacts(
    regctl: Regctl, server: Server, client: httpx.Client, repository: str, image: Image, tmp_path: Path
) -> None:
    """With and without a tag, found by their type, shown as a tree, and deleted with what they refer to."""
    name = f"{server.address}/{repository}"
    run, access = regctl.tool.run, regctl.access(name)
    regctl.load(image, f"{name}:image")
    regctl.push(f"{name}:image")
    report, note = tmp_path / "report.json", tmp_path / "note.txt"
    report.write_bytes(os.urandom(1000))
    note.write_text("checked\n")
    put = (*access, "artifact", "put", "--artifact-type")
    run(*put, "application/example.report", "--file", report, "--subject", f"{name}:image")
    run(*put, "application/example.note", "--file", note, "--subject", f"{name}:image", f"{name}:note")
    by_kind = {kind: digest for digest, kind in listed_referrers(client, repository, image.digest)}
    assert by_kind.keys() == {"application/example.report", "application/example.note"}
    assert stored_tags(client, repository) == ["image", "note"]
    get = (*access, "artifact", "get", "--subject", f"{name}:image", "--filter-artifact-type")
    run(*get, "application/example.report", "--output", tmp_path)
    assert run(*get, "application/example.note").stdout == note.read_text()
    assert run(*access, "artifact", "get", f"{name}:note").stdout == note.read_text()
    listed = run(*access, "artifact", "list", "--format", "body", f"{name}:image").stdout
    assert by_kind["application/example.report"] in listed
    tree = run(*access, "artifact", "tree", f"{name}:image").stdout
    assert all(f"{digest}: {kind}" in tree for kind, digest in by_kind.items())
    run(*access, "manifest", "delete", "--referrers", f"{name}@{by_kind['application/example.report']}")
    assert listed_referrers(client, repository, image.digest) == [
        (by_kind["application/example.note"], "application/example.note")
    ]


def test_regctl_copies_an_image_with_all_that_refers_to_it(
    regctl: Regctl, crane: Crane, server: Server, client: httpx.Client, repository: str, image: Image, tmp_path: Path
) -> None:
    """Referrers of referrers too; their manifests stay as they are."""
    name = f"{server.address}/{repository}"
    artifact = artifact_of(image, b"note")
    about = artifact_of(artifact, b"about the note")
    crane.tool.run("push", write_layout(tmp_path / "image", image), f"{name}:image")
    for each in (artifact, about):
        crane.tool.run("push", write_layout(tmp_path / each.digest[7:19], each), f"{name}@{each.digest}")
    copy = f"{repository}/copy"
    access = regctl.access(name)
    regctl.tool.run(*access, "image", "copy", "--referrers", f"{name}:image", f"{server.address}/{copy}:image")
    for subject, referrer in ((image, artifact), (artifact, about)):
        listed = listed_referrers(client, copy, subject.digest)
        assert listed == [(referrer.digest, "application/vnd.example.note")]
        assert stored(client, copy, referrer.digest).content == referrer.manifest
    assert stored_tags(client, copy) == ["image"]
