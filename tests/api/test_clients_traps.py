"""What clients trip over at registries: each test is a client's habit that some registry broke."""

import json

import httpx
import pytest

from tests.factories import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    EMPTY,
    OCI_EMPTY,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    UNKNOWN_DIGEST,
    artifact_manifest,
    descriptor,
    digest_of,
    image_manifest,
    index_manifest,
    pieces,
    pull_blob,
    push_blob,
    push_image,
    push_manifest,
    put_manifest,
    random_bytes,
    start_upload,
)
from tests.support.served import Connection
from tests.support.server import Connect, Server, ServerFactory

HOSTILE = {
    "Host": "evil.example",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Prefix": "/evil",
    "Forwarded": "host=evil.example;proto=https",
}
PUBLIC = "https://r.example"


def locations(client: httpx.Client, repository: str, headers: dict[str, str]) -> list[str]:
    """Every Location and Link that a push and a listing show, asked for with these headers."""
    blob, other = random_bytes(), random_bytes()
    uploads = f"/v2/{repository}/blobs/uploads/"
    shown = []

    def ask(method: str, target: str, status: int, content: bytes = b"", **more: str) -> str:
        response = client.request(method, target, content=content, headers={**headers, **more})
        assert response.status_code == status, response.text
        target = response.headers["location" if "location" in response.headers else "link"]
        shown.append(target)
        return target.removeprefix(PUBLIC)

    session = ask("POST", uploads, 202)
    session = ask("PATCH", session, 202, blob)
    session = ask("GET", session, 204)
    ask("PATCH", session, 416, b"x", **{"Content-Range": "900-900"})
    ask("PUT", f"{session}?digest={digest_of(blob)}", 201)
    ask("POST", f"{uploads}?digest={digest_of(other)}", 201, other)
    ask("POST", f"/v2/{repository}/mounted/blobs/uploads/?mount={digest_of(blob)}&from={repository}", 201)
    ask("POST", f"{uploads}?mount={UNKNOWN_DIGEST}&from=nobody/nothing", 202)
    manifest = image_manifest(blob, [other])
    for tag in ("one", "two"):
        ask("PUT", f"/v2/{repository}/manifests/{tag}", 201, manifest, **{"Content-Type": OCI_MANIFEST})
    ask("GET", f"/v2/{repository}/tags/list?n=1", 200)
    ask("GET", "/v2/_catalog?n=1", 200)
    ask("POST", f"{uploads}?digest={digest_of(EMPTY)}", 201, EMPTY)
    for _ in range(2):
        push_manifest(client, repository, artifact_manifest(manifest))
    ask("GET", f"/v2/{repository}/referrers/{digest_of(manifest)}?n=1", 200)
    return shown


def test_locations_never_come_from_the_host_header(client: httpx.Client, repository: str) -> None:
    for location in locations(client, repository, HOSTILE):
        assert location.startswith(("/v2/", "</v2/")), location
        assert "evil" not in location


def test_locations_are_absolute_with_a_public_url(
    fresh_server: ServerFactory, connect: Connect, repository: str
) -> None:
    client = connect(fresh_server(STOWAGE_HTTP__PUBLIC_URL=f"{PUBLIC}/"))
    for location in locations(client, repository, HOSTILE):
        assert location.startswith((f"{PUBLIC}/v2/", f"<{PUBLIC}/v2/")), location
        assert "evil" not in location


def test_mounting_from_where_nothing_can_be_read_is_an_ordinary_upload(client: httpx.Client, repository: str) -> None:
    """containerd and BuildKit ask for mounts from wherever they pulled a layer, and take 401 or 403 for an end."""
    content = random_bytes(10_000)
    query = {"mount": digest_of(content), "from": "somebody/private"}
    response = client.post(f"/v2/{repository}/blobs/uploads/", params=query)
    assert response.status_code == 202
    location = response.headers["location"]
    assert client.patch(location, content=pieces(content)).status_code == 202
    assert client.put(location, params={"digest": digest_of(content)}).status_code == 201
    assert pull_blob(client, repository, digest_of(content)) == content


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("query", ["", "?digest={digest}", "?mount={digest}&from=nobody/nothing"])
def test_uploads_begin_with_and_without_the_last_slash(
    client: httpx.Client, repository: str, slash: str, query: str
) -> None:
    content = random_bytes()
    target = f"/v2/{repository}/blobs/uploads{slash}{query.format(digest=digest_of(content))}"
    response = client.post(target, content=content if "?digest" in query else b"")
    assert response.status_code == (201 if "?digest" in query else 202)
    assert "//" not in response.headers["location"]


