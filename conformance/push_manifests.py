"""Checks of the section "Push": manifests of all kinds, in other algorithms, of any size. Tags are in `push_tags`."""

import json
from collections.abc import Callable

import httpx

from conformance import content, expect
from conformance.check import Level, Section, add, check
from conformance.content import Manifest
from conformance.trial import ACCEPT_MANIFESTS, Trial

MANIFESTS = Section.PUSHING_MANIFESTS
MUST, SHOULD, MAY = Level.MUST, Level.SHOULD, Level.MAY

FOUR_MEGABYTES = 4_000_000
FAR_TOO_LARGE = 32 * 1024 * 1024


def _nondistributable() -> Manifest:
    """An image with a layer that is not pushed: clients get it elsewhere (image-spec, "Non-Distributable Layers")."""
    pushed, elsewhere = content.config(), content.blob()
    value = {
        "schemaVersion": 2,
        "mediaType": content.IMAGE,
        "config": pushed.descriptor(content.CONFIG),
        "layers": [elsewhere.descriptor(content.NONDISTRIBUTABLE, urls=["https://layers.example.org/one"])],
    }
    return Manifest(content.encode(value), content.IMAGE, (pushed,))


def _data_field() -> Manifest:
    """An image whose config is repeated in its descriptor's `data` (image-spec, "Embedded Content")."""
    empty, layer = content.Blob(b"{}"), content.blob()
    value = {
        "schemaVersion": 2,
        "mediaType": content.IMAGE,
        "artifactType": "application/vnd.example.data",
        "config": empty.descriptor(content.EMPTY, data="e30="),
        "layers": [layer.descriptor("application/vnd.example.data.layer")],
    }
    return Manifest(content.encode(value), content.IMAGE, (empty, layer))


def _without_media_type() -> Manifest:
    """An image manifest as they were before `mediaType` was recommended."""
    manifest = content.image()
    value = manifest.json
    del value["mediaType"]
    return Manifest(content.encode(value), content.IMAGE, manifest.blobs)


def _layer_twice() -> Manifest:
    """An image one of whose layers changes nothing that another did, and so is the same."""
    manifest = content.image()
    value = manifest.json
    value["layers"] *= 2
    return Manifest(content.encode(value), content.IMAGE, manifest.blobs)


KINDS: list[tuple[Level, str, str, Callable[[], Manifest]]] = [
    (MUST, "image", "an image", content.image),
    (MUST, "image_of_many_layers", "an image of 20 layers", lambda: content.image(layers=20)),
    (MUST, "image_with_a_layer_twice", "an image that names one layer twice", _layer_twice),
    (MUST, "image_without_layers", "an image with an empty list of layers", lambda: content.image(layers=0)),
    (MUST, "image_without_media_type", "an image without the field `mediaType`", _without_media_type),
    (MUST, "index", "an index of two images", lambda: content.index([content.image(), content.image()])),
    (MUST, "empty_index", "an index without manifests", lambda: content.index([])),
    (SHOULD, "nested_index", "an index of an index", lambda: content.index([content.index([content.image()])])),
    (MUST, "artifact", "an artifact with `artifactType` and the empty config", content.artifact),
    (
        MUST,
        "artifact_index",
        "an index with `artifactType`",
        lambda: content.index([content.artifact()], artifactType="application/vnd.example.bundle"),
    ),
    (
        MUST,
        "custom_media_types",
        "an image whose config and layers have media types of others",
        lambda: content.image(config_type="application/vnd.cncf.helm.config.v1+json", layer_type="text/x-example"),
    ),
    (
        MUST,
        "unknown_fields",
        "an image with fields that no specification names",
        lambda: content.image(orgExampleField={"nested": [1, 2.50, None, "\u00e9\u4e2d"]}),
    ),
    (MUST, "data_field", "an image whose descriptors hold `data`", _data_field),
    (MAY, "nondistributable_layer", "an image with a non-distributable layer that is not pushed", _nondistributable),
    (MAY, "docker_image", "a manifest of Docker's schema 2", content.docker_image),
    (
        MAY,
        "docker_manifest_list",
        "a manifest list of Docker's",
        lambda: content.index([content.docker_image()], media_type=content.DOCKER_LIST),
    ),
    (
        MAY,
        "unknown_manifest_type",
        "a manifest of a media type that nobody knows",
        lambda: Manifest(content.encode({"anything": content.blob(8).data.hex()}), content.UNKNOWN_MANIFEST),
    ),
]


