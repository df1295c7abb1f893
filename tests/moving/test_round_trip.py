"""What is exported and loaded elsewhere is the same to the last byte."""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.cli.commands import printed, refused
from tests.factories import descriptor, digest_of, index_manifest, pull_manifest, push_image
from tests.moving.conftest import Archive, Empty, Filled
from tests.support.images import OCI_INDEX, layout_blobs
from tests.support.peers import assert_same
from tests.support.server import ROOT, Connect, ServerFactory

REF_NAME = "org.opencontainers.image.ref.name"


@pytest.mark.parametrize("target", ["layout", "layout.tar", "-"])
def test_everything_survives_the_round_trip(
    filled: Filled, fresh_server: ServerFactory, connect: Connect, tmp_path: Path, target: str
) -> None:
    if target == "-":
        archive = tmp_path / "stream.tar"
        command = [sys.executable, "-m", "registry", "export", "--all", *filled.data, "--to", "-"]
        with archive.open("wb") as stream:
            subprocess.run(command, cwd=ROOT, stdout=stream, check=True)
        source = str(archive)
    else:
        source = str(tmp_path / target)
        assert printed("export", "--all", *filled.data, "--to", source).startswith("exported 7 tags, 12 manifests and ")
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")] == []
    there = fresh_server()
    said = printed("load", "--from", source, "--data", str(there.data))
    assert said.startswith("loaded 7 tags and 12 manifests into 2 repositories; ")
    client = connect(there)
    for repository, references in filled.references.items():
        assert_same(filled.client, client, repository, references)
        tags, tags_there = (one.get(f"/v2/{repository}/tags/list").json() for one in (filled.client, client))
        assert tags == tags_there
    for subject in (filled.single.digest, *filled.references["team/app"][5:8]):
        path = f"/v2/team/app/referrers/{subject}"
        here, beyond = (
            sorted(one.get(path).json()["manifests"], key=lambda entry: str(entry["digest"]))
            for one in (filled.client, client)
        )
        assert here == beyond
    again = printed("load", "--from", source, "--data", str(there.data))
    assert again.endswith("; 0 blobs were new, 0 B")


def test_what_was_called_like_a_moment_is_had_under_another_name(
    fresh_server: ServerFactory, connect: Connect, tmp_path: Path
) -> None:
    """By a version to which that was a name like others."""
    server, old, file = fresh_server("--workers", "1"), "at-20261101t120000z/app", str(tmp_path / "app.tar")
    client, data = connect(server), ("--data", str(server.data))
    image = push_image(client, "team/old", "v1")
    server.stop()
    server.sql(f"UPDATE repositories SET name = '{old}' WHERE name = 'team/old'")
    server.start()
    assert client.get("/v2/_catalog").json()["repositories"] == [old]
    assert client.get(f"/v2/{old}/manifests/v1").status_code == 404
    printed("export", old, *data, "--to", file)
    printed("load", "--from", file, "--repository", "team/new", *data)
    assert pull_manifest(client, "team/new", "v1") == image.manifest


