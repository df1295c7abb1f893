"""Manifests: what each type must be, what is read of it, and that only ManifestInvalid is ever raised."""

import base64
import copy
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import ManifestInvalid
from registry.oci import media_types as mt
from registry.oci.descriptors import is_well_formed_digest
from registry.oci.manifests import Manifest, Reference, Role, parse_manifest

OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
UNKNOWN = "application/vnd.example.thing.v1+json"


def digest_of(number: int) -> str:
    return f"sha256:{number:064x}"


def descriptor(number: int, media_type: str = OCI_LAYER, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(number), "size": number, **more}


def reference(
    role: Role, number: int, position: int, media_type: str = OCI_LAYER, distributable: bool = True
) -> Reference:
    return Reference(role, digest_of(number), number, media_type, position, distributable)


def image(**changes: Any) -> dict[str, Any]:
    """A valid OCI image manifest with `changes`; `...` takes a field away."""
    fields = {
        "schemaVersion": 2,
        "mediaType": mt.OCI_MANIFEST,
        "config": descriptor(1, mt.OCI_CONFIG),
        "layers": [descriptor(2), descriptor(3)],
        **changes,
    }
    return {name: value for name, value in fields.items() if value is not ...}


def index(**changes: Any) -> dict[str, Any]:
    """A valid OCI index with `changes`; `...` takes a field away."""
    fields = {
        "schemaVersion": 2,
        "mediaType": mt.OCI_INDEX,
        "manifests": [descriptor(4, mt.OCI_MANIFEST, platform={"os": "linux"}), descriptor(5, mt.OCI_MANIFEST)],
        **changes,
    }
    return {name: value for name, value in fields.items() if value is not ...}


def parse(document: object, content_type: str | None = None, **options: int) -> Manifest:
    return parse_manifest(json.dumps(document).encode(), content_type, **options)


def fault_of(document: object, content_type: str | None = None, **options: int) -> str:
    with pytest.raises(ManifestInvalid) as refused:
        parse(document, content_type, **options)
    refused.value.message.encode()
    return refused.value.message


def test_an_image_is_read_in_order() -> None:
    content = image(annotations={"a": "b"}, subject=descriptor(9, mt.OCI_MANIFEST), artifactType="application/vnd.sbom")
    assert parse(content) == Manifest(
        media_type=mt.OCI_MANIFEST,
        artifact_type="application/vnd.sbom",
        subject=digest_of(9),
        annotations={"a": "b"},
        references=(
            reference(Role.CONFIG, 1, 0, mt.OCI_CONFIG),
            reference(Role.LAYER, 2, 1),
            reference(Role.LAYER, 3, 2),
        ),
    )


def test_docker_images_and_lists_are_read_alike() -> None:
    docker = parse(image(mediaType=mt.DOCKER_MANIFEST), mt.DOCKER_MANIFEST)
    assert docker.media_type == mt.DOCKER_MANIFEST
    assert docker.artifact_type == mt.OCI_CONFIG
    assert docker.references == parse(image()).references
    docker_list = parse(index(mediaType=mt.DOCKER_LIST))
    assert docker_list.media_type == mt.DOCKER_LIST
    assert docker_list.references == parse(index()).references


def test_an_index_is_read_in_order() -> None:
    assert parse(index(subject=None, annotations=None)) == Manifest(
        media_type=mt.OCI_INDEX,
        artifact_type=None,
        subject=None,
        annotations={},
        references=(
            reference(Role.CHILD, 4, 0, mt.OCI_MANIFEST),
            reference(Role.CHILD, 5, 1, mt.OCI_MANIFEST),
        ),
    )


def test_an_index_may_point_at_layers() -> None:
    cache = index(manifests=[descriptor(2), descriptor(3, "application/vnd.buildkit.cacheconfig.v0")])
    assert [(r.role, r.digest) for r in parse(cache).references] == [
        (Role.CHILD, digest_of(2)),
        (Role.CHILD, digest_of(3)),
    ]


