"""What another registry stored is served in place, by a server that runs all the while; later runs catch up."""

import os

import pytest

from tests.cli.commands import printed
from tests.factories import artifact_manifest, descriptor, image_manifest, index_manifest, new_image
from tests.support.images import OCI_EMPTY, OCI_INDEX, OCI_MANIFEST
from tests.support.peers import Peer, assert_same
from tests.takeover.conftest import Ours, Serving, findings
from tests.takeover.places import There


@pytest.mark.parametrize("kind", ["distribution", "docker-registry"])
def test_everything_is_served_from_where_it_lies(kind: str, there: There, serving: Serving) -> None:
    with there.peer(kind) as peer:
        single = peer.push_image("one", "v1", "latest")
        nested = peer.push_image("team/group/app", "v1", layers=3)
        peer.push_image("one/below", "v1")
        first, second = new_image(), new_image()
        for image in (first, second):
            for blob in image.blobs:
                peer.push_blob("multi/arch", blob)
            peer.push_manifest("multi/arch", image.manifest)
        index = index_manifest([descriptor(image.manifest, OCI_MANIFEST) for image in (first, second)])
        peer.push_manifest("multi/arch", index, "v1", OCI_INDEX)
        peer.push_manifest("multi/arch", index_manifest([descriptor(index, OCI_INDEX)]), "nested", OCI_INDEX)
        strong = b"pushed by its sha512"
        by_sha512 = peer.push_blob("one", strong, "sha512")
        config = b"{}"
        peer.push_blob("one", config)
        signature = artifact_manifest(single.manifest)
        peer.push_manifest("one", signature)
        with_sha512 = image_manifest(config, layers=(), config_type=OCI_EMPTY).replace(
            b'"layers": []',
            b'"layers": [%s]'
            % str({"mediaType": "text/plain", "digest": by_sha512, "size": len(strong)}).replace("'", '"').encode(),
        )
        peer.push_manifest("one", with_sha512, "strong")

        report = serving.take_over()
        assert findings(report) == []
        assert (report["repositories"], report["tags"], report["manifests"]) == (4, 7, 9)
        for repository in ("one", "one/below", "team/group/app", "multi/arch"):
            assert_same(peer.client, serving.client, repository, peer.tags(repository))
        assert serving.client.get(f"/v2/one/blobs/{by_sha512}").content == strong
        referrers = serving.client.get(f"/v2/one/referrers/{single.digest}").json()["manifests"]
        assert [one["artifactType"] for one in referrers] == ["application/vnd.example.note"]
        assert serving.stored() == []
        assert {row[0] for row in serving.rows("SELECT verified_at FROM blobs")} == {None}
        layer = descriptor(nested.layers[0], "x")["digest"]
        part = serving.client.get(f"/v2/team/group/app/blobs/{layer}", headers={"Range": "bytes=3-9"})
        assert (part.status_code, part.content) == (206, nested.layers[0][3:10])
        # What is there is not pushed again: a mount from what was taken over links it.
        mounted = serving.client.post("/v2/mine/blobs/uploads/", params={"mount": layer, "from": "team/group/app"})
        assert mounted.status_code == 201


def test_a_second_run_catches_up_and_what_was_changed_here_stays(peer: Peer, serving: Serving) -> None:
    client = serving.client
    before = {tag: peer.push_image("app", tag) for tag in ("moved", "deleted", "changed", "gone", "same")}
    assert serving.take_over()["tags"] == 5

    assert client.delete("/v2/app/manifests/deleted").status_code == 202
    assert client.delete(f"/v2/app/manifests/{before['same'].digest}").status_code == 202
    stays = before["moved"].manifest
    headers = {"Content-Type": OCI_MANIFEST}
    for tag in ("changed", "mine", "both"):
        assert client.put(f"/v2/app/manifests/{tag}", content=stays, headers=headers).status_code == 201
    after = {tag: peer.push_image("app", tag) for tag in ("moved", "deleted", "changed", "new", "both")}
    assert peer.client.delete("/v2/app/manifests/gone").status_code in {202, 405}
    peer_deletes = "gone" not in peer.tags("app")

    report = serving.take_over()
    assert findings(report) == []
    assert (report["tags"], report["tagsMoved"]) == (1, 1)
    kept = [("changed-here", "app", "both"), ("changed-here", "app", "changed"), ("deleted-here", "app", "deleted")]
    assert findings(report, "kept") == [*kept, *([("deleted-there", "app", "gone")] if peer_deletes else [])]
    assert client.get("/v2/app/tags/list").json()["tags"] == ["both", "changed", "gone", "mine", "moved", "new"]
    for tag, content in {
        "both": stays,
        "changed": stays,
        "mine": stays,
        "gone": before["gone"].manifest,
        "moved": after["moved"].manifest,
        "new": after["new"].manifest,
    }.items():
        assert client.get(f"/v2/app/manifests/{tag}").content == content, tag
    assert client.get(f"/v2/app/manifests/{before['same'].digest}").status_code == 404
    assert client.get(f"/v2/app/manifests/{after['deleted'].digest}").status_code == 200
    assert_same(peer.client, client, "app", ["moved", "new", after["deleted"].digest])

    again = serving.take_over()
    assert (again["tags"], again["tagsMoved"], again["manifests"], again["blobs"]) == (0, 0, 0, 0)
    assert findings(again, "kept") == findings(report, "kept")


