"""Refusals: their form, their codes, and which comes when (spec, "Error Codes")."""

import httpx
import pytest

from tests.factories import OCI_MANIFEST, UNKNOWN_DIGEST, assert_error, errors_of, new_image, push_blob, push_image

SESSION = "00000000-0000-4000-8000-000000000000"
ENDPOINTS = [
    ("GET", "manifests/latest"),
    ("HEAD", "manifests/latest"),
    ("PUT", "manifests/latest"),
    ("DELETE", "manifests/latest"),
    ("GET", f"manifests/{UNKNOWN_DIGEST}"),
    ("GET", f"blobs/{UNKNOWN_DIGEST}"),
    ("HEAD", f"blobs/{UNKNOWN_DIGEST}"),
    ("DELETE", f"blobs/{UNKNOWN_DIGEST}"),
    ("POST", "blobs/uploads/"),
    ("POST", "blobs/uploads"),
    ("GET", f"blobs/uploads/{SESSION}"),
    ("PATCH", f"blobs/uploads/{SESSION}"),
    ("PUT", f"blobs/uploads/{SESSION}?digest={UNKNOWN_DIGEST}"),
    ("DELETE", f"blobs/uploads/{SESSION}"),
    ("GET", "tags/list"),
    ("GET", f"referrers/{UNKNOWN_DIGEST}"),
]
BAD_NAMES = [
    "UPPER",
    "project/Upper",
    "-dash",
    "dash-",
    ".dot",
    "dot.",
    "_low",
    "two..dots",
    "three___lows",
    "mixed.-marks",
    "a//b",
    "a/",
    "/a",
    "a%20b",
    "a%0A",
    "%C3%A4",
    "a%22b",
    "a/%2E%2E/b",
    "x" * 256,
]
GOOD_NAMES = [
    "a",
    "0",
    "a.b_c__d-e---f",
    "a/b/c/d/e/f/g",
    "blobs/uploads",
    "tags/list",
    "manifests/latest",
    "x/blobs/uploads",
    "x/tags/list",
    "referrers/x/manifests",
    "v2/v2",
    "x" * 200,
]
BAD_DIGESTS = [
    "sha256:",
    "sha256:abc",
    "sha256:" + "0" * 63,
    "sha256:" + "0" * 65,
    "sha256:" + "A" * 64,
    "sha256:" + "g" * 64,
    "sha512:" + "0" * 64,
    "md5:d41d8cd98f00b204e9800998ecf8427e",
    "sha1:" + "0" * 40,
    "blake3:" + "0" * 64,
    ":" + "0" * 64,
    "sha256:" + "0" * 64 + ":",
    "sha256:" + "0" * 63 + "%0A",
    "SHA256:" + "0" * 64,
]
BAD_TAGS = [".dot", "-dash", "x" * 129, "a%20b", "%C3%A4", "a%0A", "a@b", "a%22b", "a+b"]
UNKNOWN_PATHS = [
    "/v2//",
    "/v2/unknown",
    "/v2/a/b/c",
    "/v2/a/manifests",
    "/v2/a/manifests/",
    "/v2/a/manifests/latest/",
    "/v2/a/blobs",
    "/v2/a/blobs/",
    "/v2/a/blobs/uploads/x/y",
    "/v2/a/tags",
    "/v2/a/tags/list/",
    "/v2/a/tags/other",
    "/v2/a/referrers",
    "/v2/a/referrers/",
    "/v2/_catalog/",
    "/v2/_other",
    "/v2/manifests/latest",
    "/v2/tags/list",
]
ALLOWED = [
    ("a/manifests/latest", {"GET", "HEAD", "PUT", "DELETE"}),
    (f"a/manifests/{UNKNOWN_DIGEST}", {"GET", "HEAD", "PUT", "DELETE"}),
    (f"a/blobs/{UNKNOWN_DIGEST}", {"GET", "HEAD", "DELETE"}),
    ("a/blobs/uploads/", {"POST"}),
    ("a/blobs/uploads", {"POST"}),
    (f"a/blobs/uploads/{SESSION}", {"GET", "HEAD", "PATCH", "PUT", "DELETE"}),
    ("a/tags/list", {"GET", "HEAD"}),
    (f"a/referrers/{UNKNOWN_DIGEST}", {"GET", "HEAD"}),
    ("_catalog", {"GET", "HEAD"}),
]


