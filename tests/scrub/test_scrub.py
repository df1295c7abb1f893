"""Scrubbing: exactly what is damaged is found, never served, and right again after a push."""

import json
import os
import time
from pathlib import Path

import pytest

from tests.cli.commands import stowage
from tests.factories import (
    assert_error,
    digest_of,
    pull_blob,
    push_blob,
    push_image,
    put_manifest,
    random_bytes,
)
from tests.scrub.conftest import QUIET, Damage, Site, flipped, missing, truncated
from tests.support.scrape import Scrape
from tests.support.served import eventually
from tests.support.server import Connect, Server, ServerFactory

SMALL, LARGE = 3000, 3_000_000
PATIENCE = 180.0


def events(server: Server, action: str) -> list[tuple[str, dict[str, object]]]:
    """Repository and facts of each event of a kind."""
    rows = server.sql(f"SELECT repository, payload FROM outbox WHERE action = '{action}' ORDER BY id")
    return [(repository, json.loads(payload)) for repository, payload in rows]


def due(server: Server) -> None:
    """Have every job begin when the server is started next."""
    server.stop()
    server.sql("UPDATE jobs SET due_at = 0, lease_until = 0")  # one that was stopped keeps its lease for a while
    server.start()


def test_what_is_damaged_is_found_and_nothing_else(site: Site, repository: str) -> None:
    client, server = site.client, site.server
    damages: dict[str, Damage] = {"content": flipped, "size": truncated, "missing": missing}
    blobs = [random_bytes(size) for size in (SMALL, LARGE) for _ in range(4)]
    for content in blobs:
        push_blob(client, repository, content)
        pull_blob(client, repository, digest_of(content))  # small ones are in the server's memory from now on
    client.post(f"/v2/{repository}/more/blobs/uploads/", params={"mount": digest_of(blobs[0]), "from": repository})
    assert site.scrub()["summary"] == {
        "blobs": 8,
        "bytes": 4 * (SMALL + LARGE),
        "damaged": 0,
        "repaired": 0,
        "recovered": 0,
        "quarantined": 0,
    }
    planted = {}
    for start in (0, 4):
        for content, (fault, damage) in zip(blobs[start:], damages.items(), strict=False):
            damage(site.file(digest_of(content)))
            planted[digest_of(content)] = fault

    found = site.scrub(status=3)
    assert {one["digest"]: one["fault"] for one in found["found"]} == planted
    assert found["summary"]["quarantined"] == len(planted) == 6
    assert all(one["quarantined"] and one["repositories"][0] == repository for one in found["found"])

    for content in blobs:
        digest, url = digest_of(content), f"/v2/{repository}/blobs/{digest_of(content)}"
        if digest not in planted:
            assert pull_blob(client, repository, digest) == content
            continue
        assert_error(client.get(url), 404, "BLOB_UNKNOWN")
        assert client.get(url, headers={"range": "bytes=0-9"}).status_code == 404
        assert client.head(url).status_code == 404
        mount = {"mount": digest, "from": repository}
        assert client.post(f"/v2/{repository}/else/blobs/uploads/", params=mount).status_code == 202
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": {"mediaType": "application/x", "digest": digest, "size": len(content)},
                "layers": [],
            }
        ).encode()
        assert_error(put_manifest(client, repository, "t", manifest), 404, "MANIFEST_BLOB_UNKNOWN")

    told = events(server, "quarantine")
    assert {str(facts["digest"]) for name, facts in told if name == repository} == set(planted)
    assert [facts["digest"] for name, facts in told if name != repository] == [digest_of(blobs[0])]
    assert Scrape.of(server.url).value("blobs_quarantined") == 6

    bad = {digest: site.file(digest) for digest, fault in planted.items() if fault != "missing"}
    for content in blobs:
        push_blob(client, repository, content)
        assert pull_blob(client, repository, digest_of(content)) == content
    assert site.scrub("--older-than", "1d")["summary"]["quarantined"] == 0
    assert Scrape.of(server.url).value("blobs_quarantined") == 0
    assert pull_blob(client, f"{repository}/more", digest_of(blobs[0])) == blobs[0]
    assert all(file.exists() for file in bad.values())  # kept aside, until they are collected
    assert len(server.sql("SELECT key FROM doomed")) == 6
    assert site.run("gc", "--now")["blobs"] == 6
    assert not any(file.exists() for file in bad.values())
    assert site.scrub()["summary"]["damaged"] == 0


def test_two_objects_that_changed_places(site: Site, repository: str) -> None:
    contents = [random_bytes(SMALL), random_bytes(SMALL), random_bytes(SMALL)]
    for content in contents:
        push_blob(site.client, repository, content)
    first, second = (site.file(digest_of(content)) for content in contents[:2])
    with first.open("r+b") as one, second.open("r+b") as other:
        one.write(contents[1])
        other.write(contents[0])
    found = site.scrub(status=3)["found"]
    assert {one["digest"] for one in found} == {digest_of(content) for content in contents[:2]}
    for content in contents[:2]:
        assert_error(site.client.get(f"/v2/{repository}/blobs/{digest_of(content)}"), 404, "BLOB_UNKNOWN")
    assert pull_blob(site.client, repository, digest_of(contents[2])) == contents[2]


