"""Checks of the section "Content Management": deleting tags, manifests and blobs."""

from conformance import content, expect
from conformance.check import Level, Section, check
from conformance.discovery import get_tags, tags
from conformance.referrers import referrers, require_referrers
from conformance.trial import Trial, blob_path, manifest_path

TAGS = Section.DELETING_TAGS
MANIFESTS = Section.DELETING_MANIFESTS
BLOBS = Section.DELETING_BLOBS
MUST, SHOULD = Level.MUST, Level.SHOULD


@check(TAGS, MUST)
def delete_tag(trial: Trial) -> None:
    """A DELETE of a tag answers 202; then a GET of the tag answers 404."""
    repository = trial.repository()
    trial.publish(repository, content.image(), "v1", "v2")
    expect.status(trial.delete(manifest_path(repository, "v1")), 202)
    expect.status(trial.get_manifest(repository, "v1"), 404)


@check(TAGS, MUST)
def other_tags_stay(trial: Trial) -> None:
    """A DELETE of a tag leaves other tags of the same manifest, and the list of tags tells so."""
    repository = trial.repository()
    manifest = trial.publish(repository, content.image(), "v1", "v2")
    expect.status(trial.delete(manifest_path(repository, "v1")), 202)
    trial.expect_manifest(repository, "v2", manifest)
    trial.expect_manifest(repository, manifest.digest, manifest)
    listed = tags(get_tags(trial, repository))
    expect.that(listed == ["v2"], f"the tags listed are {listed}, expected v2")


@check(TAGS, SHOULD)
def unknown_tag(trial: Trial) -> None:
    """A DELETE of a tag that is not there answers 404."""
    repository = trial.repository()
    trial.publish(repository, content.image(), "v1")
    expect.status(trial.delete(manifest_path(repository, "v2")), 404)


@check(TAGS, MUST)
def tag_can_be_pushed_again(trial: Trial) -> None:
    """A tag that was deleted can be pushed again."""
    repository = trial.repository()
    manifest = trial.publish(repository, content.image(), "v1", "v2")
    expect.status(trial.delete(manifest_path(repository, "v1")), 202)
    expect.status(trial.put_manifest(repository, "v1", manifest), 201)
    trial.expect_manifest(repository, "v1", manifest)


@check(MANIFESTS, MUST)
def delete_manifest(trial: Trial) -> None:
    """A DELETE of a manifest by digest answers 202; then its digest and the tags that named it answer 404."""
    repository = trial.repository()
    manifest = trial.publish(repository, content.image(), "v1", "v2")
    expect.status(trial.delete(manifest_path(repository, manifest.digest)), 202)
    for reference in (manifest.digest, "v1", "v2"):
        expect.status(trial.get_manifest(repository, reference), 404)


@check(MANIFESTS, MUST)
def other_manifests_stay(trial: Trial) -> None:
    """A DELETE of a manifest leaves other manifests, also those that share its blobs, and the same one elsewhere."""
    repository, elsewhere = trial.repository(), trial.repository()
    manifest = content.image()
    sharing = content.Manifest(manifest.data + b"\n", manifest.media_type, manifest.blobs)
    trial.publish(repository, manifest, "v1")
    trial.publish(repository, sharing, "v2")
    trial.publish(elsewhere, manifest, "v1")
    expect.status(trial.delete(manifest_path(repository, manifest.digest)), 202)
    trial.expect_manifest(repository, "v2", sharing)
    for blob in sharing.blobs:
        trial.expect_blob(repository, blob)
    trial.expect_manifest(elsewhere, "v1", manifest)


@check(MANIFESTS, SHOULD)
def tags_of_deleted_manifest_are_not_listed(trial: Trial) -> None:
    """The list of tags does not hold the tags of a manifest that was deleted."""
    repository = trial.repository()
    manifest = trial.publish(repository, content.image(), "v1", "v2")
    trial.publish(repository, content.image(), "v3")
    expect.status(trial.delete(manifest_path(repository, manifest.digest)), 202)
    listed = tags(get_tags(trial, repository))
    expect.that(listed == ["v3"], f"the tags listed are {listed}, expected v3")


@check(MANIFESTS, SHOULD)
def unknown_manifest(trial: Trial) -> None:
    """A DELETE of a manifest that is not there answers 404."""
    repository = trial.repository()
    trial.publish(repository, content.image(), "v1")
    expect.status(trial.delete(manifest_path(repository, content.absent_digest())), 404)


@check(MANIFESTS, MUST)
def unknown_repository(trial: Trial) -> None:
    """A DELETE of a manifest in a repository that does not exist answers 404."""
    expect.status(trial.delete(manifest_path(trial.repository(), content.absent_digest())), 404)


@check(MANIFESTS, MUST)
def manifest_can_be_pushed_again(trial: Trial) -> None:
    """A manifest that was deleted can be pushed again."""
    repository = trial.repository()
    manifest = trial.publish(repository, content.image(), "v1")
    expect.status(trial.delete(manifest_path(repository, manifest.digest)), 202)
    trial.publish(repository, manifest, "v1")
    trial.expect_manifest(repository, "v1", manifest)


@check(MANIFESTS, MUST)
def deleted_referrer_is_not_listed(trial: Trial) -> None:
    """A manifest that was deleted is no longer listed as a referrer."""
    repository, subject = trial.repository(), content.image()
    require_referrers(trial, repository)
    kept = trial.publish(repository, content.artifact(subject=subject.descriptor()))
    deleted = trial.publish(repository, content.artifact(subject=subject.descriptor()))
    expect.status(trial.delete(manifest_path(repository, deleted.digest)), 202)
    listed = set(referrers(trial, repository, subject.digest))
    expect.that(listed == {kept.digest}, f"the referrers are {sorted(listed)}, expected {kept.digest}")


@check(BLOBS, MUST)
def delete_blob(trial: Trial) -> None:
    """A DELETE of a blob answers 202; then a GET and a HEAD of it answer 404."""
    repository, blob = trial.repository(), content.blob()
    trial.push_blob(repository, blob)
    expect.status(trial.delete(blob_path(repository, blob.digest)), 202)
    expect.status(trial.get_blob(repository, blob.digest), 404)
    expect.status(trial.head(blob_path(repository, blob.digest)), 404)


@check(BLOBS, MUST)
def blob_elsewhere_stays(trial: Trial) -> None:
    """A DELETE of a blob leaves it in another repository that holds it too."""
    repository, elsewhere, blob = trial.repository(), trial.repository(), content.blob()
    trial.push_blob(repository, blob)
    trial.push_blob(elsewhere, blob)
    expect.status(trial.delete(blob_path(repository, blob.digest)), 202)
    trial.expect_blob(elsewhere, blob)


@check(BLOBS, MUST)
def unknown_blob(trial: Trial) -> None:
    """A DELETE of a blob that is not there answers 404."""
    repository = trial.repository()
    trial.push_blob(repository, content.blob())
    expect.status(trial.delete(blob_path(repository, content.absent_digest())), 404)


@check(BLOBS, MUST)
def blob_can_be_pushed_again(trial: Trial) -> None:
    """A blob that was deleted can be pushed again."""
    repository, blob = trial.repository(), content.blob()
    trial.push_blob(repository, blob)
    expect.status(trial.delete(blob_path(repository, blob.digest)), 202)
    trial.push_blob(repository, blob)
    trial.expect_blob(repository, blob)
