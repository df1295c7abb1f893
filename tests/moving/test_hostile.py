"""Layouts that a stranger made to do harm: refused with one line, and nothing of them stays."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.commands import printed, refused
from tests.factories import descriptor, digest_of, index_manifest
from tests.moving.conftest import Archive, Empty
from tests.support.images import OCI_INDEX, OCI_MANIFEST, write_docker_archive, write_layout
from tests.support.images import sample_image as docker_image

Spoil = Callable[[Archive], str]


def climbing(archive: Archive) -> str:
    archive.special("../../outside", content=b"x")
    return "leads out"


def absolute(archive: Archive) -> str:
    archive.special("/etc/outside", content=b"x")
    return "leads out"


def symlink(archive: Archive) -> str:
    path = f"blobs/{digest_of(archive.image.layers[0]).replace(':', '/')}"
    archive.spoil(archive.image.layers[0], None)
    archive.special(path, tarfile.SYMTYPE, linkname="/etc/passwd")
    return "no plain file"


def hard_link(archive: Archive) -> str:
    archive.special("blobs/other", tarfile.LNKTYPE, linkname="index.json")
    return "no plain file"


def device(archive: Archive) -> str:
    archive.special("blobs/zero", tarfile.CHRTYPE, devmajor=1, devminor=5)
    return "no plain file"


def pipe(archive: Archive) -> str:
    archive.special("blobs/pipe", tarfile.FIFOTYPE)
    return "no plain file"


def twice(archive: Archive) -> str:
    archive.special("index.json", content=b'{"schemaVersion": 2, "manifests": []}')
    return "twice"


def other_bytes_in_a_layer(archive: Archive) -> str:
    layer = archive.image.layers[0]
    archive.spoil(layer, layer[::-1])
    return "do not hash"


def shorter_layer(archive: Archive) -> str:
    archive.spoil(archive.image.layers[0], b"short")
    return "has 5 bytes"


def other_bytes_in_the_manifest(archive: Archive) -> str:
    archive.spoil(archive.image.manifest, archive.image.manifest.replace(b"amd", b"arm")[:-1] + b" ")
    return "do not hash"


def missing_config(archive: Archive) -> str:
    archive.spoil(archive.image.config, None)
    return "is not in it"


def missing_manifest(archive: Archive) -> str:
    archive.spoil(archive.image.manifest, None)
    return "there is no blobs/"


def missing_child(archive: Archive) -> str:
    index = index_manifest([descriptor(b"nowhere", OCI_MANIFEST)])
    archive.add(index)
    archive.entries[0] |= descriptor(index, OCI_INDEX)
    return "is not in it"


def huge_manifest(archive: Archive) -> str:
    content = b"{" + b" " * (5 * 1024 * 1024) + b"}"
    archive.add(content)
    archive.entries[0] |= descriptor(content, OCI_MANIFEST)
    return "at most"


def deep_index(archive: Archive) -> str:
    archive.files["index.json"] = b'{"manifests":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    return "nested more than 64 levels"


def wide_index(archive: Archive) -> str:
    archive.files["index.json"] = b'{"manifests":[' + b"{}," * 1_200_000 + b"{}]}"
    return "at most"


def index_of_nothing(archive: Archive) -> str:
    archive.entries = []
    return "lists nothing"


def index_that_is_no_json(archive: Archive) -> str:
    archive.files["index.json"] = b"\xff\xfe"
    return "not UTF-8"


def digest_that_climbs(archive: Archive) -> str:
    archive.entries[0]["digest"] = "sha256:../../../../etc/passwd"
    return "digest"


def another_version(archive: Archive) -> str:
    archive.files["oci-layout"] = b'{"imageLayoutVersion": "9.0.0"}'
    return "9.0.0"


def no_marker(archive: Archive) -> str:
    del archive.files["oci-layout"]
    return "no OCI image layout"


def wrong_type(archive: Archive) -> str:
    archive.entries[0]["mediaType"] = OCI_INDEX
    return "mediaType"


def name_that_climbs(archive: Archive) -> str:
    archive.entries[0]["annotations"] = {"io.stowage.repository": "../../etc"}
    return "repository name"


def nameless(archive: Archive) -> str:
    archive.entries[0]["annotations"] = {}
    return "--repository"


SPOILS = [
    climbing, absolute, symlink, hard_link, device, pipe, twice, other_bytes_in_a_layer, shorter_layer,
    other_bytes_in_the_manifest, missing_config, missing_manifest, missing_child, huge_manifest, deep_index, wide_index,
    index_of_nothing, index_that_is_no_json, digest_that_climbs, another_version, no_marker, wrong_type,
    name_that_climbs, nameless,
]  # fmt: skip


@pytest.mark.parametrize("spoil", SPOILS, ids=lambda spoil: spoil.__name__)
def test_it_is_refused_with_one_line_and_leaves_nothing(spoil: Spoil, empty: Empty, tmp_path: Path) -> None:
    archive = Archive({"io.stowage.repository": "app"})
    said = spoil(archive)
    before = sorted(tmp_path.rglob("*"))
    text = refused("load", "--from", str(archive.write(tmp_path / "hostile.tar")), *empty.data)
    assert said in text, text
    assert len(text.splitlines()) == 1 and len(text) < 600
    (tmp_path / "hostile.tar").unlink()
    assert [path for path in sorted(tmp_path.rglob("*")) if "empty" not in path.parts] == [
        path for path in before if "empty" not in path.parts
    ]
    assert empty.is_untouched()


def raw_header(name: str, size: bytes, kind: bytes) -> bytes:
    """A header of an archive with a size field of one's own."""
    header = bytearray(tarfile.TarInfo(name).tobuf(tarfile.USTAR_FORMAT))
    header[124:136] = size
    header[156:157] = kind
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no archive at all",
        b"\x1f\x8b\x08 compressed",
        b"\0" * 10240,
        raw_header("a", b"\xff" * 12, b"0"),
        raw_header("a", b"\xff" * 11 + b"\x00", b"x"),
        raw_header("a", b"\xff" * 10 + b"\xfc\x00", b"0") * 4,
        raw_header("a", b"77777777777\0", b"x") + bytes(4096),
        raw_header("a", b"77777777777\0", b"L") + bytes(4096),
        raw_header("a", b"77777777777\0", b"0"),
        b"".join(raw_header("a", b"00000000000\0", b"x") for _ in range(3000)),
    ],
    ids=lambda content: f"{len(content)} bytes from {content[:1]!r}" if isinstance(content, bytes) else None,
)
def test_what_is_no_archive_is_refused_too(content: bytes, empty: Empty, tmp_path: Path) -> None:
    file = tmp_path / "hostile.tar"
    file.write_bytes(content)
    assert len(refused("load", "--from", str(file), *empty.data).splitlines()) == 1
    assert empty.is_untouched()