def test_an_artifact_manifest_needs_nothing_but_its_type() -> None:
    assert parse({"mediaType": mt.OCI_ARTIFACT}).references == ()
    full = {"blobs": [descriptor(2)], "artifactType": "a/b", "subject": descriptor(9), "annotations": {"a": "b"}}
    assert parse(full, mt.OCI_ARTIFACT) == Manifest(
        mt.OCI_ARTIFACT, "a/b", digest_of(9), {"a": "b"}, (reference(Role.BLOB, 2, 0),)
    )
    assert fault_of({"blobs": [{}]}, mt.OCI_ARTIFACT).startswith("blobs[0].mediaType: ")


def test_null_is_an_empty_list() -> None:
    assert [r.role for r in parse(image(layers=None)).references] == [Role.CONFIG]
    assert parse(image(layers=[])) == parse(image(layers=None)) == parse(image(layers=None, mediaType=...))
    assert parse(index(manifests=None)).references == ()
    assert parse(index(manifests=None, mediaType=...)).media_type == mt.OCI_INDEX
    assert parse({"blobs": None}, mt.OCI_ARTIFACT).references == ()


def test_the_same_digest_is_kept_once_a_role() -> None:
    both = image(config=descriptor(2, mt.OCI_EMPTY), layers=[descriptor(2), descriptor(3), descriptor(2)])
    assert parse(both).references == (
        reference(Role.CONFIG, 2, 0, mt.OCI_EMPTY),
        reference(Role.LAYER, 2, 1),
        reference(Role.LAYER, 3, 2),
    )


def test_the_same_digest_with_another_size_is_refused() -> None:
    contradiction = image(layers=[descriptor(2), {**descriptor(2), "size": 7}])
    assert fault_of(contradiction) == "layers[1].size: is 7, but was 2 for the same digest before"


def test_foreign_layers_may_be_absent() -> None:
    layers = [
        descriptor(2, FOREIGN, urls=["https://example.com/x"]),
        descriptor(3, FOREIGN),
        descriptor(4, urls=["x:y"]),
    ]
    assert [r.distributable for r in parse(image(layers=layers)).references] == [True, False, False, True]
    unknown = parse({"layers": layers, "config": descriptor(1, FOREIGN)}, UNKNOWN)
    assert [r.distributable for r in unknown.references] == [True, False, False, True]


def test_a_layer_that_is_foreign_in_one_place_only_must_be_there() -> None:
    for layers in ([descriptor(2, FOREIGN), descriptor(2)], [descriptor(2), descriptor(2, FOREIGN)]):
        assert parse(image(layers=layers)).references[1:] == (reference(Role.LAYER, 2, 1),)


@pytest.mark.parametrize("absent", ["", None, ...])
def test_an_artifact_type_left_out_is_that_of_the_config(absent: object) -> None:
    assert parse(image(artifactType=absent)).artifact_type == mt.OCI_CONFIG
    assert parse(index(artifactType=absent)).artifact_type is None
    assert parse(index(artifactType="a/b")).artifact_type == "a/b"


def test_unknown_fields_are_left_alone() -> None:
    extra = {"org.example": {"deep": [1.5, None]}, "blobs": 7, "data": "x", "half": "\ud800"}
    assert parse(image(**extra)) == parse(image())


