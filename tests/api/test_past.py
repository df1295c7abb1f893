"""`at-20261101t120000z/NAME`: what a repository was at a moment."""

import time
import uuid
from dataclasses import dataclass

import httpx
import pytest

from tests.factories import (
    OCI_INDEX,
    OCI_MANIFEST,
    UNKNOWN_DIGEST,
    PushedImage,
    artifact_manifest,
    assert_error,
    descriptor,
    digest_of,
    errors_of,
    index_manifest,
    next_page,
    pull_blob,
    pull_manifest,
    push_artifact,
    push_image,
    push_manifest,
)
from tests.support.moments import moment, named


@dataclass(frozen=True)
class Story:
    """A repository: `latest` was `first`, then `second`; `gone` was an index of `first`, and everything first is gone.

    Attributes:
        before: a moment after the first pushes.
        between: after the index was deleted, while `latest` is `first` still.
    """

    name: str
    first: PushedImage
    second: PushedImage
    index: bytes
    signature: str
    before: str
    between: str


@pytest.fixture(scope="module")
def story(client: httpx.Client) -> Story:
    name = f"past/{uuid.uuid4().hex[:8]}"
    first = push_image(client, name, "latest")
    index = index_manifest([descriptor(first.manifest, OCI_MANIFEST)])
    push_manifest(client, name, index, "gone", media_type=OCI_INDEX)
    signature = push_artifact(client, name, artifact_manifest(first.manifest))
    before = moment()
    assert client.delete(f"/v2/{name}/manifests/{digest_of(index)}").status_code == 202
    between = moment()
    second = push_image(client, name, "latest")
    push_manifest(client, name, second.manifest, "new")
    for digest in (signature, first.digest):
        assert client.delete(f"/v2/{name}/manifests/{digest}").status_code == 202
    for blob in first.blobs:
        assert client.delete(f"/v2/{name}/blobs/{digest_of(blob)}").status_code == 202
    return Story(name, first, second, index, signature, before, between)


def test_a_tag_is_what_it_was_after_it_moved_and_what_it_named_was_deleted(client: httpx.Client, story: Story) -> None:
    for then in (story.before, story.between):
        name = f"{then}/{story.name}"
        assert pull_manifest(client, name, "latest") == story.first.manifest
        head = client.head(f"/v2/{name}/manifests/latest")
        assert head.headers["docker-content-digest"] == story.first.digest
        assert int(head.headers["content-length"]) == len(story.first.manifest)
        for blob in story.first.blobs:
            assert pull_blob(client, name, digest_of(blob)) == blob
            assert client.head(f"/v2/{name}/blobs/{digest_of(blob)}").headers["content-length"] == str(len(blob))
    assert pull_manifest(client, story.name, "latest") == story.second.manifest
    assert_error(client.get(f"/v2/{story.name}/manifests/{story.first.digest}"), 404, "MANIFEST_UNKNOWN")


def test_what_was_deleted_before_is_not_there_at_a_moment(client: httpx.Client, story: Story) -> None:
    index = f"manifests/{digest_of(story.index)}"
    assert pull_manifest(client, f"{story.before}/{story.name}", "gone") == story.index
    assert client.get(f"/v2/{story.before}/{story.name}/{index}").content == story.index
    for reference in ("manifests/gone", index):
        assert_error(client.get(f"/v2/{story.between}/{story.name}/{reference}"), 404, "MANIFEST_UNKNOWN")


def test_tags_are_listed_as_they_were(client: httpx.Client, story: Story) -> None:
    def listed(then: str, query: str = "") -> httpx.Response:
        return client.get(f"/v2/{then}/{story.name}/tags/list{query}")

    name = f"{story.before}/{story.name}"
    assert listed(story.before).json() == {"name": name, "tags": ["gone", "latest"]}
    assert listed(story.between).json()["tags"] == ["latest"]
    page = listed(story.before, "?n=1")
    assert page.json()["tags"] == ["gone"]
    following = next_page(page)
    assert following is not None and client.get(following).json()["tags"] == ["latest"]


