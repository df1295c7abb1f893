"""Checks of manifests that name a subject: when they are pushed, and under the tags of clients that list them."""

from conformance import content, expect
from conformance.check import Level, Section, check
from conformance.referrers import require_referrers
from conformance.trial import Trial

SUBJECT = Section.SUBJECT
TAG_SCHEMA = Section.TAG_SCHEMA
MUST, SHOULD, MAY = Level.MUST, Level.SHOULD, Level.MAY


@check(SUBJECT, MUST)
def subject_header(trial: Trial) -> None:
    """An image pushed with a subject is answered with OCI-Subject, by tag and by digest."""
    repository = trial.repository()
    require_referrers(trial, repository)
    subject = trial.publish(repository, content.image(), "v1")
    for tagged in (True, False):
        referrer = content.artifact(subject=subject.descriptor())
        trial.prepare(repository, referrer)
        response = trial.put_manifest(repository, "sig" if tagged else referrer.digest, referrer)
        expect.header(expect.status(response, 201), "OCI-Subject", subject.digest)


@check(SUBJECT, MAY)
def subject_header_of_index(trial: Trial) -> None:
    """An index pushed with a subject is answered with OCI-Subject too."""
    repository = trial.repository()
    require_referrers(trial, repository)
    subject = trial.publish(repository, content.image(), "v1")
    referrer = content.index([], subject=subject.descriptor())
    response = expect.status(trial.put_manifest(repository, referrer.digest, referrer), 201)
    if "OCI-Subject" not in response.headers:
        raise expect.Lacking(f"{expect.describe(response)} without OCI-Subject")
    expect.header(response, "OCI-Subject", subject.digest)


@check(SUBJECT, SHOULD)
def no_subject_header(trial: Trial) -> None:
    """A manifest without a subject is not answered with OCI-Subject."""
    repository, manifest = trial.repository(), content.image()
    trial.prepare(repository, manifest)
    response = expect.status(trial.put_manifest(repository, "v1", manifest), 201)
    expect.that("OCI-Subject" not in response.headers, f"{expect.describe(response)} with OCI-Subject")


@check(Section.PUSH, MUST)
def missing_subject(trial: Trial) -> None:
    """A manifest whose subject is not in the repository is accepted, an image and an index."""
    repository, missing = trial.repository(), content.image()
    for referrer in (content.artifact(subject=missing.descriptor()), content.index([], subject=missing.descriptor())):
        trial.expect_manifest(repository, referrer.digest, trial.publish(repository, referrer))


@check(TAG_SCHEMA, MUST)
def referrers_tag(trial: Trial) -> None:
    """An index can be pushed, and pulled, under the referrers tag of a digest: clients list referrers there."""
    repository = trial.repository()
    for digest in (content.absent_digest(), content.absent_digest("sha512")):
        algorithm, _, encoded = digest.partition(":")
        tag = f"{algorithm}-{encoded[:64]}"
        trial.expect_manifest(repository, tag, trial.publish(repository, content.index([]), tag))


@check(TAG_SCHEMA, MAY)
def conditional_push(trial: Trial) -> None:
    """A PUT of a tag whose If-Match names another version than it has is refused with 412 (RFC 9110, 13.1.1)."""
    repository = trial.repository()
    first = trial.publish(repository, content.index([]), "v1")
    second = content.index([])
    response = trial.put_manifest(repository, "v1", second, if_match='"another-version"')
    if response.is_success:
        raise expect.Lacking(f"{expect.describe(response)} in spite of If-Match")
    expect.status(response, 412)
    current = expect.header(trial.expect_manifest(repository, "v1", first), "ETag")
    expect.status(trial.put_manifest(repository, "v1", second, if_match=current), 201)
    trial.expect_manifest(repository, "v1", second)
