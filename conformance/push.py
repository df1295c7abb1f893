"""Checks of the section "Push": blobs, at once, in chunks, by mounting. Manifests are in `push_manifests`."""

import re

import httpx

from conformance import content, expect
from conformance.check import Level, Section, check
from conformance.client import Params
from conformance.content import Blob
from conformance.exchange import show_url
from conformance.trial import Trial, Upload, blob_path

BLOBS = Section.PUSHING_BLOBS
MONOLITHIC = Section.POST_THEN_PUT
SINGLE = Section.SINGLE_POST
CANCEL = Section.CANCEL
MOUNTING = Section.MOUNTING
MUST, SHOULD, MAY = Level.MUST, Level.SHOULD, Level.MAY

SHA512: Params = [("digest-algorithm", "sha512")]
_UUID = re.compile(
    r"(?<![0-9a-f])[0-9a-f]{8}(-?)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}(?![0-9a-f])"
    r"|(?<![0-9a-z_-])[0-9a-z_-]{22}(?![0-9a-z_-])",
    re.IGNORECASE,
)
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
    repository = trial.repository()
    location = trial.start_upload(repository).location
    # Without the repository's name, which is ours and long enough to look like one.
    expect.that(_UUID.search(location.replace(repository, "")) is not None, f"{show_url(location)} holds no UUID")


@check(MONOLITHIC, MAY)
def post_without_the_last_slash(trial: Trial) -> None:
    """A POST to `/blobs/uploads` without the slash at the end is taken too."""
    response = trial.client.request("POST", f"/v2/{trial.repository()}/blobs/uploads", body=b"")
    if response.status_code in (404, 405):
        raise expect.Lacking(expect.describe(response))
    expect.header(expect.status(response, 202), "Location")


@check(MONOLITHIC, MUST)
def put_stores_the_blob(trial: Trial) -> None:
    """A PUT with the blob answers 201 with a Location from which the blob can be pulled."""
    repository, blob = trial.repository(), content.blob()
    response = trial.push_blob(repository, blob)
    follow_to_blob(trial, str(response.url.join(expect.header(response, "Location"))), blob)
    trial.expect_blob(repository, blob)


@check(MONOLITHIC, MAY)
def put_of_a_stream(trial: Trial) -> None:
    """A PUT whose body comes with chunked transfer coding, its size not said before, stores the blob.

    The specification asks clients for a Content-Length, and RFC 9110 (15.5.12) lets a server insist on it with 411.
    """
    repository, blob = trial.repository(), content.blob(100_000)
    upload = trial.start_upload(repository)
    response = upload.put(blob.digest, lambda: iter([blob.data[:30_000], blob.data[30_000:]]))
    if response.status_code in (400, 411):
        raise expect.Lacking(expect.describe(response))
    expect.status(response, 201)
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
    expect.code_if_any(expect.status(response, 400), "DIGEST_INVALID")


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


@check(BLOBS, MAY)
def sha512_is_supported(trial: Trial) -> None:
    """A blob can be pushed under its sha512 digest, which image-spec registers beside sha256."""
    blob = content.blob(algorithm="sha512")
    response = trial.post_upload(trial.repository(), SHA512)
    if response.status_code == 202:
        response = Upload(trial, response).put(blob.digest, blob.data)
    if response.is_client_error:
        raise expect.Lacking(f"{expect.describe(response)}: sha512 is not supported")
    expect.status(response, 201)


@check(BLOBS, MUST)
def sha512(trial: Trial) -> None:
    """A blob that is accepted under its sha512 digest can be pulled and checked by that digest."""
    repository, blob = trial.repository(), content.blob(algorithm="sha512")
    require_sha512(trial, repository)
    expect.status(trial.start_upload(repository, SHA512).put(blob.digest, blob.data), 201)
    _pull_sha512(trial, repository, blob)


@check(BLOBS, SHOULD)
def sha512_without_announcement(trial: Trial) -> None:
    """Where sha512 is supported, a digest of it that the POST did not announce is accepted too: clients only SHOULD."""
    repository, blob = trial.repository(), content.blob(algorithm="sha512")
    require_sha512(trial, repository)
    expect.status(trial.start_upload(repository).put(blob.digest, blob.data), 201)
    _pull_sha512(trial, repository, blob)


