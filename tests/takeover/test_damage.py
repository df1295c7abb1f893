"""What is damaged is left out, with its reason, and everything else is taken over."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench.takeover import write_storage
from tests.factories import PushedImage, descriptor, digest_of, index_manifest
from tests.support.images import OCI_INDEX, OCI_MANIFEST
from tests.takeover.conftest import Ours, findings
from tests.takeover.storages import Storage

SCHEMA_1 = json.dumps({"schemaVersion": 1, "name": "app", "tag": "v1", "fsLayers": [], "history": []}).encode()


Damage = Callable[[Storage, PushedImage], list[tuple[str, str, str]]]


def truncated_layer(storage: Storage, image: PushedImage) -> list[tuple[str, str, str]]:
    os.truncate(storage.data(image.layers[0]), 10)
    return [("blob-damaged", "app", image.digest), ("tag-target-missing", "app", "v1")]


def missing_layer(storage: Storage, image: PushedImage) -> list[tuple[str, str, str]]:
    storage.data(image.layers[0]).unlink()
    return [("blob-missing", "app", image.digest), ("tag-target-missing", "app", "v1")]


def unlinked_layer(storage: Storage, image: PushedImage) -> list[tuple[str, str, str]]:
    """The bytes are there, but this repository never showed them."""
    shutil.rmtree(storage.base / "repositories/app/_layers")
    return [("blob-missing", "app", image.digest), ("tag-target-missing", "app", "v1")]


def layer_that_leads_out(storage: Storage, image: PushedImage) -> list[tuple[str, str, str]]:
    file, outside = storage.data(image.layers[0]), storage.root.parent / "outside"
    file.rename(outside)
    file.symlink_to(outside)
    return layer_findings(image)


def folder_that_leads_out(storage: Storage, image: PushedImage) -> list[tuple[str, str, str]]:
    folder, outside = storage.data(image.layers[0]).parent, storage.root.parent / "outside"
    folder.rename(outside)
    folder.symlink_to(outside)
    return layer_findings(image)


def layer_findings(image: PushedImage) -> list[tuple[str, str, str]]:
    return sorted(
        [
            ("unreadable", "app", digest_of(image.layers[0])),
            ("blob-missing", "app", image.digest),
            ("tag-target-missing", "app", "v1"),
        ]
    )


def empty_link(storage: Storage, image: PushedImage) -> list[tuple[str, str, str]]:
    link = storage.revision(image.manifest)
    link.write_bytes(b"")
    path = str(link.relative_to(storage.base / "repositories/app"))
    return [("link-damaged", "app", path), ("tag-target-missing", "app", "v1")]


def link_out_of_the_storage(storage: Storage, image: PushedImage) -> list[tuple[str, str, str]]:
    link = storage.base / "repositories/app/_manifests/tags/v1/current/link"
    link.write_bytes(b"sha256:../../../../../../etc/passwd")
    return [("link-damaged", "app", "_manifests/tags/v1/current/link")]


def link_to_another(storage: Storage, image: PushedImage) -> list[tuple[str, str, str]]:
    link = storage.revision(image.manifest)
    link.write_text(digest_of(b"another"))
    path = str(link.relative_to(storage.base / "repositories/app"))
    return [("link-damaged", "app", path), ("tag-target-missing", "app", "v1")]


def missing_manifest(storage: Storage, image: PushedImage) -> list[tuple[str, str, str]]:
    storage.data(image.manifest).unlink()
    return [("manifest-missing", "app", image.digest), ("tag-target-missing", "app", "v1")]


def changed_manifest(storage: Storage, image: PushedImage) -> list[tuple[str, str, str]]:
    storage.data(image.manifest).write_bytes(image.manifest + b" ")
    return [("manifest-damaged", "app", image.digest), ("tag-target-missing", "app", "v1")]


def deleted_manifest(storage: Storage, image: PushedImage) -> list[tuple[str, str, str]]:
    """Deleting leaves the folder without its link: there is nothing wrong with that, but for a tag that names it."""
    storage.revision(image.manifest).unlink()
    return [("tag-target-missing", "app", "v1")]


def schema_1(storage: Storage, image: PushedImage) -> list[tuple[str, str, str]]:
    storage.manifest("app", SCHEMA_1, "old")
    return [("schema-1", "app", digest_of(SCHEMA_1)), ("tag-target-missing", "app", "old")]


def not_json(storage: Storage, image: PushedImage) -> list[tuple[str, str, str]]:
    content = b"[" * 100_000
    storage.manifest("app", content, "deep")
    return [("manifest-invalid", "app", digest_of(content)), ("tag-target-missing", "app", "deep")]


def too_large(storage: Storage, image: PushedImage) -> list[tuple[str, str, str]]:
    content = b"{" + b" " * (5 * 1024 * 1024) + b"}"
    storage.manifest("app", content, "huge")
    return [("manifest-too-large", "app", digest_of(content)), ("tag-target-missing", "app", "huge")]


def index_without_a_child(storage: Storage, image: PushedImage) -> list[tuple[str, str, str]]:
    """As the other registry's collection leaves them behind: what is left of it can be pulled."""
    index = index_manifest([descriptor(one, OCI_MANIFEST) for one in (image.manifest, b"never pushed")])
    storage.manifest("app", index, "multi")
    return [("child-missing", "app", digest_of(index))]


