"""Checks of the section "Pull": manifests, blobs, whether content exists."""

import re
from collections.abc import Mapping

from conformance import content, expect
from conformance.check import Level, Section, add, check
from conformance.trial import ACCEPT_MANIFESTS, Trial, blob_path, manifest_path

MANIFESTS = Section.PULLING_MANIFESTS
BLOBS = Section.PULLING_BLOBS
CHECKING = Section.CHECKING
MUST, SHOULD = Level.MUST, Level.SHOULD

SIZE = 4096
"""Bytes of the blobs that ranges are asked of."""

RANGES = {
    "range_closed": (
        "bytes=500-1499",
        500,
        1500,
        "`Range: bytes=500-1499` is answered with those 1000 bytes, Content-Range and Content-Length (RFC 9110, 14).",
    ),
    "range_open": ("bytes=500-", 500, SIZE, "`Range: bytes=500-` is answered with all bytes from 500 on."),
    "range_suffix": ("bytes=-500", SIZE - 500, SIZE, "`Range: bytes=-500` is answered with the last 500 bytes."),
    "range_clamped": (
        f"bytes=2000-{SIZE + 5000}",
        2000,
        SIZE,
        "A Range that ends after the blob's end is answered up to the end.",
    ),
    "range_first_byte": ("bytes=0-0", 0, 1, "`Range: bytes=0-0` is answered with one byte."),
    "range_suffix_too_long": (
        f"bytes=-{SIZE * 2}",
        0,
        SIZE,
        "A suffix that is longer than the blob is answered with all of it.",
    ),
}
"""What one Range may look like: the value, the first byte that it means, the one after its last, what is required."""


@check(MANIFESTS, MUST)
def get_by_tag(trial: Trial) -> None:
    """A GET by tag answers 200 with the bytes that were pushed."""
    repository = trial.repository()
    trial.expect_manifest(repository, "v1", trial.publish(repository, content.image(), "v1"))


@check(MANIFESTS, MUST)
def get_by_digest(trial: Trial) -> None:
    """A GET by digest answers 200 with the bytes that were pushed, whether it was pushed by tag or by digest."""
    repository = trial.repository()
    tagged = trial.publish(repository, content.image(), "v1")
    untagged = trial.publish(repository, content.image())
    trial.expect_manifest(repository, tagged.digest, tagged)
    trial.expect_manifest(repository, untagged.digest, untagged)


@check(MANIFESTS, MUST)
def digest_header(trial: Trial) -> None:
    """A GET of a manifest answers with its digest in Docker-Content-Digest."""
    repository = trial.repository()
    manifest = trial.publish(repository, content.image(), "v1")
    for reference in ("v1", manifest.digest):
        expect.digest_header(trial.expect_manifest(repository, reference, manifest), manifest.data)


@check(MANIFESTS, SHOULD)
def content_type(trial: Trial) -> None:
    """The Content-Type of a manifest is the one that it was pushed with, without parameters."""
    repository = trial.repository()
    for manifest in (content.image(), content.index([])):
        trial.publish(repository, manifest, "v1")
        expect.header(trial.get_manifest(repository, "v1"), "Content-Type", manifest.media_type)


@check(MANIFESTS, MUST)
def unknown_tag(trial: Trial) -> None:
    """A GET of a tag that is not in the repository answers 404."""
    repository = trial.repository()
    trial.publish(repository, content.image(), "v1")
    expect.status(trial.get_manifest(repository, "v2"), 404)


@check(MANIFESTS, MUST)
def unknown_digest(trial: Trial) -> None:
    """A GET of a manifest by a digest that is not in the repository answers 404."""
    repository = trial.repository()
    trial.publish(repository, content.image(), "v1")
    expect.status(trial.get_manifest(repository, content.absent_digest()), 404)


@check(MANIFESTS, MUST)
def of_another_repository(trial: Trial) -> None:
    """A manifest that only another repository holds answers 404."""
    manifest = trial.publish(trial.repository(), content.image())
    repository = trial.repository()
    trial.publish(repository, content.image(), "v1")
    expect.status(trial.get_manifest(repository, manifest.digest), 404)


@check(MANIFESTS, MUST)
def unknown_repository(trial: Trial) -> None:
    """A GET of a manifest in a repository that does not exist answers 404."""
    expect.status(trial.get_manifest(trial.repository(), "latest"), 404)


@check(MANIFESTS, MUST)
def accept_anything(trial: Trial) -> None:
    """A GET of an index with `Accept: */*` or without Accept answers with the index itself, by tag and by digest."""
    repository = trial.repository()
    index = trial.publish(repository, content.index([content.image()]), "v1")
    for reference in ("v1", index.digest):
        path = manifest_path(repository, reference)
        expect.body(expect.status(trial.get(path, headers={"Accept": "*/*"}), 200), index.data)
        expect.body(expect.status(trial.get(path, without=["Accept"]), 200), index.data)


