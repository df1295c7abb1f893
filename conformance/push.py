"""Checks of the section "Push": blobs, at once, in chunks, by mounting. Manifests are in `push_manifests`."""

import re

from conformance import content, expect
from conformance.check import Level, Section, check
from conformance.client import Params, show_url
from conformance.content import Blob
from conformance.trial import Trial, Upload, blob_path

BLOBS = Section.PUSHING_BLOBS
MONOLITHIC = Section.POST_THEN_PUT
SINGLE = Section.SINGLE_POST
CANCEL = Section.CANCEL
MOUNTING = Section.MOUNTING
MUST, SHOULD, MAY = Level.MUST, Level.SHOULD, Level.MAY

SHA512: Params = [("digest-algorithm", "sha512")]
_UUID = re.compile(r"[0-9a-f]{8}(-?)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}|[0-9a-z_-]{22}", re.IGNORECASE)
"""The 128 bits of a UUID as RFC 9562 writes them, without dashes, or in base64: the specification names no form."""


def follow_to_blob(trial: Trial, response_location: str, blob: Blob) -> None:
    """Expect the Location of a finished upload to be a pullable URL of the blob."""
    expect.body(expect.status(trial.get(response_location), 200), blob.data)


@check(MONOLITHIC, MUST)
def post_gives_a_session(trial: Trial) -> None:
    """A POST answers 202 with a Location, each time another."""
    repository = trial.repository()
    first, second = trial.start_upload(repository), trial.start_upload(repository)
    expect.that(first.location != second.location, "two POSTs were given the same Location")


@check(MONOLITHIC, MUST)
def location_contains_a_uuid(trial: Trial) -> None:
    """The Location of an upload session contains a UUID."""
    location = trial.start_upload(trial.repository()).location
    expect.that(_UUID.search(location) is not None, f"{show_url(location)} holds no UUID")


@check(MONOLITHIC, MAY)
def post_without_the_last_slash(trial: Trial) -> None:
    """A POST to `/blobs/uploads` without the slash at the end is taken too."""
    response = trial.client.request("POST", f"/v2/{trial.repository()}/blobs/uploads", body=b"")
    if response.status_code in (404, 405):
        raise expect.Unsupported(expect.describe(response))
    expect.header(expect.status(response, 202), "Location")


@check(MONOLITHIC, MUST)
def put_stores_the_blob(trial: Trial) -> None:
    """A PUT with the blob answers 201 with a Location from which the blob can be pulled."""
    repository, blob = trial.repository(), content.blob()
    response = trial.push_blob(repository, blob)
    follow_to_blob(trial, str(response.url.join(expect.header(response, "Location"))), blob)
    trial.expect_blob(repository, blob)


@check(MONOLITHIC, MUST)
def put_of_a_stream(trial: Trial) -> None:
    """A PUT whose body comes with chunked transfer coding, its size not said before, stores the blob."""
    repository, blob = trial.repository(), content.blob(100_000)
    upload = trial.start_upload(repository)
    expect.status(upload.put(blob.digest, lambda: iter([blob.data[:30_000], blob.data[30_000:]])), 201)
    trial.expect_blob(repository, blob)


@check(MONOLITHIC, MUST)
def empty_blob(trial: Trial) -> None:
    """A blob of no bytes can be pushed and pulled."""
    repository, blob = trial.repository(), Blob(b"")
    trial.push_blob(repository, blob)
    trial.expect_blob(repository, blob)
    expect.header(expect.status(trial.head(blob_path(repository, blob.digest)), 200), "Content-Length", "0")


@check(MONOLITHIC, MUST)
def push_again(trial: Trial) -> None:
    """A blob that is there already can be pushed again, there and into another repository."""
    first, second, blob = trial.repository(), trial.repository(), content.blob()
    for repository in (first, first, second):
        trial.push_blob(repository, blob)
    trial.expect_blob(second, blob)


