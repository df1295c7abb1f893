"""Manifests made to hurt: refused as MANIFEST_INVALID, at once, with nothing stored."""

import json
import os
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.factories import (
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    assert_error,
    descriptor,
    digest_of,
    image_manifest,
    index_manifest,
    push_blob,
    push_image,
    put_manifest,
)

CONFIG, LAYER = b"config", b"layer"
MIB = 1024 * 1024
FUZZ = settings(
    max_examples=3000 if os.environ.get("STOWAGE_LONG") == "1" else 200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
GOOD = image_manifest(CONFIG, [LAYER])
SIZE = f'"size": {len(LAYER)}'.encode()


def with_size(text: str) -> bytes:
    """A manifest whose layer has this for a size."""
    assert GOOD.count(SIZE) == 1
    return GOOD.replace(SIZE, f'"size": {text}'.encode())


@pytest.fixture
def stocked(client: httpx.Client, repository: str) -> str:
    """A repository with the blobs that the manifests here name."""
    for blob in (CONFIG, LAYER):
        push_blob(client, repository, blob)
    return repository


HOSTILE = {
    "nothing": b"",
    "blanks": b" \n" * 1000,
    "half": GOOD[:-1],
    "two": GOOD + GOOD,
    "a list": b"[" + GOOD + b"]",
    "a string": b'"' + b"x" * 100 + b'"',
    "null": b"null",
    "brackets": b"[" * (4 * MIB),
    "braces": b'{"a":' * 700_000,
    "closed brackets": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "65 levels": b'{"a":' + b"[" * 64 + b"]" * 64 + b"}",
    "many objects": b'{"a":[' + b"{}," * 1_300_000 + b"{}]}",
    "a field twice": GOOD.replace(b"{", b'{"schemaVersion": 2, ', 1),
    "a field of a layer twice": GOOD.replace(SIZE, SIZE + b", " + SIZE),
    "an escaped field twice": GOOD.replace(SIZE, SIZE + b', "s\\u0069ze": 5'),
    "not UTF-8": GOOD.replace(b"schemaVersion", b"\xff"),
    "UTF-16": GOOD.decode().encode("utf-16"),
    "UTF-8 with a mark": b"\xef\xbb\xbf" + GOOD,
    "overlong UTF-8": GOOD.replace(b"schemaVersion", b"\xc0\xae"),
    "a surrogate in UTF-8": GOOD.replace(b"schemaVersion", b"\xed\xa0\x80"),
    "NUL": GOOD + b"\x00",
    "a raw line end in a string": GOOD.replace(b"schemaVersion", b"schema\nVersion"),
    "NaN": with_size("NaN"),
    "infinity": with_size("Infinity"),
    "a negative size": with_size("-5"),
    "a negative zero with a fraction": with_size("-0.0"),
    "a size with a fraction": with_size("5.0"),
    "a size with an exponent": with_size("5e0"),
    "a size in quotes": with_size('"5"'),
    "a size that is true": with_size("true"),
    "a size that is null": with_size("null"),
    "a size beyond 63 bits": with_size("9223372036854775808"),
    "a size of 4000 digits": with_size("9" * 4000),
    "a size of a million digits": with_size("9" * MIB),
    "a float of a million digits": with_size("1." + "9" * MIB),
    "a huge exponent": with_size("1e999999999"),
    "another size": with_size("6"),
    "zero": with_size("0"),
    "no size": GOOD.replace(SIZE, b'"length": 5'),
    "a digest with a path": GOOD.replace(digest_of(LAYER).encode(), b"sha256:../../../../etc/passwd"),
    "a digest in capitals": GOOD.replace(digest_of(LAYER).encode(), digest_of(LAYER).upper().encode()),
    "a digest that is short": GOOD.replace(digest_of(LAYER).encode(), digest_of(LAYER)[:-1].encode()),
    "a digest with a line end": GOOD.replace(digest_of(LAYER).encode(), digest_of(LAYER).encode() + rb"\n"),
    "a digest that is long": GOOD.replace(digest_of(LAYER).encode(), b"blake3:" + b"a" * 300),
    "a digest that is a list": GOOD.replace(f'"{digest_of(LAYER)}"'.encode(), b"[]"),
    "a media type with a line end": GOOD.replace(OCI_CONFIG.encode(), OCI_CONFIG.encode() + rb"\r\nX: y"),
    "half a surrogate pair": GOOD.replace(OCI_CONFIG.encode(), rb"a/\ud800"),
    "layers that are an object": GOOD.replace(b'"layers": [', b'"layers": {"a": [').replace(b"]", b"]}"),
    "layers and manifests": GOOD.replace(b'"layers"', b'"manifests": [], "layers"'),
    "annotations of numbers": GOOD.replace(b'"layers"', b'"annotations": {"a": 1}, "layers"'),
    "a subject without a digest": GOOD.replace(b'"layers"', b'"subject": {"size": 5}, "layers"'),
    "schema 1": GOOD.replace(b'"schemaVersion": 2', b'"schemaVersion": 1'),
    "schema 2.0": GOOD.replace(b'"schemaVersion": 2', b'"schemaVersion": 2.0'),
    "schema true": GOOD.replace(b'"schemaVersion": 2', b'"schemaVersion": true'),
    "data of another blob": GOOD.replace(SIZE, SIZE + b', "data": "b3RoZXI="'),
    "data that is no base64": GOOD.replace(SIZE, SIZE + b', "data": "****"'),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=list(HOSTILE))
def test_a_hostile_manifest_is_refused(client: httpx.Client, stocked: str, content: bytes) -> None:
    assert content != GOOD
    for reference in ("latest", digest_of(content)):
        response = put_manifest(client, stocked, reference, content)
        if len(content) > 4 * MIB:
            assert_error(response, 413, "MANIFEST_INVALID")
        else:
            assert_error(response, 400, "MANIFEST_INVALID")
        assert len(response.content) < 2000  # it is not sent back
    assert client.get(f"/v2/{stocked}/tags/list").json()["tags"] == []
    assert client.get(f"/v2/{stocked}/manifests/{digest_of(content)}").status_code == 404


def test_the_good_one_is_good(client: httpx.Client, stocked: str) -> None:
    assert put_manifest(client, stocked, "latest", GOOD).status_code == 201
    levels = GOOD.replace(b'"layers"', b'"deep": ' + b"[" * 63 + b"]" * 63 + b', "layers"')
    assert put_manifest(client, stocked, "latest", levels).status_code == 201


@pytest.mark.parametrize("wrong", [-1, 1, 2**40])
def test_sizes_are_checked_against_what_is_there(client: httpx.Client, stocked: str, wrong: int) -> None:
    image = push_image(client, stocked)
    config = {**descriptor(CONFIG, OCI_CONFIG), "size": len(CONFIG) + wrong}
    child = {**descriptor(image.manifest, OCI_MANIFEST), "size": len(image.manifest) + wrong}
    for content, kind in [
        (image_manifest(b"", [LAYER], config=config), OCI_MANIFEST),
        (with_size(str(len(LAYER) + wrong)), OCI_MANIFEST),
        (index_manifest([child]), OCI_INDEX),
    ]:
        response = put_manifest(client, stocked, "latest", content, kind)
        assert_error(response, 400, "MANIFEST_INVALID")
        assert "size" in response.text


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=20),
        st.sampled_from([digest_of(LAYER), digest_of(CONFIG), OCI_MANIFEST, OCI_INDEX, "sha512:a", 5, 6, -1, 2**63]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)