def test_docker_streams_a_layer_in_one_patch(client: httpx.Client, repository: str) -> None:
    """Chunked, without Content-Length and Content-Range; the PUT that follows has no body."""
    content = random_bytes(500_000)
    response = client.patch(start_upload(client, repository), content=pieces(content))
    assert response.status_code == 202
    assert response.headers["range"] == f"0-{len(content) - 1}"
    response = client.put(response.headers["location"], params={"digest": digest_of(content)})
    assert response.status_code == 201
    assert pull_blob(client, repository, digest_of(content)) == content


@pytest.mark.parametrize("form", ["0-{last}", "bytes 0-{last}/{size}", "bytes 0-{last}/*"])
@pytest.mark.parametrize("chunked", [True, False])
def test_content_range_on_a_monolithic_put(client: httpx.Client, repository: str, form: str, chunked: bool) -> None:
    content = random_bytes(70_000)
    headers = {"Content-Range": form.format(last=len(content) - 1, size=len(content))}
    response = client.put(
        start_upload(client, repository),
        params={"digest": digest_of(content)},
        content=pieces(content) if chunked else content,
        headers=headers,
    )
    assert response.status_code == 201, response.text
    assert pull_blob(client, repository, digest_of(content)) == content


@pytest.mark.parametrize("kind", ["open", "closed"])
def test_pulls_are_resumed(server: Server, client: httpx.Client, repository: str, kind: str) -> None:
    """Podman and containerd go on where the connection broke."""
    content = random_bytes(2_000_000)
    target = f"/v2/{repository}/blobs/{push_blob(client, repository, content)}"
    with Connection(server.port) as connection:
        connection.ask(target)
        status, headers = connection.head()
        assert (status, headers["content-length"]) == (200, str(len(content)))
        begun = connection.read(700_001)
    last = "" if kind == "open" else str(len(content) - 1)
    response = client.get(target, headers={"Range": f"bytes={len(begun)}-{last}", "If-Range": headers["etag"]})
    assert response.status_code == 206
    assert response.headers["content-range"] == f"bytes {len(begun)}-{len(content) - 1}/{len(content)}"
    assert int(response.headers["content-length"]) == len(content) - len(begun)
    assert begun + response.content == content


def test_head_is_answered_here(client: httpx.Client, repository: str) -> None:
    """A redirect to storage would be signed for another method."""
    image = push_image(client, repository, "latest")
    for path in (f"blobs/{digest_of(image.config)}", f"manifests/{image.digest}", "manifests/latest"):
        response = client.head(f"/v2/{repository}/{path}")
        assert response.status_code == 200
        assert "location" not in response.headers
        assert int(response.headers["content-length"]) > 0