@check(MONOLITHIC, SHOULD)
def put_to_an_unknown_session(trial: Trial) -> None:
    """A PUT to a session that was ended answers 404 or 400."""
    upload, blob = trial.start_upload(trial.repository()), content.blob()
    expect.status(upload.put(blob.digest, blob.data), 201)
    expect.status(upload.put(blob.digest, blob.data), 404, 400)


@check(BLOBS, MUST)
def digest_mismatch_stores_nothing(trial: Trial) -> None:
    """Content that does not match the digest given is refused, and stored under neither digest."""
    repository, blob, claimed = trial.repository(), content.blob(), content.absent_digest()
    expect.refused(trial.start_upload(repository).put(claimed, blob.data))
    expect.status(trial.get_blob(repository, claimed), 404)
    expect.status(trial.get_blob(repository, blob.digest), 404)


@check(BLOBS, SHOULD)
def digest_mismatch_code(trial: Trial) -> None:
    """Content that does not match the digest given is refused with 400 and DIGEST_INVALID."""
    response = trial.start_upload(trial.repository()).put(content.absent_digest(), content.blob().data)
    expect.code(expect.status(response, 400), "DIGEST_INVALID")


@check(BLOBS, MUST)
def truncated_content_stores_nothing(trial: Trial) -> None:
    """Content whose last byte is missing is refused."""
    repository, blob = trial.repository(), content.blob()
    expect.refused(trial.start_upload(repository).put(blob.digest, blob.data[:-1]))
    expect.status(trial.get_blob(repository, blob.digest), 404)


@check(BLOBS, SHOULD)
def invalid_digest(trial: Trial) -> None:
    """A digest that is none, too short or in capitals is refused with 400."""
    blob = content.blob()
    for digest in ("nonsense", "sha256:", "sha256:abc", blob.digest.upper().replace("SHA256", "sha256")):
        expect.status(trial.start_upload(trial.repository()).put(digest, blob.data), 400)


@check(BLOBS, SHOULD)
def unsupported_algorithm(trial: Trial) -> None:
    """A digest of an algorithm that nobody knows is refused with 400."""
    response = trial.start_upload(trial.repository()).put("nosuchhash:" + "a" * 64, content.blob().data)
    expect.status(response, 400)


@check(BLOBS, SHOULD)
def put_without_digest(trial: Trial) -> None:
    """A PUT without a digest is refused with 400."""
    expect.status(trial.start_upload(trial.repository()).put(None, content.blob().data), 400)


@check(BLOBS, MUST)
def sha512(trial: Trial) -> None:
    """A blob that is accepted under its sha512 digest can be pulled and checked by that digest."""
    repository, blob = trial.repository(), content.blob(algorithm="sha512")
    sent = trial.start_upload(repository, SHA512).put(blob.digest, blob.data)
    _pull_sha512(trial, repository, blob, sent.status_code)


@check(BLOBS, MUST)
def sha512_without_announcement(trial: Trial) -> None:
    """A blob that is accepted under a sha512 digest which the POST did not announce can be pulled by that digest."""
    repository, blob = trial.repository(), content.blob(algorithm="sha512")
    sent = trial.start_upload(repository).put(blob.digest, blob.data)
    _pull_sha512(trial, repository, blob, sent.status_code)


@check(SINGLE, MUST)
def single_post(trial: Trial) -> None:
    """A POST with digest and content answers 201 with a Location of the blob, or 202 with one to go on with by PUT."""
    repository, blob = trial.repository(), content.blob()
    response = expect.status(trial.post_upload(repository, [("digest", blob.digest)], blob.data), 201, 202)
    if response.status_code == 202:
        expect.status(Upload(trial, response).put(blob.digest, blob.data), 201)
        trial.expect_blob(repository, blob)
        raise expect.Unsupported(f"{expect.describe(response)}, a PUT stored the blob")
    follow_to_blob(trial, str(response.url.join(expect.header(response, "Location"))), blob)
    trial.expect_blob(repository, blob)


