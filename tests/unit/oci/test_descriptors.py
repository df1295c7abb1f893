"""Descriptors: what is well-formed, and that the refusal names the field."""

import base64
import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import ManifestInvalid
from registry.oci.descriptors import (
    Descriptor,
    annotations_of,
    guess_descriptor,
    is_well_formed_digest,
    media_type_of,
    parse_descriptor,
)

CONTENT = b"hello"
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
SHA512 = "sha512:" + hashlib.sha512(CONTENT).hexdigest()
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def descriptor(**changes: object) -> dict[str, Any]:
    """A valid descriptor with `changes`; `...` takes a field away."""
    fields = {"mediaType": LAYER, "digest": SHA256, "size": len(CONTENT), **changes}
    return {name: value for name, value in fields.items() if value is not ...}


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


@pytest.mark.parametrize(
    "digest",
    [
        SHA256,
        SHA512,
        "blake3:" + "0" * 64,
        "sha384:abc",
        "multihash+base58:QmRZxt2b1FVZPNqd8hsiykDL3TdBDeTSPX9Kv46HmX4Gx8",
        "a.b_c-d+e:A=_-",
        "x:" + "y" * 253,
    ],
)
def test_digests_of_any_algorithm_are_well_formed(digest: str) -> None:
    assert is_well_formed_digest(digest)


@pytest.mark.parametrize(
    "digest",
    [
        "",
        ":",
        "sha256",
        "sha256:",
        ":abc",
        "sha256:" + "a" * 63,
        "sha256:" + "a" * 65,
        "sha256:" + "A" * 64,
        "sha256:" + "g" * 64,
        "sha512:" + "a" * 64,
        SHA256 + "\n",
        SHA256 + "\x00",
        "SHA256:" + "a" * 64,
        "blake3:a b",
        "blake3:a/b",
        "blake3:a:b",
        "a..b:c",
        "+a:b",
        "a+:b",
        "x:" + "y" * 254,
        "a" * 100_000,
        "a+" * 50_000,
    ],
)
def test_other_digests_are_not(digest: str) -> None:
    assert not is_well_formed_digest(digest)


@pytest.mark.parametrize(
    "value",
    [
        descriptor(),
        descriptor(size=0, digest="sha256:" + hashlib.sha256().hexdigest(), data=""),
        descriptor(size=2**63 - 1),
        descriptor(urls=["https://example.com/layer"], annotations={"a": "b"}),
        descriptor(urls=None, annotations=None, data=None, platform=7, unknown=[{}]),
        descriptor(data=base64_of(CONTENT)),
        descriptor(data=base64_of(CONTENT), digest=SHA512),
        descriptor(data=base64_of(CONTENT), digest="blake3:nobody-knows"),
        descriptor(mediaType="text/plain; charset=utf-8"),
    ],
)
def test_descriptors_are_taken(value: dict[str, Any]) -> None:
    assert parse_descriptor(value, "config") == Descriptor(value["digest"], value["size"], value["mediaType"])
    assert guess_descriptor(value) == parse_descriptor(value, "config")


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (None, r"layers\[3\]: must be a descriptor"),
        ([], r"layers\[3\]: must be a descriptor"),
        (SHA256, r"layers\[3\]: must be a descriptor"),
        (descriptor(mediaType=...), r"layers\[3\]\.mediaType: .* got nothing"),
        (descriptor(mediaType=""), r"layers\[3\]\.mediaType: "),
        (descriptor(mediaType=7), r"layers\[3\]\.mediaType: .* got 7"),
        (descriptor(mediaType="a/b\x00"), r"layers\[3\]\.mediaType: "),
        (descriptor(mediaType="a/b\n"), r"layers\[3\]\.mediaType: "),
        (descriptor(mediaType="a/\ud800"), r"layers\[3\]\.mediaType: "),
        (descriptor(mediaType="a" * 256), r"layers\[3\]\.mediaType: "),
        (descriptor(digest=...), r"layers\[3\]\.digest: .* got nothing"),
        (descriptor(digest={}), r"layers\[3\]\.digest: .* got an object"),
        (descriptor(digest="sha256:abc"), r"layers\[3\]\.digest: .*'sha256:abc'"),
        (descriptor(digest=SHA256 + "\x00"), r"layers\[3\]\.digest: "),
        (descriptor(digest="sha256:\ud800"), r"layers\[3\]\.digest: "),
        (descriptor(size=...), r"layers\[3\]\.size: .* got nothing"),
        (descriptor(size=-1), r"layers\[3\]\.size: .* got -1"),
        (descriptor(size=5.0), r"layers\[3\]\.size: .* got 5\.0"),
        (descriptor(size=True), r"layers\[3\]\.size: .* got True"),
        (descriptor(size="5"), r"layers\[3\]\.size: .* got '5'"),
        (descriptor(size=2**63), r"layers\[3\]\.size: "),
        (descriptor(size=10**390), r"layers\[3\]\.size: "),
        (descriptor(urls="https://example.com"), r"layers\[3\]\.urls: "),
        (descriptor(urls=[1]), r"layers\[3\]\.urls: "),
        (descriptor(annotations=[]), r"layers\[3\]\.annotations: "),
        (descriptor(annotations={"a": 1}), r"layers\[3\]\.annotations\['a'\]: "),
        (descriptor(data=7), r"layers\[3\]\.data: must be a string"),
        (descriptor(data="aGVsbG8"), r"layers\[3\]\.data: is not base64"),
        (descriptor(data="aGVs bG8="), r"layers\[3\]\.data: is not base64"),
        (descriptor(data="aGVsbG8=\n"), r"layers\[3\]\.data: is not base64"),
        (descriptor(data="aGVsbG8=="), r"layers\[3\]\.data: is not base64"),
        (descriptor(data="aGVsbG8=aGVs"), r"layers\[3\]\.data: is not base64"),
        (descriptor(data="=aGVsbG8"), r"layers\[3\]\.data: is not base64"),
        (descriptor(data="aGV_bG8="), r"layers\[3\]\.data: is not base64"),
        (descriptor(data="\N{LATIN SMALL LETTER E WITH ACUTE}aaa"), r"layers\[3\]\.data: is not base64"),
        (descriptor(data="\ud800"), r"layers\[3\]\.data: is not base64"),
        (descriptor(data=""), r"layers\[3\]\.data: holds 0 bytes, but size says 5"),
        (descriptor(data=base64_of(b"longer")), r"layers\[3\]\.data: holds 6 bytes, but size says 5"),
        (descriptor(data=base64_of(b"jello")), r"layers\[3\]\.data: its bytes do not hash"),
        (descriptor(data=base64_of(b"jello"), digest=SHA512), r"layers\[3\]\.data: its bytes do not hash"),
    ],
)
def test_other_descriptors_are_refused_by_field(value: object, fault: str) -> None:
    with pytest.raises(ManifestInvalid, match=fault) as refused:
        parse_descriptor(value, "layers[3]")
    refused.value.message.encode()
    assert len(refused.value.message) < 400


