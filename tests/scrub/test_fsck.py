"""`stowage fsck`: nothing is found where nothing is wrong, each planted fault is, and --repair leaves none."""

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import httpx
import pytest

from tests.cli.commands import stowage
from tests.factories import (
    OCI_INDEX,
    PushedImage,
    artifact_manifest,
    descriptor,
    digest_of,
    index_manifest,
    new_image,
    pull_blob,
    pull_manifest,
    push_artifact,
    push_blob,
    push_image,
    push_manifest,
    random_bytes,
    start_upload,
)
from tests.scrub.conftest import QUIET, Site, missing, truncated
from tests.support.server import ROOT, Connect, ServerFactory
from tests.takeover.storages import Storage

LONG_AGO = 3 * 86400


def age(file: Path) -> None:
    """Make a file old enough that nobody is about to need it."""
    then = time.time() - LONG_AGO
    os.utime(file, (then, then))


def mixed(client: httpx.Client, repository: str) -> PushedImage:
    """Do all that may be done; return an image that is still there."""
    image = push_image(client, repository, tag="kept", layers=2)
    for tag in ("a", "b"):
        push_image(client, repository, tag=tag)
    push_image(client, repository, tag="a")  # what was tagged is not any more
    children = [push_image(client, repository) for _ in range(2)]
    index = index_manifest([descriptor(one.manifest, "application/vnd.oci.image.manifest.v1+json") for one in children])
    push_manifest(client, repository, index, "index", media_type=OCI_INDEX)
    push_artifact(client, repository, artifact_manifest(image.manifest))
    push_artifact(client, repository, artifact_manifest(new_image().manifest))  # of what may come
    gone = push_image(client, repository, tag="gone")
    client.delete(f"/v2/{repository}/manifests/{gone.digest}")
    client.delete(f"/v2/{repository}/manifests/b")
    blob = push_blob(client, repository, random_bytes(100))
    client.delete(f"/v2/{repository}/blobs/{blob}")
    push_blob(client, repository, random_bytes(100))
    source = {"mount": digest_of(image.config), "from": repository}
    assert client.post(f"/v2/{repository}/other/blobs/uploads/", params=source).status_code == 201
    location = start_upload(client, repository)
    client.patch(location, content=b"half of it")
    start_upload(client, repository)
    return image


def test_a_registry_in_use_has_no_faults(site: Site, repository: str) -> None:
    empty = site.fsck()
    assert empty["findings"] == []
    mixed(site.client, repository)
    for collected in range(2):
        done = site.fsck()
        assert done["findings"] == []
        assert done["summary"]["found"] == 0
        assert done["summary"]["lookedAt"]["manifests"] >= 7 - collected
        site.server.sql("UPDATE links SET held_until = 0; UPDATE upload_sessions SET updated_at = 1")
        site.run("gc", "--now", "--grace", "0s", "--window", "0s")
    assert site.fsck("--repair")["findings"] == []


