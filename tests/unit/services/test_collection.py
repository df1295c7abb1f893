"""Collection: each thing that keeps content, and how candidates are explained."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from registry.db import doomed, uploads
from registry.db.uploads import UploadSession
from registry.oci.names import RepositoryName
from registry.services.collection import Explained, explain
from registry.services.retention import Keeper
from storage.digest import digest_bytes
from tests.factories import OCI_MANIFEST, artifact_manifest, descriptor, image_manifest, index_manifest
from tests.unit.services.collected import AT_ONCE, DAY, DEFAULTS, HOUR, Registry

pytestmark = pytest.mark.anyio
A, B = "test/a", "test/b"


async def explained(registry: Registry, **changed: Any) -> list[Explained]:
    return [one async for one in explain(registry.database, replace(registry.rules, **changed))]


async def keepers(registry: Registry, **changed: Any) -> list[Keeper]:
    return [one.verdict.keeper for one in await explained(registry, **changed)]


async def test_what_tags_reach_stays_and_the_rest_goes(registry: Registry) -> None:
    kept = await registry.push_image(A, b"config", b"layer", tag="kept")
    await registry.push_image(A, b"config", b"other", tag="gone")
    await registry.untag(A, "gone")
    done = await registry.collect()
    assert registry.manifest_digests(A) == {kept}
    assert registry.blob_digests(A) == {digest_bytes(b"config"), digest_bytes(b"layer")}
    assert (done.manifests, done.links, done.objects, done.bytes) == (1, 1, 1, len(b"other"))
    assert len(await registry.objects()) == 2
    assert registry.rows("SELECT * FROM candidates") == registry.rows("SELECT * FROM doomed") == []


async def test_when_all_is_deleted_nothing_is_left(registry: Registry) -> None:
    image = await registry.push_image(A, b"config", b"layer", tag="a")
    child = image_manifest(b"config", [b"layer"])
    index = await registry.push_index(A, [child], tag="index")
    await registry.mount(B, digest_bytes(b"layer"), A)
    await registry.delete(A, index)
    await registry.delete(A, image)
    await registry.collect()
    assert registry.counts() == {}
    assert await registry.objects() == set()
    assert registry.rows("SELECT count(*) FROM tag_history") == [(0,)]


async def test_a_blob_stays_until_its_last_link_goes(registry: Registry) -> None:
    await registry.push_image(A, b"config", b"layer", tag="a")
    await registry.push_image(B, b"config", b"layer", tag="b")
    await registry.untag(A, "a")
    assert (await registry.collect()).objects == 0
    assert registry.blob_digests(B) == {digest_bytes(b"config"), digest_bytes(b"layer")}
    await registry.untag(B, "b")
    assert (await registry.collect()).objects == 2


@pytest.mark.parametrize("hidden", [False, True])
async def test_children_stay_while_an_index_does_and_go_after_it(registry: Registry, hidden: bool) -> None:
    """A deleted index too, while it can be had back."""
    await registry.push_image(A, b"config")
    child = image_manifest(b"config")
    index = await registry.push_index(A, [child], tag="index")
    if hidden:
        await registry.delete(A, index)
    await registry.collect(window=DAY)
    assert registry.manifest_digests(A) == {index, digest_bytes(child)}
    if not hidden:
        await registry.delete(A, index)
    await registry.collect(window=0)
    assert registry.manifest_digests(A) == registry.blob_digests(A) == set()


async def test_untagged_manifests_stay_unless_the_settings_collect_them(registry: Registry) -> None:
    loose = await registry.push_image(A, b"loose")
    untagged = await registry.push_image(A, b"untagged", tag="t")
    await registry.untag(A, "t")
    for _ in range(2):
        await registry.collect(untagged="keep")
        assert registry.manifest_digests(A) == {loose, untagged}
    assert await keepers(registry, untagged="keep") == [Keeper.SETTING, Keeper.SETTING]
    await registry.collect(untagged="collect")
    assert registry.counts() == {}


async def test_what_a_tag_named_within_the_window_stays(default: Registry) -> None:
    first = await default.push_image(A, b"first", tag="latest")
    await default.push_image(A, b"second", tag="latest")
    default.pass_time(13 * DAY)
    assert (await default.collect(untagged="collect")).rows == 0
    assert await keepers(default, untagged="collect") == [Keeper.HISTORY]
    default.pass_time(DAY)
    await default.collect(untagged="collect")
    assert first not in default.manifest_digests(A)
    assert default.rows("SELECT digest, manifest_id FROM tag_history WHERE ended_at IS NOT NULL") == [(first, None)]


async def test_what_was_deleted_within_the_window_stays_and_can_be_pushed_back(default: Registry) -> None:
    image = await default.push_image(A, b"config", tag="t")
    loose = await default.push_blob(A, b"loose")
    await default.delete(A, image)
    await default.deletion.delete_blob(RepositoryName(A), loose, actor="test")
    default.pass_time(13 * DAY)
    assert (await default.collect()).rows == 0
    assert set(await keepers(default)) == {Keeper.HISTORY}
    await default.push(A, image_manifest(b"config"), "t")
    default.pass_time(2 * DAY)
    await default.collect()
    assert default.manifest_digests(A) == {image}
    assert default.blob_digests(A) == {digest_bytes(b"config")}


async def test_nothing_goes_within_the_grace(registry: Registry) -> None:
    await registry.push_blob(A, b"loose")
    image = await registry.push_image(A, b"config", tag="t")
    await registry.untag(A, "t")
    assert (await registry.collect(grace=HOUR)).rows == 0
    assert await keepers(registry, grace=HOUR) == [Keeper.GRACE, Keeper.GRACE]
    registry.pass_time(HOUR)
    await registry.collect(grace=HOUR)
    assert image not in registry.manifest_digests(A)


async def test_grace_counts_from_the_last_push_of_a_blob(registry: Registry) -> None:
    """Though it became needless before: a manifest had referred to it when it was pushed again."""
    image = await registry.push_image(A, b"config", tag="t")
    await registry.delete(A, image)
    registry.pass_time(3 * HOUR)
    await registry.push_blob(A, b"config")
    await registry.collect(grace=2 * HOUR, window=0)
    assert registry.blob_digests(A) == {digest_bytes(b"config")}


@pytest.mark.parametrize("how", ["upload", "mount", "HEAD", "HEAD while a manifest is there"])
async def test_what_was_told_exists_is_held_whatever_the_grace(tmp_path: Path, how: str) -> None:
    held = Registry(tmp_path / "held", replace(AT_ONCE, hold=HOUR))
    await held.database.start()
    digest = await held.push_blob(B, b"content")
    if how == "upload":
        await held.push_blob(A, b"content")
    elif how == "mount":
        assert await held.mount(A, digest, B)
    else:
        image = await held.push_image(A, b"content", tag="t")
        held.pass_time(3 * HOUR)
        if how == "HEAD":
            await held.delete(A, image)
            held.pass_time(3 * HOUR)
        assert await held.blobs.exists(RepositoryName(A), digest) == 7
        if how == "HEAD while a manifest is there":
            await held.untag(A, "t")
    await held.collect()
    held.pass_time(HOUR - 60_000_000)
    await held.collect()
    assert digest in held.blob_digests(A)
    for _ in range(2):  # the manifest goes first, and was to be seen until then
        held.pass_time(2 * HOUR)
        await held.collect()
    assert digest not in held.blob_digests(A)
    await held.database.stop()


async def open_upload(registry: Registry) -> None:
    session = UploadSession("1", RepositoryName(A), "memory", "0", "sha256", 0, digest_bytes(b""), 0)
    await registry.database.write(lambda tx: uploads.insert_session(tx, session))


async def test_an_open_upload_keeps_what_was_pushed_before_it_unless_it_is_abandoned(default: Registry) -> None:
    """The layers of a push, while its last one takes long."""
    await default.push_blob(A, b"first")
    default.pass_time(HOUR)
    await open_upload(default)
    default.pass_time(5 * HOUR)
    await default.collect(grace=0, upload=6 * HOUR)
    assert default.blob_digests(A) == {digest_bytes(b"first")}
    assert await keepers(default, grace=0, upload=6 * HOUR) == [Keeper.UPLOAD]
    default.pass_time(HOUR)
    await default.collect(grace=0, upload=6 * HOUR)
    assert default.blob_digests(A) == set()


async def test_an_upload_begun_after_the_hold_keeps_nothing(default: Registry) -> None:
    """Or a repository that is pushed to all the time would never be collected."""
    await default.push_blob(A, b"first")
    default.pass_time(3 * HOUR)
    await open_upload(default)
    await default.collect(grace=0, upload=6 * HOUR)
    assert default.blob_digests(A) == set()


@pytest.mark.parametrize("policy", ["keep", "collect"])
async def test_referrers_stay_while_their_subject_does_and_then_by_policy(registry: Registry, policy: Any) -> None:
    subject = image_manifest(b"config")
    image = await registry.push_image(A, b"config", tag="t")
    await registry.push_blob(A, b"{}")
    signature = artifact_manifest(subject)
    referrer = await registry.push(A, signature)
    of_referrer = await registry.push(A, artifact_manifest(signature))
    policies = {"untagged": "keep", "referrers": policy}
    for changed in (policies, {**policies, "untagged": "collect"}):
        await registry.collect(**changed)
        assert registry.manifest_digests(A) == {image, referrer, of_referrer}
    await registry.delete(A, image)
    await registry.collect(**policies, window=DAY)
    assert registry.manifest_digests(A) == {image, referrer, of_referrer}
    await registry.collect(**policies)
    assert registry.manifest_digests(A) == ({referrer, of_referrer} if policy == "keep" else set())


async def test_a_referrer_whose_subject_has_not_come_yet_is_an_untagged_manifest(registry: Registry) -> None:
    await registry.push_blob(A, b"{}")
    early = await registry.push(A, artifact_manifest(image_manifest(b"not yet")))
    await registry.collect(untagged="keep")
    assert registry.manifest_digests(A) == {early}


async def test_a_referrer_with_a_tag_outlives_its_subject(registry: Registry) -> None:
    image = await registry.push_image(A, b"config", tag="t")
    await registry.push_blob(A, b"{}")
    tagged = await registry.push(A, artifact_manifest(image_manifest(b"config")), "signature")
    await registry.delete(A, image)
    await registry.collect()
    assert registry.manifest_digests(A) == {tagged}


async def test_sparse_edges_keep_what_came_later(registry: Registry) -> None:
    child = image_manifest(b"config", [b"layer"])
    sparse_index = await registry.push_index(A, [child], tag="index")
    sparse_image = await registry.push(A, image_manifest(b"config", [b"later"]), "image")
    await registry.push_image(A, b"config", b"layer")
    await registry.push_blob(A, b"later")
    await registry.collect()
    assert registry.manifest_digests(A) == {sparse_index, sparse_image, digest_bytes(child)}
    assert digest_bytes(b"later") in registry.blob_digests(A)
    await registry.untag(A, "index")
    await registry.untag(A, "image")
    await registry.collect()
    assert registry.counts() == {}


async def test_blobs_that_an_index_lists_stay_with_it(registry: Registry) -> None:
    layer = await registry.push_blob(A, b"cache")
    index = index_manifest([descriptor(b"cache", "application/vnd.buildkit.cacheconfig.v0")])
    await registry.push(A, index, "cache")
    await registry.collect()
    assert registry.blob_digests(A) == {layer}


async def test_edges_that_a_push_replaces_are_queued(registry: Registry) -> None:
    """The same bytes under another media type may refer to something else."""
    content = json.dumps(
        {"schemaVersion": 2, **json.loads(image_manifest(b"config", [b"layer"])), "mediaType": OCI_MANIFEST}
    ).encode()
    await registry.push_blob(A, b"config")
    await registry.push_blob(A, b"layer")
    digest = await registry.push(A, content, "t")
    registry.rows("UPDATE manifests SET media_type = 'application/another'")
    await registry.push(A, content, "t")
    await registry.collect()
    assert registry.manifest_digests(A) == {digest}
    assert len(registry.blob_digests(A)) == 2


async def test_a_repository_goes_with_its_history_when_that_is_over(default: Registry) -> None:
    image = await default.push_image(A, b"config", tag="t")
    await default.delete(A, image)
    default.pass_time(15 * DAY)
    await default.collect()
    default.pass_time(2 * DAY)
    await default.collect()
    default.pass_time(2 * DAY)
    await default.collect()
    assert default.counts() == {}
    assert default.rows("SELECT count(*) FROM tag_history") == [(0,)]
    await default.push_image(A, b"config", tag="t")


async def test_a_long_history_goes_in_parts(registry: Registry) -> None:
    image = await registry.push_image(A, b"config", tag="t")
    registry.rows(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500) INSERT INTO tag_history"
        " (repository_id, tag, digest, started_at, started_by, ended_at) SELECT 1, 'old', 'sha256:x', 1, 'x', 2 FROM n"
    )
    await registry.delete(A, image)
    await registry.collect()
    assert registry.counts() == {}
    assert registry.rows("SELECT count(*) FROM tag_history") == [(0,)]


async def test_candidates_are_explained(default: Registry) -> None:
    image = await default.push_image(A, b"config", b"layer", tag="t")
    await default.push_image(B, b"config", tag="t")
    loose = await default.push_blob(A, b"loose")
    await default.delete(A, image)
    before = default.counts()
    found = {one.candidate.kind.name: one for one in await explained(default)}
    manifest, link = found["MANIFEST"], found["LINK"]
    assert manifest.frees == len(image_manifest(b"config", [b"layer"])) + len(b"layer")  # config is shared
    assert manifest.verdict.keeper is Keeper.HISTORY
    assert manifest.verdict.until == pytest.approx(manifest.candidate.since + DEFAULTS.window, abs=1_000_000)
    assert getattr(link.facts, "digest", "") == loose
    assert link.frees == len(b"loose")
    assert link.verdict.keeper is Keeper.GRACE
    assert link.verdict.until == pytest.approx(link.candidate.since + DEFAULTS.grace, abs=1_000_000)
    assert default.counts() == before


async def test_doomed_bytes_are_added_up(registry: Registry) -> None:
    assert await doomed.total(registry.database) == (0, 0)
    await registry.database.write(lambda tx: doomed.add(tx, store="memory", key="blobs/sha256/aa/x", size=5))
    assert await doomed.total(registry.database) == (1, 5)
