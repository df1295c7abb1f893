"""Signatures and attestations of cosign, made with a key on disk and checked without any service."""

import json
from pathlib import Path

import httpx
import pytest

from tests.clients.cosign import Cosign, Keeping
from tests.clients.folders import Crane, Regctl
from tests.clients.stored import listed_referrers, stored_tags
from tests.support.images import Image, build_image, digest_of, sample_image, write_index_layout
from tests.support.server import Server

_TYPES = {
    Keeping.REFERRER: "application/vnd.dev.cosign.artifact.sig.v1+json",
    Keeping.BUNDLE: "application/vnd.dev.sigstore.bundle.v0.3+json",
}


def tag_of_signature(digest: str) -> str:
    """The tag under which cosign looks for signatures of a manifest."""
    return f"{digest.replace(':', '-')}.sig"


@pytest.fixture
def signed(crane: Crane, server: Server, repository: str, image: Image) -> str:
    """The reference by digest of an image that is to be signed, and is in the repository as `v1`."""
    crane.load(image, f"{server.address}/{repository}:v1")
    crane.push(f"{server.address}/{repository}:v1")
    return f"{server.address}/{repository}@{image.digest}"


@pytest.mark.parametrize("keeping", Keeping)
def test_a_signature_is_found_and_checked(
    keeping: Keeping,
    cosign: Cosign,
    crane: Crane,
    client: httpx.Client,
    repository: str,
    image: Image,
    signed: str,
) -> None:
    """It is kept where it should be, holds for this image and key alone, and makes no tag where the API is used."""
    assert "no signatures found" in cosign.refuse(signed, keeping).both
    cosign.sign(signed, keeping)
    cosign.verify(signed, keeping)
    cosign.verify(signed.replace(f"@{image.digest}", ":v1"), keeping)
    cosign.refuse(signed, keeping, key="other.pub")
    kinds = [kind for _, kind in listed_referrers(client, repository, image.digest)]
    tags = stored_tags(client, repository)
    if keeping is Keeping.TAG:
        assert (kinds, tags) == ([], [tag_of_signature(image.digest), "v1"])
    else:
        assert (kinds, tags) == ([_TYPES[keeping]], ["v1"])
    other = build_image(image.layers, command=["/bin/busybox", "false"])
    unsigned = signed.replace(f"@{image.digest}", ":other")
    crane.load(other, unsigned)
    crane.push(unsigned)
    cosign.refuse(unsigned, keeping)


@pytest.mark.parametrize("keeping", Keeping)
def test_signatures_go_along_when_an_image_is_copied(
    keeping: Keeping,
    cosign: Cosign,
    regctl: Regctl,
    client: httpx.Client,
    repository: str,
    image: Image,
    signed: str,
) -> None:
    """`regctl image copy` takes them by either way, and the copy's are good."""
    cosign.sign(signed, keeping)
    copy = signed.replace(repository, f"{repository}/copy")
    regctl.tool.run(*regctl.access(signed), "image", "copy", "--referrers", "--digest-tags", signed, copy)
    cosign.verify(copy, keeping)
    assert listed_referrers(client, f"{repository}/copy", image.digest) == listed_referrers(
        client, repository, image.digest
    )


def test_every_image_of_an_index_is_signed(
    cosign: Cosign, crane: Crane, server: Server, client: httpx.Client, repository: str, tmp_path: Path
) -> None:
    images = [sample_image(busybox=False), sample_image(architecture="arm64", busybox=False)]
    name = f"{server.address}/{repository}"
    crane.tool.run("push", "--index", write_index_layout(tmp_path / "index", images), f"{name}:all")
    index = crane.tool.run("digest", f"{name}:all").stdout.strip()
    cosign.sign(f"{name}@{index}", Keeping.TAG, "--recursive")
    for digest in (index, *(image.digest for image in images)):
        cosign.verify(f"{name}@{digest}", Keeping.TAG)
        assert tag_of_signature(digest) in stored_tags(client, repository)


def test_an_attestation_is_checked(
    cosign: Cosign, client: httpx.Client, repository: str, image: Image, signed: str, tmp_path: Path
) -> None:
    """It says what was attested, about this image."""
    (tmp_path / "predicate.json").write_text(json.dumps({"built": "by a test"}))
    cosign.attest(signed, tmp_path / "predicate.json")
    check = ("verify-attestation", "--insecure-ignore-tlog=true", "--type", "custom", "--key")
    found = json.loads(cosign.tool.run(*check, cosign.folder / "cosign.pub", signed).stdout)
    assert found["payloadType"] == "application/vnd.in-toto+json"
    cosign.tool.fail(*check, cosign.folder / "other.pub", signed)
    [(digest, kind)] = listed_referrers(client, repository, image.digest)
    assert kind == _TYPES[Keeping.BUNDLE]
    shown = cosign.tool.run("tree", signed).both
    assert signed in shown
    assert digest_of(client.get(f"/v2/{repository}/manifests/{digest}").content) == digest
    assert "artifacts via OCI referrer" in shown


def test_signatures_are_cleaned_away(
    cosign: Cosign, client: httpx.Client, repository: str, image: Image, signed: str
) -> None:
    """`cosign clean` deletes tag and referrer, and leaves the image."""
    for keeping in (Keeping.TAG, Keeping.BUNDLE):
        cosign.sign(signed, keeping)
    cosign.tool.run("clean", "--force", "--type", "all", signed)
    assert stored_tags(client, repository) == ["v1"]
    assert listed_referrers(client, repository, image.digest) == []
    for keeping in (Keeping.TAG, Keeping.BUNDLE):
        cosign.refuse(signed, keeping)