def test_a_part_of_a_blob_and_what_the_client_has(client: httpx.Client, story: Story) -> None:
    name, layer = f"{story.before}/{story.name}", story.first.layers[0]
    part = client.get(f"/v2/{name}/blobs/{digest_of(layer)}", headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, layer[10:20])
    for path in (f"manifests/{story.first.digest}", f"blobs/{digest_of(layer)}"):
        headers = {"If-None-Match": client.get(f"/v2/{name}/{path}").headers["etag"]}
        assert client.get(f"/v2/{name}/{path}", headers=headers).status_code == 304


def test_referrers_are_those_that_were_there_until_then(client: httpx.Client, story: Story) -> None:
    def found(name: str) -> list[str]:
        answer = client.get(f"/v2/{name}/referrers/{story.first.digest}")
        return [one["digest"] for one in answer.json()["manifests"]]

    assert found(f"{story.before}/{story.name}") == [story.signature]
    assert found(story.name) == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "manifests/latest"),
        ("DELETE", "manifests/latest"),
        ("POST", "blobs/uploads/"),
        ("PATCH", "blobs/uploads/some"),
        ("PUT", "blobs/uploads/some"),
        ("DELETE", f"blobs/{UNKNOWN_DIGEST}"),
    ],
)
def test_nothing_can_be_changed_there(client: httpx.Client, story: Story, method: str, path: str) -> None:
    answer = client.request(method, f"/v2/{story.before}/{story.name}/{path}", content=b"{}")
    assert_error(answer, 403, "DENIED")
    assert "what was there then" in errors_of(answer)[0]["message"]


@pytest.mark.parametrize(
    "then", ["at-20261301t120000z", "at-20261101", "at-20261101t1200z", "at-20261101t120000z-and-more"]
)
def test_what_is_wrong_with_a_moment_is_said(client: httpx.Client, story: Story, then: str) -> None:
    _check_refused(client, f"{then}/{story.name}", 400, "NAME_INVALID", "at-YYYYMMDDtHHMMSSz")


@pytest.mark.parametrize(("seconds", "words"), [(3600, "has not come yet"), (-15 * 86400, "history.window")])
def test_a_moment_beyond_the_window_is_unknown(client: httpx.Client, story: Story, seconds: int, words: str) -> None:
    _check_refused(client, f"{named(time.time() + seconds)}/{story.name}", 404, "NAME_UNKNOWN", words)


def _check_refused(client: httpx.Client, name: str, status: int, code: str, words: str) -> None:
    for path in ("manifests/latest", "tags/list", f"blobs/{UNKNOWN_DIGEST}"):
        answer = client.get(f"/v2/{name}/{path}")
        assert_error(answer, status, code)
        assert words in errors_of(answer)[0]["message"]


def test_a_moment_is_no_project(client: httpx.Client, story: Story) -> None:
    assert_error(client.get(f"/v2/{story.before}/manifests/latest"), 400, "NAME_INVALID")
    nested = f"{story.before}/{story.before}/{story.name}"
    assert_error(client.get(f"/v2/{nested}/manifests/latest"), 400, "NAME_INVALID")
    # A name that only begins alike is somebody's.
    image = push_image(client, "at-home/app", "latest")
    assert pull_manifest(client, "at-home/app", "latest") == image.manifest


def test_unknown_names_are_told_apart(client: httpx.Client, story: Story) -> None:
    then = moment()
    assert_error(client.get(f"/v2/{then}/nobody/has/this/manifests/latest"), 404, "NAME_UNKNOWN")
    assert_error(client.get(f"/v2/{then}/nobody/has/this/tags/list"), 404, "NAME_UNKNOWN")
    answer = client.get(f"/v2/{then}/{story.name}/manifests/never")
    assert_error(answer, 404, "MANIFEST_UNKNOWN")
    assert "had no tag never" in errors_of(answer)[0]["message"]


def test_nothing_is_mounted_from_the_past(client: httpx.Client, story: Story) -> None:
    """What is deleted is there for who pulls; a push has to bring it."""
    layer = digest_of(story.first.layers[0])
    source = f"{story.before}/{story.name}"
    answer = client.post("/v2/past/other/blobs/uploads/", params={"mount": layer, "from": source})
    assert answer.status_code in {202, 400}
    assert client.head(f"/v2/past/other/blobs/{layer}").status_code == 404