@pytest.mark.parametrize(
    ("document", "content_type", "media_type"),
    [
        (image(), mt.OCI_MANIFEST, mt.OCI_MANIFEST),
        (image(), f"{mt.OCI_MANIFEST.upper()} ; charset=utf-8", mt.OCI_MANIFEST),
        (image(), None, mt.OCI_MANIFEST),
        (image(), " ", mt.OCI_MANIFEST),
        (image(mediaType=mt.DOCKER_MANIFEST), "application/json; charset=utf-8", mt.DOCKER_MANIFEST),
        (image(mediaType=...), "application/octet-stream", mt.OCI_MANIFEST),
        (image(mediaType=""), "application/x-www-form-urlencoded", mt.OCI_MANIFEST),
        (image(mediaType=None), mt.DOCKER_MANIFEST, mt.DOCKER_MANIFEST),
        (image(mediaType=..., manifests=None), None, mt.OCI_MANIFEST),
        (index(mediaType=...), None, mt.OCI_INDEX),
        (index(mediaType=..., config=None, layers=None), None, mt.OCI_INDEX),
        ({}, UNKNOWN, UNKNOWN),
        ({"mediaType": UNKNOWN}, None, UNKNOWN),
        ({"mediaType": "application/vnd.Example+json"}, "application/vnd.EXAMPLE+json", "application/vnd.Example+json"),
        ({"schemaVersion": 1}, UNKNOWN, UNKNOWN),
    ],
)
def test_the_media_type_is_decided(document: dict[str, Any], content_type: str | None, media_type: str) -> None:
    assert parse(document, content_type).media_type == media_type


@pytest.mark.parametrize(
    ("document", "content_type", "fault"),
    [
        (image(), mt.OCI_INDEX, "mediaType: is 'application/vnd.oci.image.manifest"),
        (image(mediaType=mt.OCI_INDEX), mt.OCI_MANIFEST, "mediaType: is "),
        ({"mediaType": "a/b"}, UNKNOWN, "mediaType: is 'a/b', but the Content-Type header says"),
        ({"mediaType": 7}, UNKNOWN, "mediaType: must be a string"),
        ({"mediaType": "nonsense"}, None, "mediaType: 'nonsense' is not a media type"),
        ({"mediaType": "a/\ud800"}, None, "mediaType: "),
        (image(), "nonsense", "Content-Type: "),
        ({}, None, "mediaType: missing"),
        ({"layers": []}, "application/json", "mediaType: missing"),
        (image(mediaType=..., config=None), None, "mediaType: missing"),
        (image(mediaType=..., manifests=[]), None, "config: an index must not have"),
        (image(schemaVersion=1, mediaType=...), None, "schemaVersion: schema 1 manifests are not supported"),
        (image(schemaVersion=1), None, "schemaVersion: schema 1 manifests are not supported"),
        ({"schemaVersion": 1, "fsLayers": []}, None, "schemaVersion: schema 1 manifests are not supported"),
        ({"schemaVersion": 1}, mt.DOCKER_SCHEMA1_SIGNED, "schemaVersion: schema 1 manifests are not supported"),
        ({}, mt.DOCKER_SCHEMA1, "schemaVersion: schema 1 manifests are not supported"),
        (image(schemaVersion=...), None, "schemaVersion: must be 2"),
        (image(schemaVersion=2.0), None, "schemaVersion: must be 2"),
        (image(schemaVersion=True), None, "schemaVersion: must be 2"),
        (image(schemaVersion="2"), None, "schemaVersion: must be 2"),
        (index(schemaVersion=3), None, "schemaVersion: must be 2"),
        (image(config=...), None, "config: must be a descriptor"),
        (image(config=[]), None, "config: must be a descriptor"),
        (image(layers=...), None, "layers: missing"),
        (image(layers={}), None, "layers: must be a list"),
        (image(layers=[descriptor(2), None]), None, "layers[1]: must be a descriptor"),
        (image(layers=[descriptor(2), {**descriptor(3), "digest": "sha256:zz"}]), None, "layers[1].digest: "),
        (image(manifests=[]), None, "manifests: an image manifest must not have"),
        (image(subject={}), None, "subject.mediaType: "),
        (image(subject="sha256:abc"), None, "subject: must be a descriptor"),
        (image(annotations=[]), None, "annotations: must be an object"),
        (image(annotations={"a": 1}), None, "annotations['a']: must be a string"),
        (image(annotations={"a": "\ud800"}), None, "annotations['a']: holds half a surrogate pair"),
        (image(artifactType=7), None, "artifactType: "),
        (image(artifactType="a/b\x00"), None, "artifactType: "),
        (index(manifests=...), mt.OCI_INDEX, "manifests: missing"),
        (index(manifests="x"), None, "manifests: must be a list"),
        (index(manifests=[{**descriptor(4), "size": -1}]), None, "manifests[0].size: "),
        (index(config=descriptor(1)), None, "config: an index must not have"),
        (index(layers=[]), None, "layers: an index must not have"),
        ([], mt.OCI_MANIFEST, "the manifest must be a JSON object"),
    ],
)
def test_what_is_wrong_is_refused_by_field(document: object, content_type: str | None, fault: str) -> None:
    assert fault_of(document, content_type).startswith(fault)