@pytest.mark.parametrize(
    "accept",
    [
        [],
        ["*/*"],
        [""],
        ["application/*"],
        [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST],
        [f"{DOCKER_MANIFEST}, {DOCKER_LIST}", "*/*;q=0.1"],
        [DOCKER_MANIFEST],
        ["application/vnd.docker.distribution.manifest.v1+prettyjws"],
        ["text/html"],
        ["nonsense;;;"],
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_accept_in_any_form_gets_the_stored_bytes(
    server: Server, client: httpx.Client, repository: str, method: str, accept: list[str]
) -> None:
    image = push_image(client, repository)
    index = index_manifest(
        [descriptor(image.manifest, OCI_MANIFEST, platform={"os": "linux", "architecture": "amd64"})]
    )
    push_manifest(client, repository, index, "latest", media_type=OCI_INDEX)
    with Connection(server.port) as connection:  # httpx would add an Accept of its own
        lines = "".join(f"Accept: {value}\r\n" for value in accept)
        connection.ask(f"/v2/{repository}/manifests/latest", method, lines)
        answer = connection.answer(bodiless=method == "HEAD")
    assert answer.status == 200
    assert answer.headers["content-type"] == OCI_INDEX
    assert answer.headers["docker-content-digest"] == digest_of(index)
    assert answer.body == (index if method == "GET" else b"")


def test_a_buildkit_cache_points_at_layers(client: httpx.Client, repository: str) -> None:
    """An index without platforms whose entries are layers and a config of BuildKit's own type."""
    layers = [random_bytes() for _ in range(2)]
    cache = b'{"layers": [], "records": []}'
    for content in (*layers, cache):
        push_blob(client, repository, content)
    entries = [descriptor(layer, OCI_LAYER, annotations={"buildkit/createdat": "2024-01-01"}) for layer in layers]
    entries.append(descriptor(cache, "application/vnd.buildkit.cacheconfig.v0"))
    for media_type in (OCI_INDEX, DOCKER_LIST):
        content = index_manifest(entries, media_type=media_type)
        push_manifest(client, repository, content, "cache", media_type=media_type)
        assert client.get(f"/v2/{repository}/manifests/cache").content == content
    response = put_manifest(client, repository, "lost", index_manifest([descriptor(b"?", OCI_LAYER)]), OCI_INDEX)
    assert response.status_code == 404


def test_a_buildkit_cache_as_an_image_manifest(client: httpx.Client, repository: str) -> None:
    layer, cache = random_bytes(), b'{"layers": [{}]}'
    for content in (layer, cache):
        push_blob(client, repository, content)
    content = image_manifest(cache, [layer], config_type="application/vnd.buildkit.cacheconfig.v0")
    push_manifest(client, repository, content, "cache")
    assert client.get(f"/v2/{repository}/manifests/cache").content == content


@pytest.mark.parametrize(
    ("config_type", "layer_type"),
    [
        ("application/vnd.cncf.helm.config.v1+json", "application/vnd.cncf.helm.chart.content.v1.tar+gzip"),
        ("application/vnd.oci.image.config.v1+json", "application/vnd.dev.cosign.simplesigning.v1+json"),
        ("application/vnd.wasm.config.v0+json", "application/wasm"),
        ("application/vnd.wasm.config.v1+json", "application/vnd.wasm.content.layer.v1+wasm"),
        ("application/vnd.cncf.flux.config.v1+json", "application/vnd.cncf.flux.content.v1.tar+gzip"),
        ("application/vnd.sylabs.sif.config.v1+json", "application/vnd.sylabs.sif.layer.v1.sif"),
        ("application/vnd.docker.plugin.v1+json", "application/vnd.docker.image.rootfs.diff.tar.gzip"),
        ("application/vnd.unknown.config.v1+json", "application/vnd.in-toto+json"),
        (OCI_EMPTY, "application/vnd.dev.sigstore.bundle.v0.3+json"),
    ],
)
def test_tools_bring_types_of_their_own(
    client: httpx.Client, repository: str, config_type: str, layer_type: str
) -> None:
    config, layer = EMPTY, random_bytes()
    push_blob(client, repository, config)
    push_blob(client, repository, layer)
    content = image_manifest(config, [layer], config_type=config_type, layer_type=layer_type)
    push_manifest(client, repository, content, "1.0.0")
    response = client.get(f"/v2/{repository}/manifests/1.0.0")
    assert response.content == content
    assert response.headers["content-type"] == OCI_MANIFEST


def test_a_cosign_signature_under_its_tag(client: httpx.Client, repository: str) -> None:
    image = push_image(client, repository, "latest")
    payload = json.dumps({"critical": {"image": {"docker-manifest-digest": image.digest}}}).encode()
    for content in (EMPTY, payload):
        push_blob(client, repository, content)
    layer = descriptor(
        payload,
        "application/vnd.dev.cosign.simplesigning.v1+json",
        annotations={"dev.cosignproject.cosign/signature": "c2lnbmF0dXJl"},
    )
    content = image_manifest(EMPTY, layers=[layer])
    tag = f"{image.digest.replace(':', '-')}.sig"
    push_manifest(client, repository, content, tag)
    assert client.get(f"/v2/{repository}/manifests/{tag}").content == content
    assert client.get(f"/v2/{repository}/referrers/{image.digest}").json()["manifests"] == []


def test_an_oras_artifact_manifest_of_the_release_candidates(client: httpx.Client, repository: str) -> None:
    image = push_image(client, repository)
    blob = random_bytes()
    push_blob(client, repository, blob)
    media_type = "application/vnd.oci.artifact.manifest.v1+json"
    document = {
        "mediaType": media_type,
        "artifactType": "application/vnd.example.sbom",
        "blobs": [descriptor(blob, "text/plain")],
        "subject": descriptor(image.manifest, OCI_MANIFEST),
    }
    content = json.dumps(document).encode()
    response = put_manifest(client, repository, digest_of(content), content, media_type)
    assert response.headers["oci-subject"] == image.digest
    [found] = client.get(f"/v2/{repository}/referrers/{image.digest}").json()["manifests"]
    assert (found["mediaType"], found["artifactType"]) == (media_type, "application/vnd.example.sbom")


@pytest.mark.parametrize("known", [True, False])
def test_no_referrers_is_an_empty_index(client: httpx.Client, repository: str, known: bool) -> None:
    """After a 404 cosign, oras and crane keep referrers under tags instead."""
    if known:
        push_image(client, repository)
    response = client.get(f"/v2/{repository}/referrers/{UNKNOWN_DIGEST}")
    assert response.status_code == 200
    assert response.headers["content-type"] == OCI_INDEX
    assert response.json() == {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}


def test_a_referrers_tag_that_is_missing_is_404(client: httpx.Client, repository: str) -> None:
    image = push_image(client, repository)
    assert client.get(f"/v2/{repository}/manifests/{image.digest.replace(':', '-')}").status_code == 404


def test_helm_sees_every_version_in_order(client: httpx.Client, repository: str) -> None:
    chart = push_image(client, repository)
    versions = [
        f"{major}.{minor}.0{suffix}" for major in range(3) for minor in range(12) for suffix in ("", "_build", "-rc.1")
    ]
    for start in range(0, len(versions), 50):
        query = [("tag", version) for version in versions[start : start + 50]]
        assert put_manifest(client, repository, chart.digest, chart.manifest, params=query).status_code == 201
    response = client.get(f"/v2/{repository}/tags/list")
    assert response.json()["tags"] == sorted(versions)
    assert "link" not in response.headers


@pytest.mark.parametrize("encoding", ["gzip", "gzip, deflate, br, zstd"])
def test_what_is_stored_compressed_is_not_taken_for_an_encoding(
    client: httpx.Client, repository: str, encoding: str
) -> None:
    """A layer is a gzip file: with Content-Encoding, clients would unpack it and miss its digest."""
    content = b"\x1f\x8b\x08\x00" + b"\0" * 5000
    digest = push_blob(client, repository, content)
    response = client.get(f"/v2/{repository}/blobs/{digest}", headers={"Accept-Encoding": encoding})
    assert "content-encoding" not in response.headers
    assert response.content == content


def test_a_client_that_asks_before_it_pushes(client: httpx.Client, repository: str) -> None:
    """HEAD, then POST: what HEAD found may be referred to without a push."""
    blob = random_bytes()
    path = f"/v2/{repository}/blobs/{digest_of(blob)}"
    assert client.head(path).status_code == 404
    push_blob(client, repository, blob)
    assert client.head(path).status_code == 200
    push_manifest(client, repository, image_manifest(blob), "latest")


def test_names_in_a_proxys_query_do_not_matter(client: httpx.Client, repository: str) -> None:
    """containerd adds `ns` to what it pulls through mirrors."""
    image = push_image(client, repository, "latest")
    query = {"ns": "docker.example"}
    assert client.get(f"/v2/{repository}/manifests/latest", params=query).content == image.manifest
    assert client.get(f"/v2/{repository}/blobs/{digest_of(image.config)}", params=query).content == image.config