@check(MANIFESTS, MUST)
def several_accept_headers(trial: Trial) -> None:
    """Media types in several Accept headers, or in one list with weights, are all accepted."""
    repository = trial.repository()
    index = trial.publish(repository, content.index([content.image()]), "v1")
    path = manifest_path(repository, "v1")
    apart = [("Accept", one) for one in (content.IMAGE, content.DOCKER_MANIFEST, content.INDEX)]
    joined = f"{content.IMAGE};q=0.5, {content.INDEX};q=0.9"
    expect.body(expect.status(trial.get(path, headers=apart), 200), index.data)
    expect.body(expect.status(trial.get(path, headers={"Accept": joined}), 200), index.data)


@check(MANIFESTS, SHOULD)
def manifest_if_none_match(trial: Trial) -> None:
    """A GET of a manifest with the ETag of an earlier answer in If-None-Match answers 304 (RFC 9110, 13.1.2)."""
    repository = trial.repository()
    trial.publish(repository, content.image(), "v1")
    _not_modified(trial, manifest_path(repository, "v1"), ACCEPT_MANIFESTS)


@check(BLOBS, MUST)
def get_blob(trial: Trial) -> None:
    """A GET of a blob answers 200 with the bytes that were pushed."""
    repository, blob = _blob(trial)
    trial.expect_blob(repository, blob)


@check(BLOBS, MUST)
def get_large_blob(trial: Trial) -> None:
    """A GET of a blob of 5 MiB answers 200 with the bytes that were pushed."""
    repository, blob = _blob(trial, 5 * 1024 * 1024)
    trial.expect_blob(repository, blob)


@check(BLOBS, MUST)
def blob_digest_header(trial: Trial) -> None:
    """A GET of a blob answers with its digest in Docker-Content-Digest."""
    repository, blob = _blob(trial)
    expect.digest_header(trial.expect_blob(repository, blob), blob.data)


@check(BLOBS, MUST)
def unknown_blob(trial: Trial) -> None:
    """A GET of a blob that is not in the repository answers 404."""
    repository, _ = _blob(trial)
    expect.status(trial.get_blob(repository, content.absent_digest()), 404)


@check(BLOBS, MUST)
def blob_of_another_repository(trial: Trial) -> None:
    """A blob that only another repository holds answers 404."""
    _, elsewhere = _blob(trial)
    repository, _ = _blob(trial)
    expect.status(trial.get_blob(repository, elsewhere.digest), 404)


@check(BLOBS, MUST)
def blob_in_unknown_repository(trial: Trial) -> None:
    """A GET of a blob in a repository that does not exist answers 404."""
    expect.status(trial.get_blob(trial.repository(), content.absent_digest()), 404)


@check(BLOBS, SHOULD)
def range_is_supported(trial: Trial) -> None:
    """A GET with a Range is answered 206, in each form that RFC 9110 (14.1.2) has for one range."""
    repository, blob = _blob(trial, SIZE)
    for value, *_ in RANGES.values():
        expect.status(trial.get_blob(repository, blob.digest, {"Range": value}), 206)


def _add_range(name: str, title: str, value: str, start: int, end: int) -> None:
    def answer(trial: Trial) -> None:
        repository, blob = _blob(trial, SIZE)
        response = trial.get_blob(repository, blob.digest, {"Range": value})
        if response.status_code == 200:
            expect.body(response, blob.data)
            raise expect.NotApplicable("the Range is ignored", see="pulling-blobs/range-is-supported")
        expect.body(expect.status(response, 206), blob.data[start:end])
        expect.header(response, "Content-Length", str(end - start))
        got = expect.header(response, "Content-Range")
        if re.fullmatch(rf"bytes {start}-{end - 1}/({SIZE}|\*)", got) is None:
            found = f"{expect.describe(response)} with Content-Range: {got}"
            raise expect.Failed(found, f"bytes {start}-{end - 1}/{SIZE}", response)

    add(BLOBS, MUST, name, title, answer)


for _name, (_value, _start, _end, _title) in RANGES.items():
    _add_range(_name, _title, _value, _start, _end)


@check(BLOBS, SHOULD)
def several_ranges(trial: Trial) -> None:
    """Several ranges in one header are all answered, in parts or as one, or ignored, never one for another."""
    repository, blob = _blob(trial, SIZE)
    response = trial.get_blob(repository, blob.digest, {"Range": "bytes=0-99,1000-1099"})
    if response.status_code == 200:
        expect.body(response, blob.data)
    elif response.status_code == 206 and expect.media_type(response) == "multipart/byteranges":
        for start in (0, 1000):
            part = blob.data[start : start + 100]
            expect.that(part in response.content, f"{expect.describe(response)} without the bytes from {start} on")
    elif response.status_code == 206:
        got = expect.header(response, "Content-Range")
        named = re.fullmatch(r"bytes ([0-9]+)-([0-9]+)/.*", got)
        expect.that(named is not None, f"{expect.describe(response)} with Content-Range: {got}")
        if named is not None:
            expect.body(response, blob.data[int(named[1]) : int(named[2]) + 1])
    else:
        expect.status(response, 416)  # RFC 9110, 14.2 leaves a server free to refuse many ranges