def test_embedded_data_is_checked_in_every_field() -> None:
    content = b"{}"
    good = {
        "mediaType": mt.OCI_EMPTY,
        "digest": "sha256:" + hashlib.sha256(content).hexdigest(),
        "size": 2,
        "data": base64.b64encode(content).decode(),
    }
    bad = good | {"data": base64.b64encode(b"[]").decode()}
    parse(image(config=good, layers=[good], subject=good))
    parse(index(manifests=[good]))
    assert fault_of(image(config=bad)).startswith("config.data: ")
    assert fault_of(image(layers=[good, bad])).startswith("layers[1].data: ")
    assert fault_of(image(subject=bad)).startswith("subject.data: ")
    assert fault_of(index(manifests=[bad])).startswith("manifests[0].data: ")


def test_of_an_unknown_type_what_looks_like_a_descriptor_is_read() -> None:
    document = {
        "config": {"digest": digest_of(1)},
        "layers": [descriptor(2), {"digest": "nonsense"}, 7, None, descriptor(2)],
        "blobs": [{"digest": "other:thing", "size": 5, "mediaType": "a/b"}],
        "manifests": [descriptor(3, mt.OCI_MANIFEST)],
        "subject": {"digest": digest_of(9)},
        "annotations": {"a": "b"},
        "artifactType": "c/d",
    }
    assert parse(document, UNKNOWN) == Manifest(
        media_type=UNKNOWN,
        artifact_type="c/d",
        subject=digest_of(9),
        annotations={"a": "b"},
        references=(
            Reference(Role.CONFIG, digest_of(1), None, "", 0, True),
            reference(Role.LAYER, 2, 1),
            Reference(Role.BLOB, "other:thing", 5, "a/b", 2, True),
            reference(Role.CHILD, 3, 3, mt.OCI_MANIFEST),
        ),
    )


@pytest.mark.parametrize(
    "junk", [None, 7, "text", [], {}, [[]], [{}], {"digest": 7}, {"a": 7}, {"a": "\ud800"}, "\ud800"]
)
@pytest.mark.parametrize(
    "name", ["schemaVersion", "config", "layers", "blobs", "manifests", "subject", "annotations", "artifactType"]
)
def test_of_an_unknown_type_everything_else_is_ignored(name: str, junk: object) -> None:
    expected = "text" if (name, junk) == ("artifactType", "text") else None
    assert parse({name: junk}, UNKNOWN) == Manifest(UNKNOWN, expected, None, {}, ())


@pytest.mark.parametrize("content_type", [mt.OCI_MANIFEST, UNKNOWN])
def test_references_are_limited(content_type: str) -> None:
    document = image(mediaType=..., layers=[descriptor(number) for number in range(2, 12)])
    assert len(parse(document, content_type, max_references=11).references) == 11
    assert "more than 10 references" in fault_of(document, content_type, max_references=10)


@pytest.mark.timeout(60)  # comparing each with each other would take longer
def test_twenty_thousand_references_are_read() -> None:
    content = json.dumps(index(manifests=[descriptor(number, mt.OCI_MANIFEST) for number in range(20_000)])).encode()
    assert len(parse_manifest(content, None).references) == 20_000


# From here on: whatever comes in, nothing but ManifestInvalid comes out, and what is taken keeps its promises.