@check(BLOBS, MAY)
def sha512_in_the_digest_header(trial: Trial) -> None:
    """Where sha512 is supported, PUT, GET and HEAD answer with the digest that was given, not with another algorithm's.

    Any digest of the content will do for the specification; but clients compare it with the one that they asked for.
    """
    repository, blob = trial.repository(), content.blob(algorithm="sha512")
    require_sha512(trial, repository)
    put = expect.status(trial.start_upload(repository, SHA512).put(blob.digest, blob.data), 201)
    for response in (put, trial.expect_blob(repository, blob), trial.head(blob_path(repository, blob.digest))):
        got = response.headers.get("Docker-Content-Digest", "none")
        if got != blob.digest:
            raise expect.Lacking(f"{expect.describe(response)} with Docker-Content-Digest: {got}")


@check(BLOBS, MUST)
def sha512_mismatch_stores_nothing(trial: Trial) -> None:
    """Where sha512 is supported, content of another sha512 digest is refused, and stored under neither."""
    repository, blob, claimed = trial.repository(), content.blob(algorithm="sha512"), content.absent_digest("sha512")
    require_sha512(trial, repository)
    expect.refused(trial.start_upload(repository, SHA512).put(claimed, blob.data))
    expect.status(trial.get_blob(repository, claimed), 404)
    expect.status(trial.get_blob(repository, blob.digest), 404)


@check(SINGLE, MAY)
def single_post_is_supported(trial: Trial) -> None:
    """A POST with digest and content stores the blob at once."""
    repository, blob = trial.repository(), content.blob()
    response = expect.status(trial.post_upload(repository, [("digest", blob.digest)], blob.data), 201, 202)
    if response.status_code == 202:
        raise expect.Lacking(f"{expect.describe(response)}: a PUT is to follow")
    trial.expect_blob(repository, blob)


@check(SINGLE, SHOULD)
def single_post_or_session(trial: Trial) -> None:
    """A POST with digest and content answers 201, or 202 with a Location where a PUT stores the blob."""
    repository, blob = trial.repository(), content.blob()
    response = expect.status(trial.post_upload(repository, [("digest", blob.digest)], blob.data), 201, 202)
    if response.status_code == 202:
        expect.status(Upload(trial, response).put(blob.digest, blob.data), 201)
    trial.expect_blob(repository, blob)


@check(SINGLE, MUST)
def single_post(trial: Trial) -> None:
    """A POST with digest and content that is answered 201 has a Location from which the blob can be pulled."""
    repository, blob = trial.repository(), content.blob()
    response = _post_blob(trial, repository, blob.digest, blob)
    expect.status(response, 201)
    follow_to_blob(trial, str(response.url.join(expect.header(response, "Location"))), blob)


@check(SINGLE, MUST)
def single_post_mismatch(trial: Trial) -> None:
    """A POST with content that does not match the digest stores nothing."""
    repository, blob, claimed = trial.repository(), content.blob(), content.absent_digest()
    response = trial.post_upload(repository, [("digest", claimed)], blob.data)
    if response.status_code == 201:
        raise expect.Failed(f"{expect.describe(response)} for content of another digest", "a status of 4xx", response)
    for digest in (claimed, blob.digest):
        expect.status(trial.get_blob(repository, digest), 404)


@check(SINGLE, SHOULD)
def single_post_invalid_digest(trial: Trial) -> None:
    """A POST with content and a digest that is none, or of an algorithm that nobody knows, is refused with 400."""
    repository, blob = trial.repository(), content.blob()
    for digest in ("sha256:abc", "nosuchhash:" + "a" * 64):
        expect.status(_post_blob(trial, repository, digest, blob), 400)


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
        raise expect.NotApplicable(expect.describe(response), see="cancel-a-blob-upload/cancel")
    expect.status(upload.status(), 404)
    expect.status(upload.patch(b"more"), 404)