@pytest.mark.parametrize(
    ("value", "guess"),
    [
        ({"digest": SHA256}, Descriptor(SHA256, None, "")),
        ({"digest": SHA256, "size": -1, "mediaType": "\x00"}, Descriptor(SHA256, None, "")),
        ({"digest": SHA256, "size": "9", "mediaType": 7, "data": 7, "urls": 7}, Descriptor(SHA256, None, "")),
        ({"digest": "other:thing", "size": 9, "mediaType": "a/b"}, Descriptor("other:thing", 9, "a/b")),
        ({"digest": "sha256:short"}, None),
        ({"digest": None}, None),
        ({"size": 9, "mediaType": "a/b"}, None),
        ([{"digest": SHA256}], None),
        (SHA256, None),
        (None, None),
    ],
)
def test_a_guess_needs_a_digest_alone(value: object, guess: Descriptor | None) -> None:
    assert guess_descriptor(value) == guess


def test_annotations_are_text_to_text() -> None:
    assert annotations_of({}, "") == {}
    assert annotations_of({"annotations": None}, "") == {}
    assert annotations_of({"annotations": {"": "", "a": "\x00 \N{GRINNING FACE}"}}, "") == {
        "": "",
        "a": "\x00 \N{GRINNING FACE}",
    }
    for wrong in ({"a": "\ud800"}, {"\udfff": "a"}, {"a": None}, {"a": ["b"]}):
        with pytest.raises(ManifestInvalid, match=r"^annotations\[") as refused:
            annotations_of({"annotations": wrong}, "")
        refused.value.message.encode()


@given(st.text(max_size=300))
def test_a_media_type_that_is_taken_can_be_sent_in_a_header(text: str) -> None:
    try:
        taken = media_type_of(text, "artifactType")
    except ManifestInvalid as refused:
        assert refused.message.startswith("artifactType: ")
        return
    assert taken == text
    assert text.isascii()
    assert text.isprintable()
    assert len(text) <= 255


@given(st.binary(max_size=60), st.sampled_from(["sha256", "sha512"]))
def test_embedded_content_must_be_the_content(content: bytes, algorithm: str) -> None:
    digest = f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"
    value = descriptor(digest=digest, size=len(content), data=base64_of(content))
    assert parse_descriptor(value, "config").size == len(content)
    for wrong in (content + b"x", content[:-1] if content else b"x", bytes(255 - byte for byte in content) or b"x"):
        with pytest.raises(ManifestInvalid, match=r"^config\.data: "):
            parse_descriptor(value | {"data": base64_of(wrong)}, "config")