digests = st.sampled_from([digest_of(1), digest_of(2), "other:thing", "sha256:short", "sha512:" + "a" * 128])
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([2, 2**63, 10**30, 1.5, "", "\ud800", "\x00", "aGk=", FOREIGN, *sorted(mt.MANIFESTS)]),
    st.text(max_size=5),
    digests,
)
NAMES = [
    *("schemaVersion", "mediaType", "config", "layers", "blobs", "manifests", "subject", "annotations", "artifactType"),
    *("digest", "size", "data", "urls", "platform", "a"),
]
junk = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=15,
)
content_types = st.one_of(
    st.none(),
    st.sampled_from([*sorted(mt.MANIFESTS), UNKNOWN, "application/json", "nonsense", ""]),
    st.text(max_size=10),
)
VALID = [
    image(annotations={"a": "b"}, subject=descriptor(9), artifactType="a/b"),
    image(layers=[descriptor(2, FOREIGN, urls=["x:y"], annotations={"a": "b"})]),
    image(mediaType=mt.DOCKER_MANIFEST),
    index(annotations={"a": "b"}, subject=descriptor(9)),
    {"mediaType": mt.OCI_ARTIFACT, "blobs": [descriptor(2)]},
    {"mediaType": UNKNOWN, "blobs": [descriptor(2)], "manifests": [descriptor(3)]},
]


def check(content: bytes, content_type: str | None) -> None:
    """Parse; what is taken must be storable, and keep what `Manifest` and `Reference` promise."""
    try:
        manifest = parse_manifest(content, content_type)
    except ManifestInvalid as refused:
        refused.message.encode()
        assert len(refused.message) < 1000
        return
    assert manifest.media_type.isascii()
    assert manifest.media_type not in mt.SCHEMA1
    texts = [manifest.artifact_type or "", *manifest.annotations, *manifest.annotations.values()]
    "".join(texts).encode()
    known = mt.is_manifest(manifest.media_type)
    assert manifest.subject is None or is_well_formed_digest(manifest.subject)
    assert [r.position for r in manifest.references] == list(range(len(manifest.references)))
    assert len({(r.role, r.digest) for r in manifest.references}) == len(manifest.references)
    for one in manifest.references:
        assert is_well_formed_digest(one.digest)
        assert one.size is None or 0 <= one.size < 2**63
        assert one.media_type.isprintable()
        assert not known or (one.media_type and one.size is not None)


@given(st.binary(max_size=300), content_types)
def test_random_bytes(content: bytes, content_type: str | None) -> None:
    check(content, content_type)


@given(junk, content_types)
def test_random_json(value: object, content_type: str | None) -> None:
    check(json.dumps(value).encode(), content_type)


@given(st.dictionaries(st.sampled_from(NAMES), junk, max_size=9), content_types)
def test_random_objects(value: object, content_type: str | None) -> None:
    check(json.dumps(value).encode(), content_type)


def places(node: Any) -> list[tuple[Any, Any]]:
    """Return every (container, key) of a document."""
    found = [(node, key) for key in (node if isinstance(node, dict) else range(len(node)))]
    for container, key in list(found):
        if isinstance(container[key], dict | list):
            found += places(container[key])
    return found


@given(st.sampled_from(VALID), st.data(), st.sampled_from([None, "same", UNKNOWN]))
def test_valid_manifests_with_a_value_changed(valid: dict[str, Any], data: st.DataObject, declared: str | None) -> None:
    document = copy.deepcopy(valid)
    container, key = data.draw(st.sampled_from(places(document)))
    if data.draw(st.booleans()):
        container[key] = data.draw(junk)
    else:
        del container[key]
    check(json.dumps(document).encode(), valid["mediaType"] if declared == "same" else declared)


@given(st.sampled_from(VALID), st.data())
def test_valid_manifests_with_bytes_changed(valid: dict[str, Any], data: st.DataObject) -> None:
    content = json.dumps(valid).encode()
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, min(start + 8, len(content))))
    check(content[:start] + data.draw(st.binary(max_size=4)) + content[end:], valid["mediaType"])


@given(st.sampled_from(VALID))
def test_valid_manifests_are_taken_with_and_without_content_type(valid: dict[str, Any]) -> None:
    assert parse(valid) == parse(valid, valid["mediaType"])