def _add_kind(level: Level, name: str, kind: str, make: Callable[[], Manifest]) -> None:
    def push_and_pull(trial: Trial) -> None:
        repository, manifest = trial.repository(), make()
        trial.prepare(repository, manifest)
        for reference in ("v1", manifest.digest):
            response = trial.put_manifest(repository, reference, manifest)
            if level is MAY and response.is_client_error:
                raise expect.Lacking(expect.describe(response))
            expect.status(response, 201)
        for reference in ("v1", manifest.digest):
            got = trial.expect_manifest(repository, reference, manifest)
            found = expect.media_type(got)
            expect.that(found == manifest.media_type, f"{expect.describe(got)} with Content-Type: {found}")

    add(MANIFESTS, level, name, f"The registry takes {kind}, and gives it back byte for byte.", push_and_pull)


for _kind in KINDS:
    _add_kind(*_kind)


@check(MANIFESTS, MUST)
def put_by_tag(trial: Trial) -> None:
    """A PUT by tag answers 201 with a Location of the manifest, and Docker-Content-Digest, if there, is its digest."""
    repository, manifest = trial.repository(), content.image()
    trial.prepare(repository, manifest)
    response = expect.status(trial.put_manifest(repository, "v1", manifest), 201)
    if "Docker-Content-Digest" in response.headers:
        expect.digest_header(response, manifest.data)
    location = str(response.url.join(expect.header(response, "Location")))
    expect.body(expect.status(trial.get(location, headers=ACCEPT_MANIFESTS), 200), manifest.data)


@check(MANIFESTS, MUST)
def put_by_digest(trial: Trial) -> None:
    """A PUT by digest answers 201 with a Location, and Docker-Content-Digest, if there, is the digest given."""
    repository, manifest = trial.repository(), content.image()
    trial.prepare(repository, manifest)
    response = expect.status(trial.put_manifest(repository, manifest.digest, manifest), 201)
    if "Docker-Content-Digest" in response.headers:
        expect.header(response, "Docker-Content-Digest", manifest.digest)
    location = str(response.url.join(expect.header(response, "Location")))
    expect.body(expect.status(trial.get(location, headers=ACCEPT_MANIFESTS), 200), manifest.data)


@check(MANIFESTS, MUST)
def exact_bytes(trial: Trial) -> None:
    """A manifest with unusual white space, escapes and order of fields is kept byte for byte."""
    manifest = content.image(annotations={"org.example": "\u00fc"})
    text = json.dumps(dict(reversed(manifest.json.items())), indent="\t").replace("/", "\\/")
    odd = Manifest(f"\r\n {text}\n\n\t".encode(), manifest.media_type, manifest.blobs)
    repository = trial.repository()
    trial.publish(repository, odd, "v1")
    trial.expect_manifest(repository, "v1", odd)
    trial.expect_manifest(repository, odd.digest, odd)


@check(MANIFESTS, MUST)
def repository_names_of_all_forms(trial: Trial) -> None:
    """Repository names with single and double underscores, dots, runs of dashes, and several components are taken."""
    base = trial.repository()
    for ending in ("/a", "/a_b__c", "/d.e", "/f-g---h", "/0/1/2"):
        trial.expect_manifest(base + ending, "v1", trial.publish(base + ending, content.image(), "v1"))


@check(MANIFESTS, SHOULD)
def content_type_parameters(trial: Trial) -> None:
    """Parameters on the Content-Type of a pushed manifest are ignored."""
    repository, manifest = trial.repository(), content.image()
    trial.prepare(repository, manifest)
    response = trial.put_manifest(repository, "v1", manifest, media_type=f"{manifest.media_type}; charset=utf-8")
    expect.status(response, 201)
    expect.header(trial.expect_manifest(repository, "v1", manifest), "Content-Type", manifest.media_type)


@check(Section.PUSH, MAY)
def missing_blob_is_refused(trial: Trial) -> None:
    """A manifest of which a blob is missing is refused."""
    _expect_refused(trial.put_manifest(trial.repository(), "v1", content.image()))


@check(Section.PUSH, MAY)
def missing_manifest_is_refused(trial: Trial) -> None:
    """An index of which a manifest is missing is refused."""
    _expect_refused(trial.put_manifest(trial.repository(), "v1", content.index([content.image()])))


