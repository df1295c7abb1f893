"""Checks of the section "Content Management": deleting tags, manifests and blobs."""

from collections.abc import Callable

import httpx

from conformance import content, expect
from conformance.check import Level, Section, add, check
from conformance.discovery import get_tags, tags
from conformance.referrers import referrers, require_referrers
from conformance.trial import Trial, blob_path, manifest_path

TAGS = Section.DELETING_TAGS
MANIFESTS = Section.DELETING_MANIFESTS
BLOBS = Section.DELETING_BLOBS
MUST, SHOULD, MAY = Level.MUST, Level.SHOULD, Level.MAY

DISABLED = (400, 405)
"""With what a registry says that it does not delete."""


def _delete_tag(trial: Trial) -> httpx.Response:
    repository = trial.repository()
    trial.publish(repository, content.image(), "v1")
    return trial.delete(manifest_path(repository, "v1"))


def _delete_manifest(trial: Trial) -> httpx.Response:
    repository = trial.repository()
    return trial.delete(manifest_path(repository, trial.publish(repository, content.image(), "v1").digest))


def _delete_blob(trial: Trial) -> httpx.Response:
    repository, blob = trial.repository(), content.blob()
    trial.push_blob(repository, blob)
    return trial.delete(blob_path(repository, blob.digest))


KINDS: list[tuple[Section, str, Callable[[Trial], httpx.Response]]] = [
    (TAGS, "tag", _delete_tag),
    (MANIFESTS, "manifest", _delete_manifest),
    (BLOBS, "blob", _delete_blob),
]


def _add_kind(section: Section, kind: str, delete: Callable[[Trial], httpx.Response]) -> None:
    def is_supported(trial: Trial) -> None:
        response = delete(trial)
        if response.status_code in DISABLED:
            raise expect.Lacking(f"{expect.describe(response)}: deletion is disabled")
        expect.status(response, 202)

    def status(trial: Trial) -> None:
        expect.status(delete(trial), 202, *DISABLED)

    add(section, MAY, f"{kind}_deletion_is_supported", f"A {kind} can be deleted.", is_supported)
    title = f"A DELETE of a {kind} answers 202, or 400 or 405 where deletion is disabled."
    add(section, MUST, "status", title, status)


for _kind in KINDS:
    _add_kind(*_kind)


def require_deletion(trial: Trial, section: Section) -> None:
    """Leave the check to `...-deletion-is-supported` when the registry does not delete such things.

    Raises:
        expect.NotApplicable: a DELETE answers 400 or 405.
    """
    for one, kind, delete in KINDS:
        if one is section:
            response = delete(trial)
            if response.status_code in DISABLED:
                see = f"{section.slug}/{kind}-deletion-is-supported"
                raise expect.NotApplicable(f"{expect.describe(response)}: deletion is disabled", see)


@check(TAGS, MUST)
def delete_tag(trial: Trial) -> None:
    """A DELETE of a tag answers 202; then a GET of the tag answers 404."""
    require_deletion(trial, TAGS)
    repository = trial.repository()
    trial.publish(repository, content.image(), "v1", "v2")
    expect.status(trial.delete(manifest_path(repository, "v1")), 202)
    expect.status(trial.get_manifest(repository, "v1"), 404)


@check(TAGS, MUST)
def other_tags_stay(trial: Trial) -> None:
    """A DELETE of a tag leaves other tags of the same manifest, and the list of tags tells so."""
    require_deletion(trial, TAGS)
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
    require_deletion(trial, TAGS)
    repository = trial.repository()
    trial.publish(repository, content.image(), "v1")
    expect.status(trial.delete(manifest_path(repository, "v2")), 404)


@check(TAGS, MUST)
def tag_can_be_pushed_again(trial: Trial) -> None:
    """A tag that was deleted can be pushed again."""
    require_deletion(trial, TAGS)
    repository = trial.repository()
    manifest = trial.publish(repository, content.image(), "v1", "v2")
    expect.status(trial.delete(manifest_path(repository, "v1")), 202)
    expect.status(trial.put_manifest(repository, "v1", manifest), 201)
    trial.expect_manifest(repository, "v1", manifest)