def test_each_fault_is_found_and_repaired(site: Site, repository: str) -> None:
    client, server = site.client, site.server
    image = mixed(client, repository)
    ((repository_id,),) = server.sql(f"SELECT id FROM repositories WHERE name = '{repository}'")
    lost, cut, loose, doomed, leaked = (random_bytes(3000) for _ in range(5))
    for content in (lost, cut, loose, doomed, leaked):
        push_blob(client, repository, content)
    parts = {
        digest: server.sql(f"SELECT id, key, store FROM blobs WHERE digest = '{digest}'")[0]
        for digest in map(digest_of, (lost, cut, loose, doomed, leaked, *image.layers))
    }
    broken, hidden, half, wrong = (push_image(client, repository, tag=tag) for tag in ("broken", "hidden", "h", "w"))
    children = [descriptor(wrong.manifest, "application/vnd.oci.image.manifest.v1+json")]
    index = index_manifest(children)
    push_manifest(client, repository, index, "lists", media_type=OCI_INDEX)
    assert site.fsck()["findings"] == []

    missing(site.file(digest_of(lost)))
    truncated(site.file(digest_of(cut)))
    kept = site.file(digest_of(doomed))
    orphan = kept.with_name(f"{digest_of(b'nobody')[7:]}-0123456789ab")
    orphan.write_bytes(kept.read_bytes())
    young = kept.with_name(f"{digest_of(b'anybody')[7:]}-0123456789ab")
    young.write_bytes(b"about to get its row")
    age(orphan)
    _, key, store = parts[digest_of(doomed)]
    lone = parts[digest_of(loose)][0]
    session = str(uuid.uuid4())
    state = server.sql("SELECT state FROM upload_sessions WHERE received > 0")[0][0]
    server.sql(
        f"INSERT INTO doomed (store, key, size, since) VALUES ('{store}', '{key}', 1, 1);"
        f"DELETE FROM candidates WHERE item_id = {lone}; DELETE FROM links WHERE blob_id = {lone};"
        f"DELETE FROM candidates WHERE kind = 1 AND item_id = {parts[digest_of(leaked)][0]};"
        "UPDATE manifests SET content = (SELECT content FROM manifests AS other WHERE "
        f"other.digest = '{broken.digest}') WHERE digest = '{wrong.digest}';"
        f"UPDATE manifests SET deleted_at = 1 WHERE digest = '{hidden.digest}';"
        f"DELETE FROM manifest_blobs WHERE manifest_id = (SELECT id FROM manifests WHERE digest = '{half.digest}');"
        "INSERT INTO upload_sessions SELECT "
        f"'{session}', repository, store, '{state.replace(_upload(site), session)}', algorithm, 10, digest, 0, 1, 1 "
        "FROM upload_sessions WHERE received > 0;"
        "INSERT INTO projects (name, created_at, created_by, quota_bytes, used_bytes) VALUES ('full', 1, 'test', 9, 5)"
    )
    edge = parts[digest_of(image.layers[0])][0]
    site.unchecked(
        f"DELETE FROM links WHERE blob_id = {edge} AND repository_id = {repository_id};"
        f"INSERT INTO tags (repository_id, name, manifest_id, updated_at) "
        f"VALUES ({repository_id}, 'nothing', 99999, 1);"
        f"INSERT INTO links (repository_id, blob_id, linked_at, held_until) VALUES ({repository_id}, 77777, 1, 1)",
    )

    expected = {
        "object-missing": [digest_of(lost)],
        "object-size": [digest_of(cut)],
        "blob-unlinked": sorted(map(digest_of, (loose, image.layers[0]))),  # the second follows from an edge
        "key-doomed": [digest_of(doomed)],
        "link-dangling": [f"{repository}@77777"],
        "link-forgotten": sorted(f"{repository}@{digest_of(one)}" for one in (leaked, *half.blobs)),
        "manifest-content": [f"{repository}@{wrong.digest}"],
        "manifest-edges": sorted([f"{repository}@{image.digest}", f"{repository}@{half.digest}"]),
        "tag-dangling": [f"{repository}:nothing"],
        "tag-deleted": [f"{repository}:hidden"],
        "session-empty": [session],
        "quota-sum": ["full"],
    }
    found = site.faults()
    assert [Path(one).name for one in found.pop("object-orphaned")] == [orphan.name]
    assert found == expected

    repaired = site.fsck("--repair", status=3)
    assert repaired["summary"]["found"] == repaired["summary"]["repaired"] == 14
    assert site.fsck()["findings"] == []
    assert not orphan.exists()
    assert young.exists()
    assert kept.exists()
    assert pull_manifest(client, repository, "hidden") == hidden.manifest
    assert pull_manifest(client, repository, "kept") == image.manifest
    assert pull_manifest(client, repository, "lists") == index
    assert pull_blob(client, repository, digest_of(image.layers[0])) == image.layers[0]
    assert client.get(f"/v2/{repository}/manifests/w").status_code == 404
    push_manifest(client, repository, wrong.manifest, "w")
    assert pull_manifest(client, repository, wrong.digest) == wrong.manifest
    for content in (lost, cut):
        assert client.head(f"/v2/{repository}/blobs/{digest_of(content)}").status_code == 404
        push_blob(client, repository, content)
        assert pull_blob(client, repository, digest_of(content)) == content
    # What the repaired edges refer to outlives collection without any grace.
    server.sql("UPDATE links SET held_until = 0; UPDATE upload_sessions SET updated_at = 1")
    site.run("gc", "--now", "--grace", "0s", "--window", "0s")
    for one in (image, half, broken, hidden, wrong):
        for content in one.blobs:
            assert pull_blob(client, repository, digest_of(content)) == content
    assert site.fsck()["findings"] == []


def _upload(site: Site) -> str:
    return site.server.sql("SELECT id FROM upload_sessions WHERE received > 0")[0][0]