@pytest.mark.parametrize("path", UNKNOWN_PATHS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
def test_an_unknown_path_is_404(client: httpx.Client, method: str, path: str) -> None:
    response = client.request(method, path)
    assert response.status_code == 404
    assert response.headers["docker-distribution-api-version"] == "registry/2.0"
    assert response.headers["content-type"] == "application/json"
    if method == "HEAD":
        assert response.content == b""
    else:
        assert errors_of(response)


@pytest.mark.parametrize(("path", "allowed"), ALLOWED)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"])
def test_a_method_that_a_path_lacks_is_405_with_those_it_has(
    client: httpx.Client, path: str, allowed: set[str], method: str
) -> None:
    if method in allowed:
        method = "TRACE"
    response = client.request(method, f"/v2/{path}")
    if method == "BREW":  # not a method at all: the HTTP parser may refuse it first
        assert response.status_code in {400, 405, 501}
        assert errors_of(response)
        return
    assert_error(response, 405, "UNSUPPORTED")
    assert set(response.headers["allow"].split(", ")) == allowed


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize(("method", "rest"), ENDPOINTS, ids=[f"{method}-{rest[:30]}" for method, rest in ENDPOINTS])
def test_an_invalid_name_is_400_everywhere(client: httpx.Client, method: str, rest: str, name: str) -> None:
    assert_error(client.request(method, f"/v2/{name}/{rest}"), 400, "NAME_INVALID")


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_every_name_of_the_grammar_can_be_used(client: httpx.Client, repository: str, name: str) -> None:
    project = repository.rpartition("-")[2] if len(name) < 100 else ""
    repository = f"{name}/{project}" if project else name
    for used in (name, repository):
        image = push_image(client, used, "latest")
        assert client.get(f"/v2/{used}/manifests/latest").content == image.manifest
        assert client.get(f"/v2/{used}/tags/list").json() == {"name": used, "tags": ["latest"]}
        for blob in image.blobs:
            assert client.head(f"/v2/{used}/blobs/{push_blob(client, used, blob)}").status_code == 200
        assert client.get(f"/v2/{used}/referrers/{image.digest}").json()["manifests"] == []
        assert client.delete(f"/v2/{used}/manifests/latest").status_code == 202


@pytest.mark.parametrize("digest", BAD_DIGESTS)
@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("GET", "manifests"),
        ("HEAD", "manifests"),
        ("PUT", "manifests"),
        ("DELETE", "manifests"),
        ("GET", "blobs"),
        ("HEAD", "blobs"),
        ("DELETE", "blobs"),
        ("GET", "referrers"),
    ],
)
def test_a_malformed_digest_is_400(client: httpx.Client, repository: str, method: str, kind: str, digest: str) -> None:
    assert_error(client.request(method, f"/v2/{repository}/{kind}/{digest}"), 400, "DIGEST_INVALID")


@pytest.mark.parametrize(
    ("method", "kind"), [("GET", "blobs"), ("HEAD", "blobs"), ("DELETE", "blobs"), ("GET", "referrers")]
)
def test_a_tag_where_only_a_digest_can_stand_is_400(
    client: httpx.Client, repository: str, method: str, kind: str
) -> None:
    push_image(client, repository, "latest")
    assert_error(client.request(method, f"/v2/{repository}/{kind}/latest"), 400, "DIGEST_INVALID")


