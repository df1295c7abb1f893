"""What `stowage fsck` finds and nothing else makes by accident: each is there, is said, repaired, and gone."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.factories import (
    OCI_INDEX,
    descriptor,
    digest_of,
    index_manifest,
    pull_blob,
    pull_manifest,
    push_blob,
    push_image,
    push_manifest,
    random_bytes,
)
from tests.scrub.conftest import QUIET, Site, missing, truncated
from tests.support.faulty_s3 import Asked, Fault, FaultyS3
from tests.support.s3 import S3Server, server_settings
from tests.support.server import Connect, ServerFactory

_COLLECTING = {"STOWAGE_COLLECTION__UNTAGGED": "collect"}
_DENIED = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>made up</Message></Error>"


def collect(site: Site) -> None:
    """Have everything go that nothing keeps."""
    site.server.sql("UPDATE links SET held_until = 0; UPDATE candidates SET since = 1")
    replace(site, settings={**site.settings, **_COLLECTING}).run("gc", "--now", "--grace", "0s", "--window", "0s")


def test_what_a_repository_that_is_gone_leaves(site: Site, repository: str) -> None:
    other = push_image(site.client, "other/kept", tag="t")
    image = push_image(site.client, repository, tag="t", layers=2)
    index = index_manifest([descriptor(image.manifest, "application/vnd.oci.image.manifest.v1+json")])
    push_manifest(site.client, repository, index, "index", media_type=OCI_INDEX)
    shared = push_blob(site.client, repository, other.config)
    files = [site.file(digest_of(content)) for content in image.blobs]
    ((repository_id,),) = site.server.sql(f"SELECT id FROM repositories WHERE name = '{repository}'")
    site.unchecked(f"DELETE FROM repositories WHERE id = {repository_id}")

    gone = f"repository {repository_id}"
    assert site.faults() == {
        "manifest-dangling": sorted(f"{gone}@{digest}" for digest in (image.digest, digest_of(index))),
        "link-dangling": sorted(f"{gone}@{digest}" for digest in (shared, *map(digest_of, image.blobs))),
    }
    repaired = site.fsck("--repair", status=3)["summary"]
    assert repaired["problems"] == {
        "manifest-dangling": 2,
        "link-dangling": len(image.blobs) + 1,
        "blob-unlinked": len(image.blobs),
    }
    assert repaired["repaired"] == repaired["found"]
    assert site.fsck()["findings"] == []
    assert site.server.sql(f"SELECT count(*) FROM tag_history WHERE repository_id = {repository_id}") == [("0",)]
    collect(site)
    assert not any(file.exists() for file in files)
    assert pull_manifest(site.client, "other/kept", "t") == other.manifest
    for content in other.blobs:
        assert pull_blob(site.client, "other/kept", digest_of(content)) == content
    assert push_image(site.client, repository, tag="t").digest
    assert site.fsck()["findings"] == []


def test_what_collection_would_never_look_at(site: Site, repository: str) -> None:
    push_image(site.client, repository, tag="kept")
    untagged = push_image(site.client, repository)
    blob = push_blob(site.client, "empty/queued", random_bytes(100))
    site.client.delete(f"/v2/empty/queued/blobs/{blob}")
    assert site.fsck()["findings"] == []
    site.run("gc", "--now", "--grace", "0s", "--window", "0s")
    assert site.fsck()["findings"] == []

    site.server.sql(
        "DELETE FROM candidates; INSERT INTO repositories (name, created_at) VALUES ('empty/one', 1), ('empty/two', 1)"
    )
    ((repaired_id,),) = site.server.sql("SELECT id FROM repositories WHERE name = 'empty/two'")
    site.unchecked(
        f"INSERT INTO links (repository_id, blob_id, linked_at, held_until) VALUES ({repaired_id}, 77777, 1, 1)"
    )
    collect(site)
    assert pull_manifest(site.client, repository, untagged.digest) == untagged.manifest
    assert site.faults() == {
        "manifest-forgotten": [f"{repository}@{untagged.digest}"],
        "repository-forgotten": ["empty/one"],
        "link-dangling": ["empty/two@77777"],
    }
    repaired = site.fsck("--repair", status=3)["summary"]
    assert repaired["problems"] == {"manifest-forgotten": 1, "repository-forgotten": 2, "link-dangling": 1}
    assert repaired["repaired"] == repaired["found"]
    assert site.fsck()["findings"] == []
    collect(site)
    assert site.client.get(f"/v2/{repository}/manifests/{untagged.digest}").status_code == 404
    assert site.server.sql("SELECT name FROM repositories") == [(repository,)]
    pull_manifest(site.client, repository, "kept")


@pytest.fixture(params=["folder", "s3"])
def unreadable(
    request: pytest.FixtureRequest, fresh_server: ServerFactory, connect: Connect, repository: str
) -> Iterator[tuple[Site, bytes]]:
    """A registry whose storage can't say how large one object is, as commands reach it; and the object's content."""
    content = random_bytes(3000)
    if request.param == "folder":
        server = fresh_server(**QUIET)
        site = Site(server, connect(server), QUIET, server.data / "storage")
        file = site.file(push_blob(site.client, repository, content))
        missing(file)
        file.mkdir()
        yield site, content
        return
    running: S3Server = request.getfixturevalue("s3")
    prefix = f"unreadable-{repository}"
    server = fresh_server(**QUIET, **server_settings(running.url, prefix))
    with FaultyS3(running.url) as relay:
        settings = {**QUIET, **server_settings(relay.url, prefix)}
        site = Site(server, connect(server), settings, running.data)
        file = site.file(push_blob(site.client, repository, content))
        truncated(file)

        def asks_for_it(asked: Asked) -> bool:
            return asked.method == "HEAD" and asked.name.endswith(file.name)

        relay.fail(Fault(asks_for_it, times=1000, status=403, body=_DENIED))
        yield site, content


def test_an_object_that_storage_can_not_tell_of(unreadable: tuple[Site, bytes], repository: str) -> None:
    """It may be whole: nothing is done about it, and a person is told."""
    site, content = unreadable
    digest = digest_of(content)
    assert site.faults() == {"object-unreadable": [digest]}
    (finding,) = site.fsck("--repair", status=3)["findings"]
    assert (finding["repair"], finding["repaired"]) == (None, False)
    assert site.server.sql(f"SELECT state FROM blobs WHERE digest = '{digest}'") == [("0",)]
    file = site.file(digest)
    if file.is_dir():
        file.rmdir()
    file.write_bytes(content)
    assert site.fsck()["findings"] == []
    assert pull_blob(site.client, repository, digest) == content