@check(Section.PUSH, MUST)
def missing_blob(trial: Trial) -> None:
    """A manifest that is refused because a blob is missing is refused with MANIFEST_BLOB_UNKNOWN."""
    _refused_as_incomplete(trial, content.image(), see="push/missing-blob-is-refused")


@check(Section.PUSH, MUST)
def missing_manifest(trial: Trial) -> None:
    """An index that is refused because a manifest is missing is refused with MANIFEST_BLOB_UNKNOWN."""
    _refused_as_incomplete(trial, content.index([content.image()]), see="push/missing-manifest-is-refused")


@check(MANIFESTS, SHOULD)
def four_megabytes(trial: Trial) -> None:
    """A manifest of 4 megabytes is taken and given back."""
    repository = trial.repository()
    trial.expect_manifest(repository, "v1", trial.publish(repository, content.padded(FOUR_MEGABYTES), "v1"))


@check(MANIFESTS, SHOULD)
def too_large(trial: Trial) -> None:
    """There is a limit to the size of manifests, and one of 32 MiB is refused with 413."""
    expect.status(trial.put_manifest(trial.repository(), "v1", content.padded(FAR_TOO_LARGE)), 413)


@check(MANIFESTS, MUST)
def digest_mismatch(trial: Trial) -> None:
    """A PUT by the digest of another content is refused, and stores nothing."""
    repository, manifest, claimed = trial.repository(), content.image(), content.absent_digest()
    trial.prepare(repository, manifest)
    expect.refused(trial.put_manifest(repository, claimed, manifest))
    expect.status(trial.get_manifest(repository, claimed), 404)


@check(MANIFESTS, SHOULD)
def digest_mismatch_code(trial: Trial) -> None:
    """A PUT by the digest of another content is refused with 400 and DIGEST_INVALID."""
    repository, manifest = trial.repository(), content.image()
    trial.prepare(repository, manifest)
    response = expect.status(trial.put_manifest(repository, content.absent_digest(), manifest), 400)
    expect.code_if_any(response, "DIGEST_INVALID")


@check(MANIFESTS, MAY)
def sha512_is_supported(trial: Trial) -> None:
    """A manifest can be pushed by its sha512 digest, which image-spec registers beside sha256."""
    manifest = content.index([], algorithm="sha512")
    response = trial.put_manifest(trial.repository(), manifest.digest, manifest)
    if response.is_client_error:
        raise expect.Lacking(expect.describe(response))
    expect.status(response, 201)


@check(MANIFESTS, MUST)
def sha512(trial: Trial) -> None:
    """A manifest that is accepted by its sha512 digest can be pulled by that digest, and is answered with it."""
    repository, manifest = trial.repository(), content.index([], algorithm="sha512")
    response = put_by_sha512(trial, repository, manifest)
    if "Docker-Content-Digest" in response.headers:
        expect.header(response, "Docker-Content-Digest", manifest.digest)
    expect.digest_header(trial.expect_manifest(repository, manifest.digest, manifest), manifest.data)


@check(MANIFESTS, MUST)
def sha512_mismatch(trial: Trial) -> None:
    """Where sha512 is supported, a PUT by the sha512 digest of another content is refused, and stores nothing."""
    repository, manifest, claimed = trial.repository(), content.index([]), content.absent_digest("sha512")
    put_by_sha512(trial, repository, content.index([], algorithm="sha512"))
    expect.refused(trial.put_manifest(repository, claimed, manifest))
    expect.status(trial.get_manifest(repository, claimed), 404)


def _expect_refused(response: httpx.Response) -> None:
    if response.status_code == 201:
        raise expect.Lacking(f"{expect.describe(response)}: manifests of which parts are missing are accepted")
    expect.refused(response)


def _refused_as_incomplete(trial: Trial, manifest: Manifest, see: str) -> None:
    response = trial.put_manifest(trial.repository(), "v1", manifest)
    if response.status_code == 201:
        raise expect.NotApplicable("the registry accepts manifests of which parts are missing", see)
    expect.code(expect.refused(response), "MANIFEST_BLOB_UNKNOWN")


def put_by_sha512(trial: Trial, repository: str, manifest: Manifest) -> httpx.Response:
    """PUT a manifest by its sha512 digest.

    Raises:
        expect.NotApplicable: the registry refuses it.
    """
    response = trial.put_manifest(repository, manifest.digest, manifest)
    if response.is_client_error:
        raise expect.NotApplicable(expect.describe(response), see="pushing-manifests/sha512-is-supported")
    return expect.status(response, 201)