@check(BLOBS, SHOULD)
def range_unsatisfiable(trial: Trial) -> None:
    """A Range that begins after the blob's end is answered 416 with the size in Content-Range (RFC 9110, 15.5.17)."""
    repository, blob = _blob(trial, SIZE)
    if trial.get_blob(repository, blob.digest, {"Range": "bytes=0-99"}).status_code == 200:
        raise expect.NotApplicable("a Range is ignored", see="pulling-blobs/range-is-supported")
    response = trial.get_blob(repository, blob.digest, {"Range": f"bytes={SIZE}-{SIZE + 10}"})
    expect.header(expect.status(response, 416), "Content-Range", f"bytes */{SIZE}")


@check(BLOBS, SHOULD)
def range_backwards(trial: Trial) -> None:
    """A Range whose end is before its start is ignored or rejected (RFC 9110, 14.2), not answered 206."""
    repository, blob = _blob(trial)
    response = trial.get_blob(repository, blob.digest, {"Range": "bytes=500-100"})
    if response.status_code == 200:
        expect.body(response, blob.data)
    else:
        expect.refused(response)


@check(BLOBS, SHOULD)
def range_of_unknown_unit(trial: Trial) -> None:
    """A Range in a unit that is not known is ignored (RFC 9110, 14.2)."""
    repository, blob = _blob(trial)
    response = trial.get_blob(repository, blob.digest, {"Range": "sectors=1-2"})
    expect.body(expect.status(response, 200), blob.data)


@check(BLOBS, SHOULD)
def range_of_head(trial: Trial) -> None:
    """A Range is ignored in a HEAD request: 200 with the whole size (RFC 9110, 14.2)."""
    repository, blob = _blob(trial)
    response = expect.status(trial.head(blob_path(repository, blob.digest), {"Range": "bytes=0-9"}), 200)
    expect.header(response, "Content-Length", str(len(blob.data)))


@check(BLOBS, SHOULD)
def range_with_stale_validator(trial: Trial) -> None:
    """A Range is ignored when If-Range names another version (RFC 9110, 13.1.5)."""
    repository, blob = _blob(trial)
    headers = {"Range": "bytes=0-9", "If-Range": '"another-version"'}
    expect.body(expect.status(trial.get_blob(repository, blob.digest, headers), 200), blob.data)


@check(BLOBS, SHOULD)
def blob_if_none_match(trial: Trial) -> None:
    """A GET of a blob with the ETag of an earlier answer in If-None-Match answers 304 (RFC 9110, 13.1.2)."""
    repository, blob = _blob(trial)
    _not_modified(trial, blob_path(repository, blob.digest), {})


@check(CHECKING, MUST)
def head_manifest(trial: Trial) -> None:
    """A HEAD of a manifest, by tag and by digest, answers 200 with its digest and size."""
    repository = trial.repository()
    manifest = trial.publish(repository, content.image(), "v1")
    for reference in ("v1", manifest.digest):
        response = expect.status(trial.head_manifest(repository, reference), 200)
        expect.digest_header(response, manifest.data)
        expect.header(response, "Content-Length", str(len(manifest.data)))


@check(CHECKING, SHOULD)
def head_manifest_content_type(trial: Trial) -> None:
    """A HEAD of a manifest answers with the Content-Type that a GET would (RFC 9110, 9.3.2)."""
    repository = trial.repository()
    index = trial.publish(repository, content.index([]), "v1")
    expect.header(trial.head_manifest(repository, "v1"), "Content-Type", index.media_type)


@check(CHECKING, MUST)
def head_blob(trial: Trial) -> None:
    """A HEAD of a blob answers 200 with its digest and size."""
    repository, blob = _blob(trial)
    response = expect.status(trial.head(blob_path(repository, blob.digest)), 200)
    expect.digest_header(response, blob.data)
    expect.header(response, "Content-Length", str(len(blob.data)))


@check(CHECKING, MUST)
def head_unknown_manifest(trial: Trial) -> None:
    """A HEAD of a manifest that is not in the repository answers 404, by tag and by digest."""
    repository = trial.repository()
    trial.publish(repository, content.image(), "v1")
    expect.status(trial.head_manifest(repository, "v2"), 404)
    expect.status(trial.head_manifest(repository, content.absent_digest()), 404)


@check(CHECKING, MUST)
def head_unknown_blob(trial: Trial) -> None:
    """A HEAD of a blob that is not in the repository answers 404."""
    repository, _ = _blob(trial)
    expect.status(trial.head(blob_path(repository, content.absent_digest())), 404)


def _blob(trial: Trial, size: int = 1024) -> tuple[str, content.Blob]:
    """A new repository with a new blob in it."""
    repository, blob = trial.repository(), content.blob(size)
    trial.push_blob(repository, blob)
    return repository, blob


def _not_modified(trial: Trial, path: str, headers: Mapping[str, str]) -> None:
    """Expect an ETag (RFC 9110, 8.8.3), and 304 for it."""
    first = expect.status(trial.get(path, headers=headers), 200)
    again = trial.get(path, headers={**headers, "If-None-Match": expect.header(first, "ETag")})
    expect.that(not expect.status(again, 304).content, f"{expect.describe(again)} with a body")