def test_bytes_of_uploads_that_nobody_continues(fresh_server: ServerFactory, connect: Connect, repository: str) -> None:
    server = fresh_server(**QUIET)
    site = Site(server, connect(server), QUIET, server.data / "storage")
    uploads = server.data / "storage/uploads"
    old, young = (uploads / str(uuid.uuid4()) for _ in range(2))
    for file in (old, young):
        file.write_bytes(b"of a push that was killed")
    age(old)
    location = start_upload(site.client, repository)
    assert site.client.patch(location, content=b"0123456789").status_code == 202
    age(uploads / location.rpartition("/")[2])
    assert site.faults() == {"upload-orphaned": [old.name]}
    assert site.fsck("--repair", status=3)["summary"]["repaired"] == 1
    assert (old.exists(), young.exists()) == (False, True)
    closing = site.client.put(location, params={"digest": digest_of(b"0123456789")})
    assert closing.status_code == 201
    assert site.fsck()["findings"] == []


def test_it_goes_on_after_it_was_killed(fresh_server: ServerFactory, connect: Connect, repository: str) -> None:
    server = fresh_server(**QUIET)
    site = Site(server, connect(server), QUIET, server.data / "storage")
    push_image(site.client, repository, tag="t")
    target = server.data / "storage/blobs/sha256/00"
    target.mkdir(exist_ok=True)
    for number in range(3000):
        file = target / f"{number:064x}-0123456789ab"
        file.write_bytes(b"x")
        age(file)
    command = [sys.executable, "-m", "registry", "fsck", "--repair", "--data", str(server.data)]
    for _ in range(3):
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"}
        )
        assert process.stdout is not None
        for _ in range(100):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        process.stdout.close()
    left = len(list(target.glob("*-0123456789ab")))
    assert 0 < left <= 2700
    assert site.fsck("--repair", status=3)["summary"]["repaired"] == left
    assert site.fsck()["findings"] == []
    image = push_image(site.client, repository, tag="t")
    assert pull_manifest(site.client, repository, "t") == image.manifest


@pytest.mark.parametrize("finished", [False, True])
def test_storage_that_was_taken_over_is_compared_and_left_alone(
    fresh_server: ServerFactory, connect: Connect, tmp_path: Path, finished: bool
) -> None:
    server = fresh_server(**QUIET)
    site = Site(server, connect(server), QUIET, tmp_path)
    storage = Storage(tmp_path / "other")
    first, second = storage.image("app", "one"), storage.image("app", "two")
    unused = storage.blob(b"linked by nobody")
    for file in storage.base.rglob("data"):
        age(file)
    site.run("import", "--from", str(storage.root))
    storage.data(first.config).unlink()
    truncated(storage.data(second.config))
    expected = {"object-missing": [digest_of(first.config)], "object-size": [digest_of(second.config)]}
    assert site.faults() == expected
    if finished:
        done = stowage("import", "--from", str(storage.root), "--finish", "--yes", "--data", str(server.data))
        assert done.returncode == 0, done.stderr
        assert site.faults() == expected
    site.fsck("--repair", status=3)
    assert unused.exists()
    assert storage.data(second.config).exists()
    assert site.fsck()["findings"] == []
    for image in (first, second):
        assert pull_blob(site.client, "app", digest_of(image.layers[0])) == image.layers[0]
        push_blob(site.client, "app", image.config)
        assert pull_blob(site.client, "app", digest_of(image.config)) == image.config
    site.run("gc", "--now")
    assert storage.data(second.config).exists() is not finished  # its bad bytes are this registry's to delete, or not


def test_a_store_that_is_gone_is_said_and_the_rest_is_checked(
    fresh_server: ServerFactory, connect: Connect, tmp_path: Path, repository: str
) -> None:
    server = fresh_server(**QUIET)
    site = Site(server, connect(server), QUIET, server.data / "storage")
    storage = Storage(tmp_path / "other")
    storage.image("app", "one")
    site.run("import", "--from", str(storage.root))
    content = random_bytes(300)
    missing(site.file(push_blob(site.client, repository, content)))
    storage.base.rename(storage.base.with_name("unmounted"))
    assert site.faults() == {"store-unavailable": ["imported-1"], "object-missing": [digest_of(content)]}
    done = stowage("scrub", "--rate", "0", "--data", str(server.data))
    assert done.returncode == 1
    assert digest_of(content) in done.stdout
    storage.base.with_name("unmounted").rename(storage.base)
    assert site.scrub(status=3)["summary"]["quarantined"] == 1
    assert site.fsck()["findings"] == []