@pytest.mark.parametrize("through", ["a pipe", "a file"])
def test_an_archive_is_read_from_standard_input(
    filled: Filled, fresh_server: ServerFactory, connect: Connect, tmp_path: Path, through: str
) -> None:
    there = fresh_server("--workers", "1")
    command = [sys.executable, "-m", "registry"]
    into = [*command, "load", "--from", "-", "--data", str(there.data)]
    if through == "a pipe":
        with subprocess.Popen(
            [*command, "export", "team/app:v1", *filled.data, "--to", "-"], cwd=ROOT, stdout=subprocess.PIPE
        ) as writing:
            done = subprocess.run(into, cwd=ROOT, stdin=writing.stdout, capture_output=True, text=True, check=False)
    else:
        archive = tmp_path / "layout.tar"
        printed("export", "team/app:v1", *filled.data, "--to", str(archive))
        with archive.open("rb") as file:
            done = subprocess.run(into, cwd=ROOT, stdin=file, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert_same(filled.client, connect(there), "team/app", ["v1"])
    damaged = subprocess.run(into, cwd=ROOT, input=b"no archive", capture_output=True, check=False)
    assert damaged.returncode == 1
    assert damaged.stderr.startswith(b"stowage: standard input: this is no tar archive")


def test_each_blob_is_stored_once_and_what_refers_to_an_image_comes_along(filled: Filled, tmp_path: Path) -> None:
    folder = tmp_path / "layout"
    printed("export", "team/app:v1", "team/app:latest", *filled.data, "--to", str(folder))
    entries = json.loads((folder / "index.json").read_bytes())["manifests"]
    names = [entry["annotations"].get(REF_NAME) for entry in entries]
    assert names == ["v1", f"{filled.single.digest.replace(':', '-')}.sig", None, None, "latest"] or set(names) == {
        "v1",
        "latest",
        None,
        f"{filled.single.digest.replace(':', '-')}.sig",
    }
    assert {entry["annotations"]["io.stowage.repository"] for entry in entries} == {"team/app"}
    assert {entry.get("artifactType") for entry in entries} == {None, "application/vnd.example.note"}
    assert filled.single.digest in layout_blobs(folder)

    alone = tmp_path / "alone.tar"
    printed("export", f"team/app@{filled.single.digest}", "--no-referrers", *filled.data, "--to", str(alone))
    with tarfile.open(alone) as archive:
        assert len([name for name in archive.getnames() if name.startswith("blobs/")]) == 4


def test_tags_are_told_apart_by_their_repositories(filled: Filled, empty: Empty, tmp_path: Path) -> None:
    folder = tmp_path / "layout"
    printed("export", "team/app:v1", "other:v1", "--no-referrers", *filled.data, "--to", str(folder))
    names = [one["annotations"][REF_NAME] for one in json.loads((folder / "index.json").read_bytes())["manifests"]]
    assert names == ["team/app:v1", "other:v1"]
    both = refused("load", "--from", str(folder), *empty.data, "--repository", "one")
    assert "one:v1 would name two things" in both
    assert empty.is_untouched()
    assert "2 repositories" in printed("load", "--from", str(folder), *empty.data)


def test_what_is_not_there_or_taken_is_refused_and_nothing_is_left(filled: Filled, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    for what in ("nobody", "team/app:none", f"team/app@{digest_of(b'none')}"):
        assert "there is no" in refused("export", what, *filled.data, "--to", str(tmp_path / "new.tar"))
    for target in (str(taken), str(tmp_path / "no" / "such" / "place"), str(tmp_path / "no" / "such.tar")):
        assert len(refused("export", "other", *filled.data, "--to", target).splitlines()) == 1
    assert list(tmp_path.glob("**/*partial*")) == []
    assert not (tmp_path / "new.tar").exists()
    for wrong in (("--to", "x"), ("other", "--all", "--to", "x"), ("Other", "--to", "x"), ("a:b@c", "--to", "x")):
        refused("export", *wrong, *filled.data, status=2)
    refused("export", "other", *filled.data, status=2)


def test_a_damaged_blob_ends_an_export_and_leaves_nothing(filled: Filled, tmp_path: Path) -> None:
    layer = digest_of(filled.single.layers[0]).partition(":")[2]
    [file] = (filled.server.data / "storage" / "blobs").rglob(f"{layer}-*")
    file.chmod(0o600)
    content = file.read_bytes()
    for damaged, message in ((content[::-1], "do not hash"), (content[:10], "10 bytes"), (None, "not in the storage")):
        if damaged is None:
            file.unlink()
        else:
            file.write_bytes(damaged)
        for target in ("layout", "layout.tar"):
            said = refused("export", "team/app", *filled.data, "--to", str(tmp_path / target))
            assert message in said and layer in said
            assert [entry.name for entry in tmp_path.iterdir() if "layout" in entry.name] == []
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("annotations", "arguments", "expected"),
    [
        ({}, ("--repository", "a/b"), "a/b:v1"),
        ({}, ("--repository", "a/b", "--tag", "x"), "a/b:x"),
        ({"org.opencontainers.image.ref.name": "localhost:5000/team/app:2.0"}, (), "team/app:2.0"),
        ({"org.opencontainers.image.ref.name": "team/app:2.0"}, (), "team/app:2.0"),
        ({"io.containerd.image.name": "docker.io/library/alpine:3.19"}, (), "library/alpine:v1"),
        ({"io.stowage.repository": "mine"}, (), "mine:v1"),
        ({"io.stowage.repository": "mine"}, ("--repository", "other"), "other:v1"),
    ],
)
def test_a_layout_tells_where_it_goes_unless_told_otherwise(
    empty: Empty, tmp_path: Path, annotations: dict[str, str], arguments: tuple[str, ...], expected: str
) -> None:
    archive = Archive(annotations)
    archive.files |= {"manifest.json": b"[]", "repositories": b"{}"}  # docker writes them beside
    printed("load", "--from", str(archive.write(tmp_path / "a.tar")), *empty.data, *arguments)
    query = "SELECT r.name || ':' || t.name, content FROM repositories r JOIN tags t ON t.repository_id = r.id"
    found = empty.rows(f"{query} JOIN manifests m ON m.id = t.manifest_id")
    assert found == [(expected, archive.image.manifest)]


def test_a_push_is_what_a_load_is(empty: Empty, tmp_path: Path) -> None:
    """With its events, and without what the settings allow to be missing."""
    archive = Archive({"io.stowage.repository": "app"})
    archive.spoil(archive.image.layers[0], None)
    file = str(archive.write(tmp_path / "a.tar"))
    assert "is not in it" in refused("load", "--from", file, *empty.data)
    printed("load", "--from", file, *empty.data, STOWAGE_MANIFESTS__SPARSE="allow")
    actions = [row[0] for row in empty.rows("SELECT action FROM outbox ORDER BY id")]
    assert actions == ["create", "push", "push", "tag"]


def test_a_load_moves_no_immutable_tag(empty: Empty, tmp_path: Path) -> None:
    first, second = Archive({"io.stowage.repository": "app"}), Archive({"io.stowage.repository": "app"})
    files = [str(one.write(tmp_path / f"{name}.tar")) for name, one in (("first", first), ("second", second))]
    printed("load", "--from", files[0], *empty.data)
    printed("rule", "add", "*", "v*", "--immutable", *empty.data)
    words = "app:v1 can't be moved: rule 1: tags like v* in the whole registry are immutable"
    assert words in refused("load", "--from", files[1], *empty.data)
    printed("load", "--from", files[0], *empty.data)  # which it names already
    query = "SELECT t.name, m.digest FROM tags t JOIN manifests m ON m.id = t.manifest_id"
    assert empty.rows(query) == [("v1", digest_of(first.image.manifest))]


def test_children_that_are_no_manifests_are_loaded_as_blobs(empty: Empty, tmp_path: Path) -> None:
    """BuildKit's cache indexes list layers and a config; what is a manifest of an odd type is listed beside."""
    archive = Archive({"io.stowage.repository": "app"})
    layer, config, odd = b"a layer", b'{"layers": []}', json.dumps({"of": "an odd type"}).encode()
    children = [
        descriptor(layer, "application/vnd.oci.image.layer.v1.tar+gzip"),
        descriptor(config, "application/vnd.buildkit.cacheconfig.v0"),
        descriptor(odd, "application/vnd.example.odd"),
    ]
    index = index_manifest(children)
    for content in (layer, config, odd, index):
        archive.add(content)
    archive.entries[0] |= descriptor(index, OCI_INDEX)
    archive.entries.append({**children[2], "annotations": {"io.stowage.repository": "app"}})
    printed("load", "--from", str(archive.write(tmp_path / "a.tar")), *empty.data)
    assert {row[0] for row in empty.rows("SELECT digest FROM blobs")} == {digest_of(layer), digest_of(config)}
    assert {row[0] for row in empty.rows("SELECT digest FROM manifests")} == {digest_of(index), digest_of(odd)}
    again = tmp_path / "again"
    printed("export", "app", *empty.data, "--to", str(again))
    assert set(layout_blobs(again)) == {digest_of(content) for content in (layer, config, odd, index)}
    listed = json.loads((again / "index.json").read_bytes())["manifests"]
    assert [entry["digest"] for entry in listed] == [digest_of(index), digest_of(odd)]


def test_nobody_reads_the_stream_any_more(filled: Filled) -> None:
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "registry", "export", "--all", *filled.data, "--to", "-"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    os.close(reading)
    _, said = process.communicate(timeout=240)
    assert process.returncode == 1
    assert said.splitlines() == ["stowage: standard output can't be written: Broken pipe"]
