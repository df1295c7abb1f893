"""Media types: what is known of them, and how a Content-Type is read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import ManifestInvalid
from registry.oci import media_types as mt


def test_known_manifest_types_are_told_apart() -> None:
    assert [t for t in sorted(mt.MANIFESTS) if mt.is_index(t)] == [mt.DOCKER_LIST, mt.OCI_INDEX]
    assert [t for t in sorted(mt.MANIFESTS) if mt.is_image(t)] == [mt.DOCKER_MANIFEST, mt.OCI_MANIFEST]
    for known in (mt.OCI_ARTIFACT, mt.DOCKER_SCHEMA1, mt.DOCKER_SCHEMA1_SIGNED):
        assert mt.is_manifest(known)
        assert not mt.is_image(known)
        assert not mt.is_index(known)
    assert not mt.is_manifest(mt.OCI_CONFIG)
    assert not mt.is_manifest(mt.OCI_EMPTY)


@pytest.mark.parametrize(
    ("media_type", "distributable"),
    [
        ("application/vnd.oci.image.layer.v1.tar+gzip", True),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", True),
        ("application/vnd.example.anything", True),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar", False),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", False),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", False),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", False),
    ],
)
def test_foreign_layers_are_not_distributable(media_type: str, distributable: bool) -> None:
    assert mt.is_distributable(media_type) is distributable


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (mt.OCI_INDEX, mt.OCI_INDEX),
        (" Application/VND.oci.image.index.v1+JSON ; charset=utf-8; q=1", mt.OCI_INDEX),
        ("a/b;", "a/b"),
        ("a" * 127 + "/" + "b" * 127, "a" * 127 + "/" + "b" * 127),
        ("application/x!#$&^_.+-9", "application/x!#$&^_.+-9"),
    ],
)
def test_parameters_are_stripped(header: str, expected: str) -> None:
    assert mt.without_parameters(header) == expected
    assert mt.is_media_type(expected)


@pytest.mark.parametrize(
    "header",
    [
        "",
        ";",
        "application",
        "application/",
        "/json",
        "*/*",
        "a/b/c",
        "a /b",
        "a/b\n",
        "a/b\x00",
        "a/b, c/d",
        "\N{KELVIN SIGN}/\N{LATIN SMALL LETTER DOTLESS I}",
        "a" * 128 + "/b",
        "a/" + "b" * 128,
    ],
)
def test_what_is_no_media_type_is_refused(header: str) -> None:
    with pytest.raises(ManifestInvalid, match="Content-Type"):
        mt.without_parameters(header)


@given(st.text(max_size=300))
def test_any_text_is_a_media_type_or_refused(header: str) -> None:
    try:
        media_type = mt.without_parameters(header)
    except ManifestInvalid:
        return
    assert len(media_type) <= mt.MAX_MEDIA_TYPE
    assert media_type.isascii()
    assert media_type.count("/") == 1
    assert mt.without_parameters(media_type) == media_type
