"""Checks of the section "Pushing a blob in chunks": order, ranges, the status of an upload, recovery."""

import httpx

from conformance import content, expect
from conformance.check import Level, Section, check
from conformance.push import require_sha512
from conformance.trial import Trial, Upload

CHUNKS = Section.CHUNKS
MUST, SHOULD, MAY = Level.MUST, Level.SHOULD, Level.MAY

CHUNK = 1024
"""Bytes of a chunk, unless the registry asks for more (OCI-Chunk-Min-Length)."""
LARGEST_CHUNK = 32 * 1024 * 1024
"""A registry that asks for larger chunks than this is not tried in chunks."""


class Chunked:
    """An upload of three chunks that has begun, nothing sent yet."""

    def __init__(self, trial: Trial, algorithm: str = "sha256", repository: str | None = None) -> None:
        self.trial = trial
        self.repository = repository or trial.repository()
        params = [] if algorithm == "sha256" else [("digest-algorithm", algorithm)]
        response = expect.status(trial.post_upload(self.repository, params), 202)
        self.upload = Upload(trial, response)
        self.size = chunk_size(response)
        self.blob = content.blob(3 * self.size, algorithm)

    def send(self, number: int) -> httpx.Response:
        """PATCH with chunk 0, 1 or 2."""
        return self.upload.chunk(self.part(number), number * self.size)

    def part(self, number: int) -> bytes:
        """The bytes of chunk 0, 1 or 2."""
        return self.blob.data[number * self.size : (number + 1) * self.size]

    def expect_offset(self, response: httpx.Response, end: int) -> None:
        """Expect the Range of what was received up to before `end`."""
        expect.header(response, "Range", f"0-{end - 1}")

    def finish(self) -> None:
        """Close the session without content, and pull the blob."""
        expect.status(self.upload.put(self.blob.digest), 201)
        self.trial.expect_blob(self.repository, self.blob)


def chunk_size(response: httpx.Response) -> int:
    """The size of chunks that a registry takes: what it asks for in the answer to the POST, or 1 KiB."""
    asked: str = response.headers.get("OCI-Chunk-Min-Length", "0")
    if not (asked.isascii() and asked.isdigit()):
        raise expect.Failed(f"{expect.describe(response)} with OCI-Chunk-Min-Length: {asked}", "a number", response)
    if len(asked) > len(str(LARGEST_CHUNK)) or int(asked) > LARGEST_CHUNK:
        found = f"{expect.describe(response)} with OCI-Chunk-Min-Length: {asked}"
        raise expect.NotApplicable(found, see="pushing-a-blob-in-chunks/smallest-chunk")
    return max(CHUNK, int(asked))


@check(CHUNKS, MAY)
def smallest_chunk(trial: Trial) -> None:
    """OCI-Chunk-Min-Length, if a registry sends it, is a number of bytes, and one that the checks can send."""
    try:
        chunk_size(expect.status(trial.post_upload(trial.repository()), 202))
    except expect.NotApplicable as too_large:
        raise expect.Lacking(f"{too_large}: larger than {LARGEST_CHUNK} bytes") from too_large


@check(CHUNKS, MUST)
def chunks_in_order(trial: Trial) -> None:
    """Chunks sent in order are each answered 202 with Location and Range; a PUT without content makes the blob."""
    chunked = Chunked(trial)
    for number in range(3):
        response = expect.status(chunked.send(number), 202)
        chunked.expect_offset(response, (number + 1) * chunked.size)
    chunked.finish()


@check(CHUNKS, MUST)
def single_chunk(trial: Trial) -> None:
    """A blob sent in one chunk is stored, and the Location of the PUT can be pulled."""
    repository, blob = trial.repository(), content.blob(100)
    upload = trial.start_upload(repository)
    expect.status(upload.chunk(blob.data, 0), 202)
    response = expect.status(upload.put(blob.digest), 201)
    location = str(response.url.join(expect.header(response, "Location")))
    expect.body(expect.status(trial.get(location), 200), blob.data)


@check(CHUNKS, MUST)
def last_chunk_in_put(trial: Trial) -> None:
    """The last chunk may come with the closing PUT, with its Content-Range."""
    chunked = Chunked(trial)
    for number in range(2):
        expect.status(chunked.send(number), 202)
    response = chunked.upload.put(chunked.blob.digest, chunked.part(2), _content_range(chunked, 2))
    expect.status(response, 201)
    trial.expect_blob(chunked.repository, chunked.blob)


@check(CHUNKS, MAY)
def last_chunk_in_put_without_range(trial: Trial) -> None:
    """The last chunk may come with the closing PUT without Content-Range: it follows what was received."""
    chunked = Chunked(trial)
    for number in range(2):
        expect.status(chunked.send(number), 202)
    response = chunked.upload.put(chunked.blob.digest, chunked.part(2))
    if response.is_client_error:
        raise expect.Lacking(expect.describe(response))
    expect.status(response, 201)
    trial.expect_blob(chunked.repository, chunked.blob)


@check(CHUNKS, MAY)
def streamed_patch(trial: Trial) -> None:
    """A PATCH without Content-Range and Content-Length, as Docker and podman send it, takes the whole stream.

    The specification knows only chunks with both; but a registry without this can't be pushed to by them.
    """
    chunked = Chunked(trial)
    response = chunked.upload.patch(lambda: iter([chunked.part(0), chunked.part(1), chunked.part(2)]))
    if response.is_client_error:
        raise expect.Lacking(expect.describe(response))
    chunked.expect_offset(expect.status(response, 202), 3 * chunked.size)
    chunked.finish()


@check(CHUNKS, MUST)
def first_chunk_not_at_zero(trial: Trial) -> None:
    """A first chunk that does not begin at 0 is answered 416."""
    expect.status(Chunked(trial).send(1), 416)


