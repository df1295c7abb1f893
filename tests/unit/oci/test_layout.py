"""What an OCI layout's files say, and how they name things."""

import pytest

from registry.errors import ManifestInvalid, NameInvalid
from registry.oci.layout import Entry, blob_path, check_marker, names_of, parse_index, write_index
from registry.oci.media_types import OCI_MANIFEST
from storage.digest import Digest

DIGEST = Digest("sha256:" + "a" * 64)


def entry(ref: str = "", full: str = "", repository: str = "") -> Entry:
    named = {
        "org.opencontainers.image.ref.name": ref,
        "io.containerd.image.name": full,
        "io.stowage.repository": repository,
    }
    return Entry(DIGEST, 5, OCI_MANIFEST, {name: value for name, value in named.items() if value})


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (entry(), (None, None)),
        (entry("1.0"), (None, "1.0")),
        (entry("latest", "docker.io/library/alpine:latest"), ("library/alpine", "latest")),
        (entry("docker.io/library/alpine:3"), ("library/alpine", "3")),
        (entry("localhost/app:3"), ("app", "3")),
        (entry("localhost:5000/team/app"), ("team/app", None)),
        (entry("team/app:3"), ("team/app", "3")),
        (entry("app:3@" + DIGEST), ("app", "3")),
        (entry("1.0", repository="team/app"), ("team/app", "1.0")),
        (entry("team/app:1.0", repository="team/app"), ("team/app", "1.0")),
        (entry("other/app:1.0", repository="team/app"), ("team/app", None)),
        (entry(repository="team/app"), ("team/app", None)),
    ],
)
def test_repository_and_tag_are_told_by_annotations(found: Entry, expected: tuple[str | None, str | None]) -> None:
    assert names_of(found) == expected


@pytest.mark.parametrize("found", [entry(repository="../x"), entry("Upper/case:1"), entry(full="docker.io/a//b:1")])
def test_a_repository_that_can_not_be_one_is_refused(found: Entry) -> None:
    with pytest.raises(NameInvalid):
        names_of(found)


def test_an_index_is_read_as_it_was_written() -> None:
    entries = [entry("1.0", repository="team/app"), Entry(DIGEST, 7, OCI_MANIFEST)]
    assert parse_index(write_index(entries)) == entries
    assert blob_path(DIGEST) == f"blobs/sha256/{'a' * 64}"


@pytest.mark.parametrize(
    "content",
    [b"[]", b"{}", b'{"manifests": 1}', b'{"manifests": [1]}', b'{"manifests": [{"digest": "md5:00"}]}', b"\xff"],
)
def test_an_index_that_makes_no_sense_is_refused(content: bytes) -> None:
    with pytest.raises(ManifestInvalid):
        parse_index(content)


@pytest.mark.parametrize("content", [b"", b"{}", b'{"imageLayoutVersion": "2.0.0"}', b'{"imageLayoutVersion": 1}'])
def test_another_version_is_refused(content: bytes) -> None:
    with pytest.raises(ManifestInvalid):
        check_marker(content)