def test_bytes_that_are_right_again_leave_quarantine(site: Site, repository: str) -> None:
    content = random_bytes(SMALL)
    digest = push_blob(site.client, repository, content)
    flipped(site.file(digest))
    assert [one["digest"] for one in site.scrub(status=3)["found"]] == [digest]
    assert [one["digest"] for one in site.scrub("--older-than", "1d", status=3)["found"]] == [digest]  # still
    flipped(site.file(digest))
    assert site.scrub("--quarantined")["summary"]["recovered"] == 1
    assert pull_blob(site.client, repository, digest) == content
    assert [facts["digest"] for _, facts in events(site.server, "recover")] == [digest]
    assert len(events(site.server, "quarantine")) == 1


def copied_storage(site: Site, repository: str, contents: list[bytes], folder: Path, layout: str) -> Path:
    """Put the bytes of blobs into a folder as others keep them, one of them damaged."""
    for number, content in enumerate(contents):
        encoded = digest_of(content).partition(":")[2]
        path = {
            "stowage": f"storage/blobs/sha256/{encoded[:2]}/{encoded}-0123456789ab",
            "distribution": f"docker/registry/v2/blobs/sha256/{encoded[:2]}/{encoded}/data",
            "layout": f"blobs/sha256/{encoded}",
        }[layout]
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        if number == 0:
            flipped(file)
    return folder


@pytest.mark.parametrize("layout", ["stowage", "distribution", "layout"])
def test_bytes_are_taken_from_another_folder(
    fresh_server: ServerFactory, connect: Connect, repository: str, tmp_path: Path, layout: str
) -> None:
    server = fresh_server(**QUIET)
    site = Site(server, connect(server), QUIET, server.data / "storage")
    contents = [random_bytes(size) for size in (SMALL, SMALL, LARGE)]
    for content in contents:
        flipped(site.file(push_blob(site.client, repository, content)))
    folder = copied_storage(site, repository, contents, tmp_path / "other", layout)
    done = site.scrub("--from", str(folder), status=3)
    assert done["summary"] | {"blobs": 3, "damaged": 3, "repaired": 2, "quarantined": 1} == done["summary"]
    assert done["trouble"] == f"{digest_of(contents[0])}: its bytes do not hash to its digest"
    assert {one["digest"]: one["repaired"] for one in done["found"]} == {
        digest_of(content): number > 0 for number, content in enumerate(contents)
    }
    for content in contents[1:]:
        assert pull_blob(site.client, repository, digest_of(content)) == content
    assert_error(site.client.get(f"/v2/{repository}/blobs/{digest_of(contents[0])}"), 404, "BLOB_UNKNOWN")
    assert len(events(site.server, "recover")) == 2
    assert list((server.data / "storage/uploads").iterdir()) == []


def test_a_folder_without_blobs_is_refused(fresh_server: ServerFactory, tmp_path: Path) -> None:
    server = fresh_server(**QUIET)
    done = stowage("scrub", "--from", str(tmp_path / "none"), "--data", str(server.data))
    assert (done.returncode, done.stdout) == (1, "")
    assert "there are no blobs in" in done.stderr


def test_load_brings_back_what_is_quarantined(site: Site, repository: str, tmp_path: Path) -> None:
    image = push_image(site.client, repository, tag="t")
    layout = tmp_path / "layout"
    done = stowage("export", repository, "--to", str(layout), "--data", str(site.server.data), **site.settings)
    assert done.returncode == 0, done.stderr
    flipped(site.file(digest_of(image.config)))
    site.scrub(status=3)
    assert site.client.head(f"/v2/{repository}/blobs/{digest_of(image.config)}").status_code == 404
    done = stowage("load", "--from", str(layout), "--data", str(site.server.data), **site.settings)
    assert done.returncode == 0, done.stderr
    assert pull_blob(site.client, repository, digest_of(image.config)) == image.config
    assert site.scrub()["summary"]["quarantined"] == 0


