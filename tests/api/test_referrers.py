"""`/v2/<name>/referrers/<digest>` (spec, "Listing Referrers", "Enabling the Referrers API")."""

from typing import Any

import httpx
import pytest

from tests.factories import (
    EMPTY,
    OCI_EMPTY,
    OCI_INDEX,
    OCI_MANIFEST,
    UNKNOWN_DIGEST,
    artifact_manifest,
    assert_error,
    descriptor,
    digest_of,
    errors_of,
    image_manifest,
    index_manifest,
    new_image,
    push_artifact,
    push_blob,
    push_image,
    push_manifest,
    put_manifest,
    walk,
)
from tests.support.server import Connect, ServerFactory

SBOM = "application/vnd.example.sbom.v1"
SIGNATURE = "application/vnd.example.signature.v1"


def listed(response: httpx.Response) -> list[dict[str, Any]]:
    """The descriptors of an answer, which must be an OCI image index."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == OCI_INDEX
    assert response.headers["docker-distribution-api-version"] == "registry/2.0"
    body = response.json()
    assert (body["schemaVersion"], body["mediaType"]) == (2, OCI_INDEX)
    manifests: list[dict[str, Any]] = body["manifests"]
    return manifests


def referrers(client: httpx.Client, repository: str, digest: str, **query: str) -> list[dict[str, Any]]:
    """The descriptors of one page."""
    return listed(client.get(f"/v2/{repository}/referrers/{digest}", params=query))


def digests(found: list[dict[str, Any]]) -> list[str]:
    return sorted(entry["digest"] for entry in found)


def test_a_referrer_is_described_in_full(client: httpx.Client, repository: str) -> None:
    image = push_image(client, repository)
    annotations = {"org.example.note": "Zoë ☃", "org.opencontainers.image.created": "2022-01-01T14:42:55Z"}
    artifact = artifact_manifest(image.manifest, SBOM, annotations=annotations)
    push_artifact(client, repository, artifact)
    assert referrers(client, repository, image.digest) == [
        {
            "mediaType": OCI_MANIFEST,
            "digest": digest_of(artifact),
            "size": len(artifact),
            "artifactType": SBOM,
            "annotations": annotations,
        }
    ]


@pytest.mark.parametrize("artifact_type", [None, ""])
def test_an_image_without_artifact_type_shows_that_of_its_config(
    client: httpx.Client, repository: str, artifact_type: str | None
) -> None:
    image = push_image(client, repository)
    push_artifact(client, repository, artifact_manifest(image.manifest, artifact_type))
    [found] = referrers(client, repository, image.digest)
    assert found["artifactType"] == OCI_EMPTY
    assert not found.get("annotations")


@pytest.mark.parametrize("artifact_type", [SBOM, None])
def test_an_index_shows_its_artifact_type_or_none(
    client: httpx.Client, repository: str, artifact_type: str | None
) -> None:
    image = push_image(client, repository)
    subject = descriptor(image.manifest, OCI_MANIFEST)
    content = index_manifest([], subject=subject, artifactType=artifact_type, annotations={"a": "b"})
    push_manifest(client, repository, content, media_type=OCI_INDEX)
    [found] = referrers(client, repository, image.digest)
    assert found["mediaType"] == OCI_INDEX
    assert found.get("artifactType") == artifact_type
    assert ("artifactType" in found) == (artifact_type is not None)
    assert found["annotations"] == {"a": "b"}


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_subjects_of_either_algorithm(client: httpx.Client, repository: str, algorithm: str) -> None:
    image = push_image(client, repository)
    subject = descriptor(image.manifest, OCI_MANIFEST, algorithm=algorithm)
    artifact = image_manifest(EMPTY, subject=subject)
    push_artifact(client, repository, artifact)
    assert digests(referrers(client, repository, subject["digest"])) == [digest_of(artifact)]


def test_nothing_refers_to_an_unknown_digest(client: httpx.Client, repository: str) -> None:
    assert referrers(client, repository, UNKNOWN_DIGEST) == []  # not even the repository is there
    image = push_image(client, repository)
    for digest in (UNKNOWN_DIGEST, image.digest, digest_of(image.config)):
        response = client.get(f"/v2/{repository}/referrers/{digest}")
        assert listed(response) == []
        assert "link" not in response.headers


def test_the_subject_may_come_later(client: httpx.Client, repository: str) -> None:
    image = new_image()
    artifact = artifact_manifest(image.manifest)
    push_artifact(client, repository, artifact)
    assert digests(referrers(client, repository, image.digest)) == [digest_of(artifact)]
    for blob in image.blobs:
        push_blob(client, repository, blob)
    push_manifest(client, repository, image.manifest, "latest")
    assert digests(referrers(client, repository, image.digest)) == [digest_of(artifact)]


def test_pushing_a_referrer_again_lists_it_once(client: httpx.Client, repository: str) -> None:
    image = push_image(client, repository)
    artifact = artifact_manifest(image.manifest)
    push_artifact(client, repository, artifact)
    push_manifest(client, repository, artifact, "one")
    push_manifest(client, repository, artifact, "two")
    assert digests(referrers(client, repository, image.digest)) == [digest_of(artifact)]


def test_referrers_of_one_repository_are_not_seen_in_another(client: httpx.Client, repository: str) -> None:
    image = push_image(client, repository)
    push_artifact(client, f"{repository}/other", artifact_manifest(image.manifest))
    assert referrers(client, repository, image.digest) == []


def test_referrers_can_be_filtered_by_artifact_type(client: httpx.Client, repository: str) -> None:
    image = push_image(client, repository)
    sboms = [artifact_manifest(image.manifest, SBOM) for _ in range(2)]
    signature, plain = artifact_manifest(image.manifest, SIGNATURE), artifact_manifest(image.manifest, None)
    for artifact in (*sboms, signature, plain):
        push_artifact(client, repository, artifact)
    path = f"/v2/{repository}/referrers/{image.digest}"
    expected = {SBOM: sboms, SIGNATURE: [signature], OCI_EMPTY: [plain], "application/unknown": []}
    for artifact_type, artifacts in expected.items():
        response = client.get(path, params={"artifactType": artifact_type})
        assert digests(listed(response)) == sorted(digest_of(artifact) for artifact in artifacts)
        assert response.headers["oci-filters-applied"] == "artifactType"
    response = client.get(path)
    assert len(listed(response)) == 4
    assert "oci-filters-applied" not in response.headers


def test_a_plus_in_a_filter_may_come_encoded(client: httpx.Client, repository: str) -> None:
    image = push_image(client, repository)
    artifact = artifact_manifest(image.manifest, "application/vnd.example+json")
    push_artifact(client, repository, artifact)
    target = f"/v2/{repository}/referrers/{image.digest}?artifactType=application%2Fvnd.example%2Bjson"
    assert digests(listed(client.get(target))) == [digest_of(artifact)]


def test_other_parameters_are_no_filters(client: httpx.Client, repository: str) -> None:
    response = client.get(f"/v2/{repository}/referrers/{UNKNOWN_DIGEST}", params={"annotation": "a=b"})
    assert listed(response) == []
    assert "oci-filters-applied" not in response.headers


@pytest.mark.parametrize("number", [1, 2, 3, 5, 100])
@pytest.mark.parametrize("filtered", [True, False])
def test_walking_gives_every_referrer_once(client: httpx.Client, repository: str, number: int, filtered: bool) -> None:
    image = push_image(client, repository)
    sboms = [artifact_manifest(image.manifest, SBOM) for _ in range(5)]
    others = [artifact_manifest(image.manifest, SIGNATURE) for _ in range(4)]
    for artifact in [artifact for pair in zip(sboms, [*others, None], strict=True) for artifact in pair if artifact]:
        push_artifact(client, repository, artifact)
    query = f"&artifactType={SBOM}" if filtered else ""
    pages = list(walk(client, f"/v2/{repository}/referrers/{image.digest}?n={number}{query}"))
    found = [entry for page in pages for entry in listed(page)]
    expected = sboms if filtered else [*sboms, *others]
    assert digests(found) == sorted(digest_of(artifact) for artifact in expected)
    assert all(len(listed(page)) <= number for page in pages)
    assert all(("oci-filters-applied" in page.headers) == filtered for page in pages)
    assert len(pages) == -(-len(expected) // number)


def test_a_page_never_has_more_than_is_configured(
    fresh_server: ServerFactory, connect: Connect, repository: str
) -> None:
    client = connect(fresh_server(STOWAGE_LISTINGS__MAX_PAGE="3"))
    image = push_image(client, repository)
    artifacts = [artifact_manifest(image.manifest) for _ in range(7)]
    for artifact in artifacts:
        push_artifact(client, repository, artifact)
    pages = [listed(page) for page in walk(client, f"/v2/{repository}/referrers/{image.digest}")]
    assert [len(page) for page in pages] == [3, 3, 1]
    assert digests([entry for page in pages for entry in page]) == sorted(map(digest_of, artifacts))


def test_large_annotations_make_more_pages(client: httpx.Client, repository: str) -> None:
    """Clients refuse indexes over 4 MiB, as registries refuse such manifests."""
    image = push_image(client, repository)
    artifacts = [artifact_manifest(image.manifest, annotations={"large": "x" * 1_500_000}) for _ in range(5)]
    for artifact in artifacts:
        push_artifact(client, repository, artifact)
    pages = list(walk(client, f"/v2/{repository}/referrers/{image.digest}"))
    assert len(pages) > 1
    assert max(len(page.content) for page in pages) <= 4 * 1024 * 1024
    assert digests([entry for page in pages for entry in listed(page)]) == sorted(map(digest_of, artifacts))


@pytest.mark.parametrize("number", ["-1", "x"])
def test_n_that_is_no_number_is_400(client: httpx.Client, repository: str, number: str) -> None:
    response = client.get(f"/v2/{repository}/referrers/{UNKNOWN_DIGEST}", params={"n": number})
    assert response.status_code == 400
    assert errors_of(response)


@pytest.mark.parametrize("digest", ["sha256:abc", "nonsense", "md5:" + "0" * 32, "sha256:" + "A" * 64, "latest"])
def test_a_malformed_digest_is_400(client: httpx.Client, repository: str, digest: str) -> None:
    push_image(client, repository, "latest")
    assert_error(client.get(f"/v2/{repository}/referrers/{digest}"), 400, "DIGEST_INVALID")


def test_a_deleted_referrer_disappears_and_comes_back(client: httpx.Client, repository: str) -> None:
    image = push_image(client, repository)
    kept, deleted = artifact_manifest(image.manifest), artifact_manifest(image.manifest)
    for artifact in (kept, deleted):
        push_artifact(client, repository, artifact)
    assert client.delete(f"/v2/{repository}/manifests/{digest_of(deleted)}").status_code == 202
    assert digests(referrers(client, repository, image.digest)) == [digest_of(kept)]
    push_artifact(client, repository, deleted)
    assert digests(referrers(client, repository, image.digest)) == sorted(map(digest_of, [kept, deleted]))


def test_referrers_outlive_their_subject(client: httpx.Client, repository: str) -> None:
    image = push_image(client, repository, "latest")
    artifact = artifact_manifest(image.manifest)
    push_artifact(client, repository, artifact)
    assert client.delete(f"/v2/{repository}/manifests/{image.digest}").status_code == 202
    assert digests(referrers(client, repository, image.digest)) == [digest_of(artifact)]


def test_what_a_referrers_tag_lists_is_listed_once(client: httpx.Client, repository: str) -> None:
    """What clients of the tag schema left behind: the manifests have a subject, the index of the tag lists them."""
    image = push_image(client, repository)
    artifacts = [artifact_manifest(image.manifest, SBOM) for _ in range(2)]
    stranger = push_image(client, repository)  # no subject: listed under the tag, and still no referrer
    for artifact in artifacts:
        push_artifact(client, repository, artifact)
    children = [descriptor(content, OCI_MANIFEST) for content in (*artifacts, stranger.manifest)]
    tag = image.digest.replace(":", "-")
    push_manifest(client, repository, index_manifest(children), tag, media_type=OCI_INDEX)
    assert digests(referrers(client, repository, image.digest)) == sorted(map(digest_of, artifacts))
    assert len(client.get(f"/v2/{repository}/manifests/{tag}").json()["manifests"]) == 3


def test_a_subject_that_is_another_referrer(client: httpx.Client, repository: str) -> None:
    image = push_image(client, repository)
    sbom = artifact_manifest(image.manifest, SBOM)
    signature = artifact_manifest(sbom, SIGNATURE)
    push_artifact(client, repository, signature)
    push_artifact(client, repository, sbom)
    assert digests(referrers(client, repository, image.digest)) == [digest_of(sbom)]
    assert digests(referrers(client, repository, digest_of(sbom))) == [digest_of(signature)]


def test_the_media_type_decides_what_a_manifest_is_when_it_is_pushed_anew(
    client: httpx.Client, repository: str
) -> None:
    """The same bytes as another type: the last push counts."""
    image = push_image(client, repository)
    push_blob(client, repository, EMPTY)
    subject = descriptor(image.manifest, OCI_MANIFEST)
    content = image_manifest(EMPTY, mediaType=None, subject=subject)
    custom = "application/vnd.example.custom+json"
    for media_type in (OCI_MANIFEST, custom, OCI_MANIFEST):
        assert put_manifest(client, repository, "latest", content, media_type).status_code == 201
        [found] = referrers(client, repository, image.digest)
        assert found["mediaType"] == media_type