def test_a_tag_that_may_not_be_moved_here_stays(peer: Peer, serving: Serving) -> None:
    before = peer.push_image("app", "v1")
    serving.take_over()
    data = ("--data", str(serving.data))
    rule = printed("rule", "add", "*", "v*", "--immutable", *data)
    after = peer.push_image("app", "v1")
    report = serving.take_over()
    assert findings(report) == []
    assert findings(report, "kept") == [("fixed-here", "app", "v1")]
    assert serving.client.get("/v2/app/manifests/v1").content == before.manifest
    printed("rule", "remove", "*", rule, *data)
    assert serving.take_over()["tagsMoved"] == 1
    assert serving.client.get("/v2/app/manifests/v1").content == after.manifest


def test_a_tag_brings_its_history_in_order(peer: Peer, ours: Ours) -> None:
    images = [peer.push_image("app", "latest") for _ in range(3)]
    hour = 3600 * 10**9
    for age, image in zip((1, 3, 2), images, strict=True):  # the second push was the first, and the first the last
        folder = peer.root / "docker/registry/v2/repositories/app/_manifests/tags/latest/index/sha256"
        link = folder / image.digest.removeprefix("sha256:") / "link"
        now = link.stat().st_mtime_ns
        os.utime(link, ns=(now - age * hour, now - age * hour))
    report = ours.take_over()
    assert (report["tags"], report["history"]) == (1, 2)
    query = "SELECT digest, started_at, ended_at, started_by, manifest_id FROM tag_history ORDER BY started_at"
    rows = ours.rows(query)
    assert [row[0] for row in rows] == [images[1].digest, images[0].digest, images[2].digest]
    assert [row[2] for row in rows] == [rows[1][1], rows[2][1], None]
    assert {row[3] for row in rows} == {"system:import"}
    assert all(row[4] for row in rows)
    newest = peer.push_image("app", "latest")
    assert ours.take_over()["tagsMoved"] == 1
    rows = ours.rows(query)
    assert rows[-1][0] == newest.digest and rows[-2][2] == rows[-1][1] and len(rows) == 4


def test_a_dry_run_says_what_the_run_then_does_and_changes_nothing(peer: Peer, ours: Ours) -> None:
    peer.push_image("one", "v1")
    peer.push_image("two", "v1", "v2")
    would = ours.take_over("--dry-run")
    assert ours.rows("SELECT (SELECT count(*) FROM stores) + (SELECT count(*) FROM blobs)") == [(0,)]
    assert ours.rows("SELECT count(*) FROM repositories") == [(0,)]
    did = ours.take_over()
    assert {**would, "dryRun": False} == did
    assert did["tags"] == 3


def test_a_copy_needs_the_other_storage_no_more(peer: Peer, serving: Serving) -> None:
    image = peer.push_image("app", "v1", layers=2)
    in_place = peer.push_image("before", "v1")
    serving.take_over("--dry-run", "--copy")
    assert serving.stored() == []
    report = serving.take_over("--copy")
    assert (report["blobsCopied"], report["bytesCopied"]) == (5, report["bytes"])
    peer.push_image("later", "v1")
    assert serving.take_over()["blobs"] == 2  # in place this time
    assert serving.take_over("--copy")["blobsCopied"] == 2
    assert len(serving.stored()) == 7
    assert serving.rows("SELECT DISTINCT store, verified_at > 0, state FROM blobs") == [("filesystem", 1, 0)]
    same = {one: [*image.blobs, *in_place.blobs] for one in ("later", "app", "before")}
    assert_same(peer.client, serving.client, "later", ["v1"])
    (peer.root / "docker").rename(peer.root / "away")
    for repository in same:
        answer = serving.client.get(f"/v2/{repository}/manifests/v1")
        config = answer.json()["config"]["digest"]
        assert serving.client.get(f"/v2/{repository}/blobs/{config}").status_code == 200