def test_the_server_scrubs_by_itself_and_counts(fresh_server: ServerFactory, connect: Connect, repository: str) -> None:
    server = fresh_server(STOWAGE_SCRUB__INTERVAL="1s", STOWAGE_SCRUB__RATE="0", STOWAGE_SCRUB__EVERY="30d")
    site = Site(server, connect(server), {}, server.data / "storage")
    right, wrong, recent = (random_bytes(SMALL) for _ in range(3))
    for content in (right, wrong, recent):
        push_blob(site.client, repository, content)
    server.sql(f"UPDATE blobs SET verified_at = 1 WHERE digest <> '{digest_of(recent)}'")
    flipped(site.file(digest_of(wrong)))
    flipped(site.file(digest_of(recent)))  # nobody looks at it yet
    due(server)
    eventually(lambda: Scrape.of(server.url).value("blobs_quarantined") == 1, PATIENCE)
    eventually(lambda: Scrape.of(server.url).value("scrub_faults_total", fault="content") >= 1, PATIENCE)
    found = Scrape.of(server.url)
    assert found.value("scrub_faults_total") == found.value("scrub_faults_total", fault="content")
    assert found.value("scrub_blobs_total") >= 2
    assert found.value("scrub_bytes_total") >= 3 * SMALL
    said = f"blob {digest_of(wrong)} is quarantined: its bytes do not hash to its digest"
    eventually(lambda: said in server.log_tail())
    eventually(
        lambda: server.sql("SELECT count(*) FROM blobs WHERE verified_at > 1 AND state = 0") == [("2",)], PATIENCE
    )
    assert_error(site.client.get(f"/v2/{repository}/blobs/{digest_of(wrong)}"), 404, "BLOB_UNKNOWN")
    assert pull_blob(site.client, repository, digest_of(right)) == right


def test_what_nobody_has_hashed_comes_first(fresh_server: ServerFactory, connect: Connect, repository: str) -> None:
    server = fresh_server(**QUIET)
    site = Site(server, connect(server), QUIET, server.data / "storage")
    contents = [random_bytes(SMALL) for _ in range(3)]
    for content in contents:
        flipped(site.file(push_blob(site.client, repository, content)))
    last = digest_of(contents[-1])
    server.sql(f"UPDATE blobs SET verified_at = NULL WHERE digest = '{last}'")
    assert Scrape.of(server.url).value("blobs_unverified") == 1
    assert next(one["digest"] for one in site.scrub(status=3)["found"]) == last


def test_an_error_of_the_store_is_no_proof(fresh_server: ServerFactory, connect: Connect, repository: str) -> None:
    """A folder where a file should be: it can't be read, and nothing says that the bytes are wrong."""
    server = fresh_server(**QUIET)
    site = Site(server, connect(server), QUIET, server.data / "storage")
    content, other = random_bytes(SMALL), random_bytes(SMALL)
    digest = push_blob(site.client, repository, content)
    push_blob(site.client, repository, other)
    file = site.file(digest)
    file.rename(file.with_name("aside"))
    file.mkdir()
    server.sql("UPDATE blobs SET verified_at = NULL")
    found = site.scrub(status=3)
    assert [(one["fault"], one["quarantined"]) for one in found["found"]] == [("unreadable", False)]
    assert server.sql(f"SELECT state, verified_at FROM blobs WHERE digest = '{digest}'") == [("0", "")]
    assert found["summary"]["quarantined"] == 0
    file.rmdir()
    file.with_name("aside").rename(file)
    assert site.scrub()["summary"]["damaged"] == 0
    file.rename(file.with_name("aside"))
    file.mkdir()
    assert [one["quarantined"] for one in site.scrub("--unreadable", status=3)["found"]] == [True]
    push_blob(site.client, repository, content)
    assert pull_blob(site.client, repository, digest) == content


def test_a_store_that_is_another_is_not_quarantined_as_a_whole(
    fresh_server: ServerFactory, connect: Connect, repository: str
) -> None:
    server = fresh_server(**QUIET)
    site = Site(server, connect(server), QUIET, server.data / "storage")
    push_blob(site.client, repository, b"one that is there")
    server.stop()
    rows = ",".join(
        f"('sha256:{number:064x}', 1, 'filesystem', 'blobs/sha256/00/{number:064x}', {time.time_ns() // 1000})"
        for number in range(150)
    )
    server.sql(f"INSERT INTO blobs (digest, size, store, key, created_at) VALUES {rows}")
    done = stowage("scrub", "--rate", "0", "--data", str(server.data))
    assert done.returncode == 1
    assert "is it the one that the database tells of" in done.stderr
    assert int(server.sql("SELECT count(*) FROM blobs WHERE state = 1")[0][0]) < 100


def test_other_workers_stop_serving_what_they_had_in_memory(
    fresh_server: ServerFactory, connect: Connect, repository: str
) -> None:
    server = fresh_server(STOWAGE_SCRUB__ENABLED="false", STOWAGE_HTTP__WORKERS="3")
    clients = [connect(server) for _ in range(12)]  # spread over the workers
    site = Site(server, clients[0], {}, server.data / "storage")
    digest = push_blob(site.client, repository, random_bytes(SMALL))
    for client in clients:
        for _ in range(2):
            pull_blob(client, repository, digest)
    flipped(site.file(digest))
    os.utime(site.file(digest))
    site.scrub(status=3)
    for client in clients:
        assert_error(client.get(f"/v2/{repository}/blobs/{digest}"), 404, "BLOB_UNKNOWN")
        assert client.head(f"/v2/{repository}/blobs/{digest}").status_code == 404