@check(CHUNKS, MUST)
def chunk_left_out(trial: Trial) -> None:
    """A chunk that leaves a gap is answered 416."""
    chunked = Chunked(trial)
    expect.status(chunked.send(0), 202)
    expect.status(chunked.send(2), 416)


@check(CHUNKS, MUST)
def chunk_repeated(trial: Trial) -> None:
    """A chunk that was received already is answered 416."""
    chunked = Chunked(trial)
    expect.status(chunked.send(0), 202)
    expect.status(chunked.send(0), 416)


@check(CHUNKS, MUST)
def chunk_overlapping(trial: Trial) -> None:
    """A chunk that begins within what was received is answered 416."""
    chunked = Chunked(trial)
    expect.status(chunked.send(0), 202)
    start = chunked.size // 2
    expect.status(chunked.upload.chunk(chunked.blob.data[start : start + chunked.size], start), 416)


@check(CHUNKS, MUST)
def last_chunk_out_of_order(trial: Trial) -> None:
    """A closing PUT whose chunk is out of order is answered 416, and makes no blob."""
    chunked = Chunked(trial)
    expect.status(chunked.send(0), 202)
    response = chunked.upload.put(chunked.blob.digest, chunked.part(2), _content_range(chunked, 2))
    expect.status(response, 416)
    expect.status(trial.get_blob(chunked.repository, chunked.blob.digest), 404)


@check(CHUNKS, MUST)
def status(trial: Trial) -> None:
    """A GET of an active session answers 204 with Location and the Range received."""
    chunked = Chunked(trial)
    for number in range(2):
        expect.status(chunked.send(number), 202)
        response = expect.status(chunked.upload.status(), 204)
        expect.header(response, "Location")
        chunked.expect_offset(response, (number + 1) * chunked.size)


@check(CHUNKS, MUST)
def status_of_a_new_session(trial: Trial) -> None:
    """A GET of a session that received nothing yet answers 204 with Location and Range."""
    response = expect.status(Chunked(trial).upload.status(), 204)
    expect.header(response, "Location")
    expect.header(response, "Range")


@check(CHUNKS, MUST)
def recovery_after_416(trial: Trial) -> None:
    """After a 416, the status says where to go on, and the upload can be finished."""
    chunked = Chunked(trial)
    expect.status(chunked.send(0), 202)
    expect.status(chunked.send(2), 416)
    response = expect.status(chunked.upload.status(), 204)
    chunked.expect_offset(response, chunked.size)
    chunked.upload.follow(response)
    for number in (1, 2):
        expect.status(chunked.send(number), 202)
    chunked.finish()


@check(CHUNKS, MUST)
def recovery_after_416_of_put(trial: Trial) -> None:
    """After a 416 to the closing PUT, the status says where to go on, and the upload can be finished."""
    chunked = Chunked(trial)
    expect.status(chunked.send(0), 202)
    expect.status(chunked.upload.put(chunked.blob.digest, chunked.part(2), _content_range(chunked, 2)), 416)
    response = expect.status(chunked.upload.status(), 204)
    chunked.expect_offset(response, chunked.size)
    chunked.upload.follow(response)
    for number in (1, 2):
        expect.status(chunked.send(number), 202)
    chunked.finish()


@check(CHUNKS, SHOULD)
def malformed_content_range(trial: Trial) -> None:
    """A Content-Range that is not FIRST-LAST is refused with a status of 4xx."""
    for value in ("nonsense", "5", "10-0"):
        chunked = Chunked(trial)
        expect.refused(chunked.upload.patch(chunked.part(0), {"Content-Range": value}))


@check(CHUNKS, SHOULD)
def content_range_of_another_length(trial: Trial) -> None:
    """A chunk that is shorter than its Content-Range says is refused with a status of 4xx."""
    chunked = Chunked(trial)
    response = chunked.upload.patch(chunked.part(0), {"Content-Range": f"0-{2 * chunked.size - 1}"})
    expect.refused(response)


@check(CHUNKS, MUST)
def digest_mismatch(trial: Trial) -> None:
    """A closing PUT with the digest of other content is refused, and makes no blob."""
    chunked, claimed = Chunked(trial), content.absent_digest()
    for number in range(3):
        expect.status(chunked.send(number), 202)
    expect.refused(chunked.upload.put(claimed))
    expect.status(trial.get_blob(chunked.repository, claimed), 404)


@check(CHUNKS, MUST)
def chunks_of_sha512(trial: Trial) -> None:
    """Chunks sent after a POST with `digest-algorithm=sha512` make a blob of that digest, where sha512 is supported."""
    require_sha512(trial, trial.repository())
    chunked = Chunked(trial, "sha512")
    for number in range(3):
        expect.status(chunked.send(number), 202)
    chunked.finish()


@check(CHUNKS, SHOULD)
def unknown_digest_algorithm(trial: Trial) -> None:
    """A POST with a `digest-algorithm` that nobody knows answers 400."""
    expect.status(trial.post_upload(trial.repository(), [("digest-algorithm", "nosuchhash")]), 400)


@check(CHUNKS, MUST)
def sessions_do_not_mix(trial: Trial) -> None:
    """Two uploads into a repository at once each keep their own content."""
    first = Chunked(trial)
    second = Chunked(trial, repository=first.repository)
    for number in range(3):
        for chunked in (first, second):
            expect.status(chunked.send(number), 202)
    first.finish()
    second.finish()


def _content_range(chunked: Chunked, number: int) -> dict[str, str]:
    start = number * chunked.size
    return {"Content-Range": f"{start}-{start + chunked.size - 1}"}