@check(SINGLE, MUST)
def single_post_mismatch(trial: Trial) -> None:
    """A POST with content that does not match the digest stores nothing."""
    repository, blob, claimed = trial.repository(), content.blob(), content.absent_digest()
    response = trial.post_upload(repository, [("digest", claimed)], blob.data)
    expect.that(response.status_code != 201, f"{expect.describe(response)} for content of another digest")
    expect.status(trial.get_blob(repository, claimed), 404)


@check(CANCEL, SHOULD)
def cancel(trial: Trial) -> None:
    """A DELETE of an upload session answers 204."""
    upload = trial.start_upload(trial.repository())
    expect.status(upload.cancel(), 204)


@check(CANCEL, SHOULD)
def cancelled_session_is_gone(trial: Trial) -> None:
    """After a DELETE, the session's location answers 404."""
    upload = trial.start_upload(trial.repository())
    upload.chunk(content.blob().data, 0)
    response = upload.cancel()
    if not response.is_success:
        raise expect.Unsupported(expect.describe(response))
    expect.status(upload.status(), 404)
    expect.status(upload.patch(b"more"), 404)


@check(MOUNTING, MUST)
def mount(trial: Trial) -> None:
    """A mount from another repository answers 201 with a Location from which the blob can be pulled."""
    source, target, blob = trial.repository(), trial.repository(), content.blob()
    trial.push_blob(source, blob)
    response = expect.status(trial.post_upload(target, [("mount", blob.digest), ("from", source)]), 201, 202)
    if response.status_code == 202:
        expect.header(response, "Location")
        raise expect.Unsupported(f"{expect.describe(response)}: mounting is not supported")
    follow_to_blob(trial, str(response.url.join(expect.header(response, "Location"))), blob)
    trial.expect_blob(target, blob)


@check(MOUNTING, SHOULD)
def mount_from_unknown_repository(trial: Trial) -> None:
    """A mount from a repository that does not exist answers 202, and the upload can go on."""
    repository, blob = trial.repository(), content.blob()
    _refused_mount(trial, repository, [("mount", blob.digest), ("from", trial.repository())], blob)


@check(MOUNTING, SHOULD)
def mount_of_unknown_blob(trial: Trial) -> None:
    """A mount of a blob that the source does not hold answers 202, and the upload can go on."""
    source, repository, blob = trial.repository(), trial.repository(), content.blob()
    trial.push_blob(source, content.blob())
    _refused_mount(trial, repository, [("mount", blob.digest), ("from", source)], blob)


@check(MOUNTING, MAY)
def mount_without_source(trial: Trial) -> None:
    """A mount that names no source finds a blob that another repository holds."""
    source, repository, blob = trial.repository(), trial.repository(), content.blob()
    trial.push_blob(source, blob)
    response = trial.post_upload(repository, [("mount", blob.digest)])
    if response.status_code != 201:
        expect.header(expect.status(response, 202), "Location")
        raise expect.Unsupported(f"{expect.describe(response)}: a mount needs a source")
    trial.expect_blob(repository, blob)


@check(MOUNTING, SHOULD)
def mount_without_source_of_unknown_blob(trial: Trial) -> None:
    """A mount that names no source, of a blob that nobody holds, answers 202, and the upload can go on."""
    repository, blob = trial.repository(), content.blob()
    _refused_mount(trial, repository, [("mount", blob.digest)], blob)


def _pull_sha512(trial: Trial, repository: str, blob: Blob, pushed: int) -> None:
    if pushed != 201:
        raise expect.Unsupported(f"the PUT with a sha512 digest answered {pushed}")
    trial.expect_blob(repository, blob)
    response = expect.status(trial.head(blob_path(repository, blob.digest)), 200)
    expect.header(response, "Content-Length", str(len(blob.data)))
    expect.digest_header(response, blob.data)


def _refused_mount(trial: Trial, repository: str, params: Params, blob: Blob) -> None:
    """Expect a mount that cannot be done to become an ordinary upload."""
    response = expect.status(trial.post_upload(repository, params), 202)
    expect.status(Upload(trial, response).put(blob.digest, blob.data), 201)
    trial.expect_blob(repository, blob)