@pytest.mark.parametrize("tag", BAD_TAGS)
def test_a_tag_that_cannot_be_is_not_found_and_not_accepted(client: httpx.Client, repository: str, tag: str) -> None:
    image = push_image(client, repository)
    for method in ("GET", "HEAD", "DELETE"):
        assert_error(client.request(method, f"/v2/{repository}/manifests/{tag}"), 404, "MANIFEST_UNKNOWN")
    headers = {"Content-Type": OCI_MANIFEST}
    response = client.put(f"/v2/{repository}/manifests/{tag}", content=image.manifest, headers=headers)
    assert_error(response, 400, "MANIFEST_INVALID")
    assert client.get(f"/v2/{repository}/tags/list").json()["tags"] == []


@pytest.mark.parametrize("reference", ["latest", UNKNOWN_DIGEST])
@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_manifests_of_a_repository_and_of_none(
    client: httpx.Client, repository: str, method: str, reference: str
) -> None:
    assert_error(client.request(method, f"/v2/{repository}/manifests/{reference}"), 404, "NAME_UNKNOWN")
    push_image(client, repository, "other")
    assert_error(client.request(method, f"/v2/{repository}/manifests/{reference}"), 404, "MANIFEST_UNKNOWN")


def test_tags_of_an_unknown_repository(client: httpx.Client, repository: str) -> None:
    assert_error(client.get(f"/v2/{repository}/tags/list"), 404, "NAME_UNKNOWN")


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_blobs_of_a_repository_and_of_none(client: httpx.Client, repository: str, method: str) -> None:
    response = client.request(method, f"/v2/{repository}/blobs/{UNKNOWN_DIGEST}")
    assert_error(response, 404, "BLOB_UNKNOWN")
    push_blob(client, repository, b"other")
    response = client.request(method, f"/v2/{repository}/blobs/{UNKNOWN_DIGEST}")
    assert_error(response, 404, "BLOB_UNKNOWN")


def test_a_blob_of_one_repository_is_not_seen_in_another(client: httpx.Client, repository: str) -> None:
    content = new_image().config
    digest = push_blob(client, f"{repository}/one", content)
    push_blob(client, f"{repository}/two", b"other")
    for method in ("GET", "HEAD", "DELETE"):
        assert_error(client.request(method, f"/v2/{repository}/two/blobs/{digest}"), 404, "BLOB_UNKNOWN")
    assert client.head(f"/v2/{repository}/one/blobs/{digest}").status_code == 200


def test_a_manifest_of_one_repository_is_not_seen_in_another(client: httpx.Client, repository: str) -> None:
    image = push_image(client, f"{repository}/one", "latest")
    push_image(client, f"{repository}/two", "other")
    for reference in ("latest", image.digest):
        assert_error(client.get(f"/v2/{repository}/two/manifests/{reference}"), 404, "MANIFEST_UNKNOWN")
    assert_error(client.get(f"/v2/{repository}/two/blobs/{image.digest}"), 404, "BLOB_UNKNOWN")


def test_a_refusal_says_what_is_wrong(client: httpx.Client, repository: str) -> None:
    push_image(client, repository)
    [error] = errors_of(client.get(f"/v2/{repository}/manifests/missing-tag"))
    assert "missing-tag" in error["message"] and repository in error["message"]
    [error] = errors_of(client.get(f"/v2/{repository}/blobs/sha256:short"))
    assert "sha256" in error["message"]


@pytest.mark.parametrize("text", ["%22%5C%3Cb%3E", "%7F%1B%5B31m", "%E2%80%AE", "{}%5B%5D"])
def test_what_a_refusal_quotes_stays_json(client: httpx.Client, repository: str, text: str) -> None:
    for path in (f"/v2/{repository}/manifests/{text}", f"/v2/{repository}/blobs/{text}", f"/v2/{text}/tags/list"):
        assert errors_of(client.get(path))


def test_a_refusal_does_not_repeat_all_of_a_long_path(client: httpx.Client) -> None:
    for path in (f"/v2/{'x' * 20_000}/tags/list", f"/v2/a/blobs/{'x' * 20_000}", f"/v2/a/manifests/{'x' * 20_000}"):
        response = client.get(path)
        assert 400 <= response.status_code < 500
        assert len(response.content) < 2000