@check(MANIFESTS, MUST)
def delete_manifest(trial: Trial) -> None:
    """A DELETE of a manifest by digest answers 202; then its digest and the tags that named it answer 404."""
    require_deletion(trial, MANIFESTS)
    repository = trial.repository()
    manifest = trial.publish(repository, content.image(), "v1", "v2")
    expect.status(trial.delete(manifest_path(repository, manifest.digest)), 202)
    for reference in (manifest.digest, "v1", "v2"):
        expect.status(trial.get_manifest(repository, reference), 404)


@check(MANIFESTS, MUST)
def other_manifests_stay(trial: Trial) -> None:
    """A DELETE of a manifest leaves other manifests, also those that share its blobs, and the same one elsewhere."""
    require_deletion(trial, MANIFESTS)
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
    require_deletion(trial, MANIFESTS)
    repository = trial.repository()
    manifest = trial.publish(repository, content.image(), "v1", "v2")
    trial.publish(repository, content.image(), "v3")
    expect.status(trial.delete(manifest_path(repository, manifest.digest)), 202)
    listed = tags(get_tags(trial, repository))
    expect.that(listed == ["v3"], f"the tags listed are {listed}, expected v3")


@check(MANIFESTS, SHOULD)
def unknown_manifest(trial: Trial) -> None:
    """A DELETE of a manifest that is not there answers 404."""
    require_deletion(trial, MANIFESTS)
    repository = trial.repository()
    trial.publish(repository, content.image(), "v1")
    expect.status(trial.delete(manifest_path(repository, content.absent_digest())), 404)


@check(MANIFESTS, MUST)
def unknown_repository(trial: Trial) -> None:
    """A DELETE of a manifest in a repository that does not exist answers 404."""
    require_deletion(trial, MANIFESTS)
    expect.status(trial.delete(manifest_path(trial.repository(), content.absent_digest())), 404)


@check(MANIFESTS, MUST)
def manifest_can_be_pushed_again(trial: Trial) -> None:
    """A manifest that was deleted can be pushed again."""
    require_deletion(trial, MANIFESTS)
    repository = trial.repository()
    manifest = trial.publish(repository, content.image(), "v1")
    expect.status(trial.delete(manifest_path(repository, manifest.digest)), 202)
    trial.publish(repository, manifest, "v1")
    trial.expect_manifest(repository, "v1", manifest)


@check(MANIFESTS, MUST)
def deleted_referrer_is_not_listed(trial: Trial) -> None:
    """A manifest that was deleted is no longer listed as a referrer."""
    require_deletion(trial, MANIFESTS)
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
    require_deletion(trial, BLOBS)
    repository, blob = trial.repository(), content.blob()
    trial.push_blob(repository, blob)
    expect.status(trial.delete(blob_path(repository, blob.digest)), 202)
    expect.status(trial.get_blob(repository, blob.digest), 404)
    expect.status(trial.head(blob_path(repository, blob.digest)), 404)


@check(BLOBS, MUST)
def blob_elsewhere_stays(trial: Trial) -> None:
    """A DELETE of a blob leaves it in another repository that holds it too."""
    require_deletion(trial, BLOBS)
    repository, elsewhere, blob = trial.repository(), trial.repository(), content.blob()
    trial.push_blob(repository, blob)
    trial.push_blob(elsewhere, blob)
    expect.status(trial.delete(blob_path(repository, blob.digest)), 202)
    trial.expect_blob(elsewhere, blob)


@check(BLOBS, MUST)
def unknown_blob(trial: Trial) -> None:
    """A DELETE of a blob that is not there answers 404."""
    require_deletion(trial, BLOBS)
    repository = trial.repository()
    trial.push_blob(repository, content.blob())
    expect.status(trial.delete(blob_path(repository, content.absent_digest())), 404)


@check(BLOBS, MUST)
def blob_can_be_pushed_again(trial: Trial) -> None:
    """A blob that was deleted can be pushed again."""
    require_deletion(trial, BLOBS)
    repository, blob = trial.repository(), content.blob()
    trial.push_blob(repository, blob)
    expect.status(trial.delete(blob_path(repository, blob.digest)), 202)
    trial.push_blob(repository, blob)
    trial.expect_blob(repository, blob)