def test_what_can_be_guessed_is_told(empty: Empty, tmp_path: Path) -> None:
    old = write_docker_archive(tmp_path / "old.tar", docker_image(busybox=False), "app:v1")
    assert "older Docker" in refused("load", "--from", str(old), *empty.data)
    assert "can't be read" in refused("load", "--from", str(tmp_path / "none.tar"), *empty.data)
    squeezed = tmp_path / "squeezed.tar"
    squeezed.write_bytes(b"\x1f\x8b" + bytes(20))
    assert "gunzip" in refused("load", "--from", str(squeezed), *empty.data)
    archive = Archive({"io.stowage.repository": "app"})
    other = Archive({})
    for content in (*other.image.blobs, other.image.manifest):
        archive.add(content)
    archive.entries += other.entries
    file = str(archive.write(tmp_path / "two.tar"))
    assert "--tag" in refused("load", "--from", file, *empty.data, "--repository", "app", "--tag", "x")
    assert "would name two things" in refused("load", "--from", file, *empty.data, "--repository", "app")
    assert empty.is_untouched()


def test_a_folder_does_not_lead_out_of_itself(empty: Empty, tmp_path: Path) -> None:
    image = docker_image(busybox=False)
    layout = write_layout(tmp_path / "layout", image, tag="app:v1")
    [layer] = (layout / "blobs" / "sha256").glob(image.layers[0].digest.partition(":")[2])
    outside = tmp_path / "outside"
    layer.rename(outside)
    layer.symlink_to(outside)
    assert "not a regular file" in refused("load", "--from", str(layout), *empty.data)
    layer.unlink()
    (layout / "blobs").rename(tmp_path / "blobs")
    (tmp_path / "blobs" / "sha256" / layer.name).write_bytes(outside.read_bytes())
    (layout / "blobs").symlink_to(tmp_path / "blobs")
    assert "leads out" in refused("load", "--from", str(layout), *empty.data)
    assert empty.is_untouched()
    (layout / "blobs").unlink()
    (tmp_path / "blobs").rename(layout / "blobs")
    assert "loaded 1 tags" in printed("load", "--from", str(layout), *empty.data)


def test_an_archive_may_begin_its_names_with_a_dot(empty: Empty, tmp_path: Path) -> None:
    """As `tar -cf FILE .` writes them, with folders."""
    archive = Archive({"io.stowage.repository": "app"})
    index = json.dumps({"schemaVersion": 2, "manifests": archive.entries}).encode()
    with tarfile.open(tmp_path / "dots.tar", "w") as tar:
        for folder in (".", "./blobs", "./blobs/sha256"):
            info = tarfile.TarInfo(folder)
            info.type = tarfile.DIRTYPE
            tar.addfile(info)
        for name, content in {**archive.files, "index.json": index}.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    assert "loaded 1 tags" in printed("load", "--from", str(tmp_path / "dots.tar"), *empty.data)