FIELDS = [
    "schemaVersion",
    "mediaType",
    "config",
    "layers",
    "manifests",
    "subject",
    "annotations",
    "artifactType",
    "blobs",
]


@given(
    changes=st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=3),
    layer=st.dictionaries(
        st.sampled_from(["mediaType", "digest", "size", "urls", "data", "platform"]), VALUES, max_size=2
    ),
    media_type=st.sampled_from([OCI_MANIFEST, OCI_INDEX, None, "a/b", "application/json", "x"]),
)
@FUZZ
def test_no_manifest_makes_the_server_fail(
    client: httpx.Client, stocked: str, changes: dict[str, Any], layer: dict[str, Any], media_type: str | None
) -> None:
    document = {**json.loads(GOOD), **changes}
    if isinstance(document["layers"], list) and document["layers"] and isinstance(document["layers"][0], dict):
        document["layers"][0].update(layer)
    content = json.dumps(document).encode("utf-8", "surrogatepass")
    response = put_manifest(client, stocked, digest_of(content), content, media_type)
    assert response.status_code in {201, 400, 404}, response.text
    if response.status_code == 201:
        found = client.get(f"/v2/{stocked}/manifests/{digest_of(content)}")
        assert found.content == content
    else:
        assert response.json()["errors"][0]["code"] in {"MANIFEST_INVALID", "MANIFEST_BLOB_UNKNOWN"}
