"""Checks of the section "Push": manifests of all kinds, tags given with them, subjects, limits."""

import json
from collections.abc import Callable

from conformance import content, expect
from conformance.check import Level, Section, add, check
from conformance.content import Manifest
from conformance.referrers import require_referrers
from conformance.trial import ACCEPT_MANIFESTS, Trial

MANIFESTS = Section.PUSHING_MANIFESTS
SUBJECT = Section.SUBJECT
MUST, SHOULD, MAY = Level.MUST, Level.SHOULD, Level.MAY

FOUR_MEGABYTES = 4 * 1024 * 1024
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


KINDS: list[tuple[Level, str, str, Callable[[], Manifest]]] = [
    (MUST, "image", "an image", content.image),
    (MUST, "image_of_many_layers", "an image of 20 layers", lambda: content.image(layers=20)),
    (MUST, "image_without_layers", "an image with an empty list of layers", lambda: content.image(layers=0)),
    (MUST, "image_without_media_type", "an image without the field `mediaType`", _without_media_type),
    (MUST, "index", "an index of two images", lambda: content.index([content.image(), content.image()])),
    (MUST, "empty_index", "an index without manifests", lambda: content.index([])),
    (MUST, "nested_index", "an index of an index", lambda: content.index([content.index([content.image()])])),
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
    (SHOULD, "nondistributable_layer", "an image with a non-distributable layer that is not pushed", _nondistributable),
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
                raise expect.Unsupported(expect.describe(response))
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
    """A PUT by tag answers 201 with a Location from which the manifest can be pulled."""
    repository, manifest = trial.repository(), content.image()
    trial.prepare(repository, manifest)
    response = expect.status(trial.put_manifest(repository, "v1", manifest), 201)
    location = str(response.url.join(expect.header(response, "Location")))
    expect.body(expect.status(trial.get(location, headers=ACCEPT_MANIFESTS), 200), manifest.data)


@check(MANIFESTS, MUST)
def put_by_digest(trial: Trial) -> None:
    """A PUT by digest answers 201 with a Location, and Docker-Content-Digest, if there, is the digest given."""
    repository, manifest = trial.repository(), content.image()
    trial.prepare(repository, manifest)
    response = expect.status(trial.put_manifest(repository, manifest.digest, manifest), 201)
    got = response.headers.get("Docker-Content-Digest", manifest.digest)
    expect.that(got == manifest.digest, f"{expect.describe(response)} with Docker-Content-Digest: {got}")
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
def tag_moves(trial: Trial) -> None:
    """A tag that is pushed again names the new manifest; the old one can still be pulled by digest."""
    repository = trial.repository()
    old = trial.publish(repository, content.image(), "v1")
    new = trial.publish(repository, content.image(), "v1")
    trial.expect_manifest(repository, "v1", new)
    trial.expect_manifest(repository, old.digest, old)


@check(MANIFESTS, MUST)
def tags_of_all_forms(trial: Trial) -> None:
    """Tags of all forms that the specification allows are taken, up to 128 characters."""
    repository, manifest = trial.repository(), content.image()
    trial.prepare(repository, manifest)
    for tag in ("a", "0", "_", "V1.2-rc_3", "_a--b..c__d", "x" * 128):
        expect.status(trial.put_manifest(repository, tag, manifest), 201)
        trial.expect_manifest(repository, tag, manifest)


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


@check(Section.PUSH, MUST)
def missing_blob(trial: Trial) -> None:
    """A manifest that is refused because a blob is missing is refused with MANIFEST_BLOB_UNKNOWN."""
    _refused_as_incomplete(trial, content.image())


@check(Section.PUSH, MUST)
def missing_manifest(trial: Trial) -> None:
    """An index that is refused because a manifest is missing is refused with MANIFEST_BLOB_UNKNOWN."""
    _refused_as_incomplete(trial, content.index([content.image()]))


@check(MANIFESTS, SHOULD)
def four_megabytes(trial: Trial) -> None:
    """A manifest of 4 MiB is taken and given back."""
    repository = trial.repository()
    trial.expect_manifest(repository, "v1", trial.publish(repository, content.padded(FOUR_MEGABYTES), "v1"))


@check(MANIFESTS, SHOULD)
def too_large(trial: Trial) -> None:
    """A manifest over the registry's limit is refused with 413."""
    response = trial.put_manifest(trial.repository(), "v1", content.padded(FAR_TOO_LARGE))
    if response.status_code == 201:
        raise expect.Unsupported(f"{expect.describe(response)} to a manifest of {FAR_TOO_LARGE} bytes: no limit found")
    expect.status(response, 413)


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
    expect.code(response, "DIGEST_INVALID")


@check(MANIFESTS, MUST)
def sha512(trial: Trial) -> None:
    """A manifest that is accepted by its sha512 digest can be pulled by that digest."""
    repository, manifest = trial.repository(), content.index([], algorithm="sha512")
    response = trial.put_manifest(repository, manifest.digest, manifest)
    if response.is_client_error:
        raise expect.Unsupported(expect.describe(response))
    expect.status(response, 201)
    got = response.headers.get("Docker-Content-Digest", manifest.digest)
    expect.that(got == manifest.digest, f"{expect.describe(response)} with Docker-Content-Digest: {got}")
    trial.expect_manifest(repository, manifest.digest, manifest)


@check(MANIFESTS, MUST)
def tag_parameters(trial: Trial) -> None:
    """Tags given as `tag` parameters with a digest are made, and named in OCI-Tag."""
    _push_tags(trial, ["1.2.3", "1.2", "1"], "sha256")


@check(MANIFESTS, SHOULD)
def ten_tag_parameters(trial: Trial) -> None:
    """Ten tags can be given with one request."""
    _push_tags(trial, [f"v{number}" for number in range(10)], "sha256")


@check(MANIFESTS, MUST)
def tag_parameters_of_sha512(trial: Trial) -> None:
    """Tags given with a sha512 digest are made, and name that manifest."""
    _push_tags(trial, ["one", "two"], "sha512")


@check(SUBJECT, MUST)
def subject_header(trial: Trial) -> None:
    """An image pushed with a subject is answered with OCI-Subject, by tag and by digest."""
    repository = trial.repository()
    require_referrers(trial, repository)
    subject = trial.publish(repository, content.image(), "v1")
    for tagged in (True, False):
        referrer = content.artifact(subject=subject.descriptor())
        trial.prepare(repository, referrer)
        response = trial.put_manifest(repository, "sig" if tagged else referrer.digest, referrer)
        expect.header(expect.status(response, 201), "OCI-Subject", subject.digest)


@check(SUBJECT, SHOULD)
def subject_header_of_index(trial: Trial) -> None:
    """An index pushed with a subject is answered with OCI-Subject too."""
    repository = trial.repository()
    require_referrers(trial, repository)
    subject = trial.publish(repository, content.image(), "v1")
    referrer = content.index([], subject=subject.descriptor())
    response = expect.status(trial.put_manifest(repository, referrer.digest, referrer), 201)
    expect.header(response, "OCI-Subject", subject.digest)


@check(SUBJECT, MUST)
def no_subject_header(trial: Trial) -> None:
    """A manifest without a subject is not answered with OCI-Subject."""
    repository, manifest = trial.repository(), content.image()
    trial.prepare(repository, manifest)
    response = expect.status(trial.put_manifest(repository, "v1", manifest), 201)
    expect.that("OCI-Subject" not in response.headers, f"{expect.describe(response)} with OCI-Subject")


@check(Section.PUSH, MUST)
def missing_subject(trial: Trial) -> None:
    """A manifest whose subject is not in the repository is accepted, an image and an index."""
    repository, missing = trial.repository(), content.image()
    for referrer in (content.artifact(subject=missing.descriptor()), content.index([], subject=missing.descriptor())):
        trial.expect_manifest(repository, referrer.digest, trial.publish(repository, referrer))


def _refused_as_incomplete(trial: Trial, manifest: Manifest) -> None:
    response = trial.put_manifest(trial.repository(), "v1", manifest)
    if response.status_code == 201:
        raise expect.Unsupported("the registry accepts manifests of which parts are missing")
    expect.code(expect.refused(response), "MANIFEST_BLOB_UNKNOWN", required=True)


def _push_tags(trial: Trial, tags: list[str], algorithm: str) -> None:
    repository, manifest = trial.repository(), content.index([], algorithm=algorithm)
    response = trial.put_manifest(repository, manifest.digest, manifest, [("tag", tag) for tag in tags])
    if response.is_client_error and algorithm != "sha256":
        raise expect.Unsupported(expect.describe(response))
    expect.status(response, 201)
    named = {one.strip() for value in response.headers.get_list("OCI-Tag") for one in value.split(",")}
    if not named:
        made = [tag for tag in tags if trial.head_manifest(repository, tag).is_success]
        expect.that(not made, f"{expect.describe(response)} without OCI-Tag, but made the tags {made}")
        raise expect.Unsupported(f"{expect.describe(response)} without OCI-Tag, and made no tag")
    expect.that(named == set(tags), f"{expect.describe(response)} with OCI-Tag {sorted(named)}")
    for tag in tags:
        trial.expect_manifest(repository, tag, manifest)