@check(CANCEL, SHOULD)
def cancel_twice(trial: Trial) -> None:
    """A DELETE of an upload session that was ended answers 404 or 400."""
    upload = trial.start_upload(trial.repository())
    response = upload.cancel()
    if not response.is_success:
        raise expect.NotApplicable(expect.describe(response), see="cancel-a-blob-upload/cancel")
    expect.status(upload.cancel(), 404, 400)


@check(MOUNTING, MAY)
def mount_is_supported(trial: Trial) -> None:
    """A blob of another repository can be mounted."""
    source, blob = trial.repository(), content.blob()
    trial.push_blob(source, blob)
    response = trial.post_upload(trial.repository(), [("mount", blob.digest), ("from", source)])
    if response.status_code == 202:
        raise expect.Lacking(f"{expect.describe(response)}: mounting is not supported")
    expect.status(response, 201)


@check(MOUNTING, MUST)
def mount(trial: Trial) -> None:
    """A mount from another repository answers 201 with a Location from which the blob can be pulled."""
    source, target, blob = trial.repository(), trial.repository(), content.blob()
    trial.push_blob(source, blob)
    response = trial.post_upload(target, [("mount", blob.digest), ("from", source)])
    if response.status_code == 202:
        see = "mounting-a-blob-from-another-repository/mount-is-supported"
        raise expect.NotApplicable(f"{expect.describe(response)}: mounting is not supported", see)
    expect.status(response, 201)
    follow_to_blob(trial, str(response.url.join(expect.header(response, "Location"))), blob)
    trial.expect_blob(target, blob)


@check(MOUNTING, SHOULD)
def mount_or_session(trial: Trial) -> None:
    """A mount answers 201, or 202 with a Location where the upload can go on."""
    source, target, blob = trial.repository(), trial.repository(), content.blob()
    trial.push_blob(source, blob)
    response = trial.post_upload(target, [("mount", blob.digest), ("from", source)])
    if expect.status(response, 201, 202).status_code == 202:
        expect.status(Upload(trial, response).put(blob.digest, blob.data), 201)
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
        raise expect.Lacking(f"{expect.describe(response)}: a mount needs a source")
    trial.expect_blob(repository, blob)


@check(MOUNTING, SHOULD)
def mount_without_source_of_unknown_blob(trial: Trial) -> None:
    """A mount that names no source, of a blob that nobody holds, answers 202, and the upload can go on."""
    repository, blob = trial.repository(), content.blob()
    _refused_mount(trial, repository, [("mount", blob.digest)], blob)


def require_sha512(trial: Trial, repository: str) -> None:
    """Leave the check to `sha512-is-supported` when a blob of that algorithm can't be pushed.

    Raises:
        expect.NotApplicable: a blob pushed under its sha512 digest is answered 4xx.
    """
    blob = content.blob(algorithm="sha512")
    response = trial.post_upload(repository, SHA512)
    if response.status_code == 202:
        response = Upload(trial, response).put(blob.digest, blob.data)
    if response.is_client_error:
        raise expect.NotApplicable(f"{expect.describe(response)}", see="pushing-blobs/sha512-is-supported")


def _post_blob(trial: Trial, repository: str, digest: str, blob: Blob) -> httpx.Response:
    """POST a blob with a digest. Raises NotApplicable when that only begins a session."""
    response = trial.post_upload(repository, [("digest", digest)], blob.data)
    if response.status_code == 202:
        see = "single-post/single-post-is-supported"
        raise expect.NotApplicable(f"{expect.describe(response)}: a single POST is not supported", see)
    return response


def _pull_sha512(trial: Trial, repository: str, blob: Blob) -> None:
    trial.expect_blob(repository, blob)
    response = expect.status(trial.head(blob_path(repository, blob.digest)), 200)
    expect.header(response, "Content-Length", str(len(blob.data)))
    expect.digest_header(response, blob.data)


def _refused_mount(trial: Trial, repository: str, params: Params, blob: Blob) -> None:
    """Expect a mount that cannot be done to become an ordinary upload."""
    response = expect.status(trial.post_upload(repository, params), 202)
    expect.status(Upload(trial, response).put(blob.digest, blob.data), 201)
    trial.expect_blob(repository, blob)