def invalid_names(storage: Storage, image: PushedImage) -> list[tuple[str, str, str]]:
    storage.image("Upper/case", "v1")
    storage.image("app", "-dash")
    storage.write("repositories/app/_layers/sha256/short/link", b"sha256:short")
    storage.write("repositories/app/_layers/md5/00/link", b"md5:00")
    return [
        ("name-invalid", "Upper/case", ""),
        ("name-invalid", "app", "_layers/md5:00"),
        ("name-invalid", "app", "_layers/sha256:short"),
        ("name-invalid", "app", "_manifests/tags/-dash"),
    ]


def repository_that_leads_out(storage: Storage, image: PushedImage) -> list[tuple[str, str, str]]:
    outside = storage.root.parent / "elsewhere"
    (storage.base / "repositories/app").rename(outside)
    (storage.base / "repositories/app").symlink_to(outside)
    return [("unreadable", "app", "")]


def leftovers(storage: Storage, image: PushedImage) -> list[tuple[str, str, str]]:
    """What lies about in every storage, and is no damage."""
    storage.write("repositories/app/_uploads/00000000-0000/data", b"unfinished")
    storage.write("repositories/app/_manifests/tags/v1/current/link.tmp", b"")
    storage.write("blobs/sha256/00/data.tmp", b"")
    storage.write("repositories/readme.txt", b"not a repository")
    (storage.base / "repositories/empty/_layers").mkdir(parents=True)
    storage.link("app/_layers", b"collected there")
    return []


DAMAGES = [
    truncated_layer, missing_layer, unlinked_layer, empty_link, link_out_of_the_storage, link_to_another,
    missing_manifest, changed_manifest, deleted_manifest, schema_1, not_json, too_large, index_without_a_child,
    invalid_names, leftovers,
]  # fmt: skip
SYMLINKS = [layer_that_leads_out, folder_that_leads_out, repository_that_leads_out]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_what_is_damaged_is_left_out_with_its_reason(damage: Damage, ours: Ours) -> None:
    assert_left_out(damage, ours)


@pytest.mark.parametrize("there", ["folder"], indirect=True)
@pytest.mark.parametrize("damage", SYMLINKS, ids=lambda damage: damage.__name__)
def test_symlinks_do_not_lead_out(damage: Damage, ours: Ours) -> None:
    assert_left_out(damage, ours)


def assert_left_out(damage: Damage, ours: Ours) -> None:
    storage = Storage(ours.there.root)
    image, healthy = storage.image("app", "v1"), storage.image("healthy", "v1")
    expected = damage(storage, image)
    report = ours.take_over(status=3 if expected else 0)
    assert findings(report) == expected
    tags = {
        (row[0], row[1])
        for row in ours.rows("SELECT r.name, t.name FROM tags t JOIN repositories r ON r.id = repository_id")
    }
    assert ("healthy", "v1") in tags
    broken = {(repository, tag) for reason, repository, tag in expected if reason == "tag-target-missing"}
    assert not broken & tags
    assert ours.rows("SELECT 1 FROM manifests WHERE digest = ?", healthy.digest)


def test_what_was_left_out_comes_with_a_later_run(tmp_path: Path, ours: Ours) -> None:
    storage = Storage(ours.there.root)
    image = storage.image("app", "v1")
    layer = storage.data(image.layers[0])
    layer.rename(tmp_path / "kept")
    ours.take_over(status=3)
    (tmp_path / "kept").rename(layer)
    report = ours.take_over()
    assert (report["tags"], report["manifests"], findings(report)) == (1, 1, [])


def test_an_index_of_indexes_is_taken_over_whatever_the_order_on_disk(ours: Ours) -> None:
    storage = Storage(ours.there.root)
    child = storage.image("app").manifest
    media_type = OCI_MANIFEST
    for level in range(40):
        child, media_type = (
            index_manifest([descriptor(child, media_type)], annotations={"level": str(level)}),
            OCI_INDEX,
        )
        storage.manifest("app", child, f"level{level}")
    report = ours.take_over()
    assert (report["manifests"], report["tags"], findings(report)) == (41, 40, [])
    assert ours.rows("SELECT count(*) FROM manifest_children") == [(40,)]


def test_a_copy_finds_bytes_that_are_not_what_their_name_says(ours: Ours) -> None:
    storage = Storage(ours.there.root)
    image, _ = storage.image("app", "v1"), storage.image("healthy", "v1")
    layer = image.layers[0]
    storage.data(layer).write_bytes(layer[::-1])
    report = ours.take_over("--copy", status=3)
    assert findings(report) == [
        ("blob-damaged", "app", digest_of(layer)),
        ("blob-missing", "app", image.digest),
        ("tag-target-missing", "app", "v1"),
    ]
    assert len(ours.stored()) == 3
    assert report["tags"] == 1


@pytest.mark.parametrize("below", ["", "docker/registry/v2", "nowhere"])
def test_a_place_without_a_registry_is_refused(ours: Ours, below: str) -> None:
    there = ours.there
    there.root.mkdir(parents=True)
    if below:
        write_storage(there.root, 1)
    said = replace(ours, there=replace(there, source=f"{there.source}/{below}".rstrip("/"))).refused()
    assert " no registry: " in said
    assert len(said.splitlines()) == 1
    if below == "docker/registry/v2":
        assert f"Did you mean {there.source}?" in said
    assert ours.rows("SELECT count(*) FROM stores") == [(0,)]
