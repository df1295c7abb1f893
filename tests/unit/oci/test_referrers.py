"""The referrers API's answer: one descriptor a referrer, joined to an index without parsing."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.oci.manifests import Manifest, parse_manifest
from registry.oci.media_types import OCI_INDEX, OCI_MANIFEST
from registry.oci.referrers import descriptor_of, index_of

DIGEST = "sha256:" + "a" * 64
SUBJECT = {"mediaType": OCI_MANIFEST, "digest": "sha256:" + "b" * 64, "size": 7}
CONFIG = {"mediaType": "application/vnd.example.config", "digest": "sha256:" + "c" * 64, "size": 2}


def parsed(**fields: Any) -> Manifest:
    return parse_manifest(json.dumps({"schemaVersion": 2, "subject": SUBJECT, **fields}).encode(), None)


def test_an_image_shows_its_artifact_type_and_annotations() -> None:
    manifest = parsed(config=CONFIG, layers=[], artifactType="application/vnd.example.sbom", annotations={"a": "b"})
    assert descriptor_of(manifest, DIGEST, 1234) == {
        "mediaType": OCI_MANIFEST,
        "digest": DIGEST,
        "size": 1234,
        "artifactType": "application/vnd.example.sbom",
        "annotations": {"a": "b"},
    }


@pytest.mark.parametrize("absent", [{}, {"artifactType": None}, {"artifactType": ""}])
def test_an_image_without_artifact_type_shows_that_of_its_config(absent: dict[str, Any]) -> None:
    descriptor = descriptor_of(parsed(config=CONFIG, layers=[], **absent), DIGEST, 1)
    assert descriptor["artifactType"] == CONFIG["mediaType"]
    assert "annotations" not in descriptor


@pytest.mark.parametrize("absent", [{}, {"artifactType": None}, {"artifactType": ""}])
def test_an_index_without_artifact_type_shows_none(absent: dict[str, Any]) -> None:
    assert descriptor_of(parsed(manifests=[], **absent), DIGEST, 1) == {
        "mediaType": OCI_INDEX,
        "digest": DIGEST,
        "size": 1,
    }


def test_no_referrers_are_an_empty_index() -> None:
    assert json.loads(index_of([])) == {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}


@given(st.lists(st.dictionaries(st.text(), st.text(), max_size=3), max_size=5), st.booleans())
def test_descriptors_are_joined_in_order(annotations: list[dict[str, str]], ascii_only: bool) -> None:
    manifests = [parsed(config=CONFIG, layers=[], annotations=some) for some in annotations]
    descriptors = [descriptor_of(manifest, f"sha256:{size:064x}", size) for size, manifest in enumerate(manifests)]
    index = index_of(json.dumps(one, ensure_ascii=ascii_only) for one in descriptors)
    assert json.loads(index) == {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": descriptors}
    parse_manifest(index, OCI_INDEX)
