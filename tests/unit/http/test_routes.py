"""The URL table: what a path is, whatever words a repository's name holds."""

import pytest

from registry.errors import EndpointUnknown, MethodNotAllowed
from registry.http import blobs, catalog, health, manifests, referrers, tags, uploads
from registry.http.routes import Handler, find

AWKWARD = ["a", "a/b/c/d/e", "blobs", "a/blobs", "a/blobs/uploads", "manifests/a", "tags/list", "a/manifests", "a/tags"]


@pytest.mark.parametrize("name", AWKWARD)
@pytest.mark.parametrize(
    ("method", "path", "handler", "rest"),
    [
        ("GET", "manifests/latest", manifests.get_manifest, {"reference": "latest"}),
        ("HEAD", "manifests/latest", manifests.head_manifest, {"reference": "latest"}),
        ("GET", "blobs/sha256:abc", blobs.get_blob, {"digest": "sha256:abc"}),
        ("POST", "blobs/uploads/", uploads.start_upload, {}),
        ("POST", "blobs/uploads", uploads.start_upload, {}),
        ("PATCH", "blobs/uploads/some-id", uploads.append_chunk, {"upload": "some-id"}),
        ("GET", "tags/list", tags.list_tags, {}),
        ("HEAD", "tags/list", tags.list_tags, {}),
        ("GET", "referrers/sha256:abc", referrers.list_referrers, {"digest": "sha256:abc"}),
    ],
)
def test_the_end_of_a_path_tells_what_it_is(
    name: str, method: str, path: str, handler: Handler, rest: dict[str, str]
) -> None:
    assert find(method, f"/v2/{name}/{path}") == (handler, {"name": name, **rest})


def test_the_registry_as_a_whole() -> None:
    assert find("GET", "/v2/") == find("GET", "/v2") == (health.support, {})
    assert find("GET", "/v2/_catalog") == (catalog.list_repositories, {})


@pytest.mark.parametrize(
    "path", ["/v2/a", "/v2/a/", "/v2//", "/v2/a/manifests/", "/v2/a/blobs/", "/v2/a/tags/list/", "/v2x"]
)
def test_other_paths_are_unknown(path: str) -> None:
    with pytest.raises(EndpointUnknown):
        find("GET", path)


def test_another_method_is_told_the_ones_there_are() -> None:
    with pytest.raises(MethodNotAllowed) as caught:
        find("POST", "/v2/a/manifests/latest")
    assert caught.value.allowed == ["DELETE", "GET", "HEAD", "PUT"]
