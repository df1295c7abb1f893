"""`/v2/<name>/blobs/<digest>`: pulling, checking and deleting blobs (spec, "Pulling blobs", "Deleting Blobs")."""

from auth.policy import Action
from registry.errors import RangeInvalid
from registry.http.conditions import etag, matches
from registry.http.context import Context
from registry.http.ranges import parse_range
from registry.http.replies import Answer, BlobReply, Reply
from registry.http.request import Request
from registry.oci.names import RepositoryName, parse_repository
from storage.digest import Digest, parse_digest

_FOREVER = b"max-age=31536000, immutable"
_PARTIAL = (b"range", b"if-range", b"if-none-match", b"if-match")
Header = tuple[bytes, bytes]


async def get_blob(context: Context, request: Request, name: str, digest: str) -> Answer:
    """Send a blob or one range of it: 200, 206, 304, 416; or say where the store has it: 307."""
    repository, wanted = parse_repository(name), parse_digest(digest)
    await context.authorize(request, Action.PULL, repository)
    return await blob_reply(context, request, repository, wanted)


async def blob_reply(
    context: Context, request: Request, repository: RepositoryName, wanted: Digest, *, at: int | None = None
) -> Answer:
    """Return the answer to a GET of a blob by somebody who may; of one that was there at a moment, if `at` says one."""
    if context.driver.redirects and (address := await _address(context, request, repository, wanted, at)) is not None:
        location = (b"location", address.encode("latin-1"))
        return Reply(307, [location, (b"cache-control", b"no-store"), (b"docker-content-digest", wanted.encode())])
    reader = await context.blobs.open(repository, wanted, at=at)
    try:
        if _is_known(request, wanted):
            reader.close()
            return Reply(304, _headers(wanted))
        span = _span(request, wanted, reader.size)
    except RangeInvalid:
        reader.close()
        raise
    headers = [(b"content-type", b"application/octet-stream"), *_headers(wanted)]
    if span is None:
        return BlobReply(200, headers, reader, 0, reader.size)
    first, last = span
    headers.append((b"content-range", f"bytes {first}-{last}/{reader.size}".encode()))
    return BlobReply(206, headers, reader, first, last - first + 1)


async def head_blob(context: Context, request: Request, name: str, digest: str) -> Answer:
    """Say whether a blob is there, and how large: 200. Who is told so can rely on it for an hour."""
    repository, wanted = parse_repository(name), parse_digest(digest)
    await context.authorize(request, Action.PULL, repository)
    return size_reply(request, wanted, await context.blobs.exists(repository, wanted))


def size_reply(request: Request, wanted: Digest, size: int) -> Reply:
    """Return the answer to a HEAD of a blob that has this size in bytes."""
    if _is_known(request, wanted):
        return Reply(304, _headers(wanted))
    length = (b"content-length", str(size).encode())
    return Reply(200, [(b"content-type", b"application/octet-stream"), length, *_headers(wanted)])


async def delete_blob(context: Context, request: Request, name: str, digest: str) -> Answer:
    """Remove a blob from the repository: 202; 403 while a manifest there refers to it."""
    repository, wanted = parse_repository(name), parse_digest(digest)
    await context.authorize(request, Action.DELETE, repository)
    await context.deletion.delete_blob(repository, wanted, actor=request.principal.name, origin=context.origin(request))
    return Reply(202, [(b"docker-content-digest", wanted.encode())])


async def _address(
    context: Context, request: Request, repository: RepositoryName, digest: Digest, at: int | None
) -> str | None:
    """Return where the store itself sends the whole blob from; None if this client gets it from here.

    Ranges and conditions are answered here: a store knows other ETags.
    """
    client = request.scope.get("client")
    if client is None or any(request.header(name) is not None for name in _PARTIAL):
        return None
    return await context.blobs.address(repository, digest, client[0], at=at)


def _headers(digest: Digest) -> list[Header]:
    return [
        (b"docker-content-digest", digest.encode()),
        (b"etag", etag(digest).encode()),
        (b"accept-ranges", b"bytes"),
        (b"cache-control", _FOREVER),
    ]


def _is_known(request: Request, digest: Digest) -> bool:
    header = request.header(b"if-none-match")
    return header is not None and matches(header, etag(digest), weak=True)


def _span(request: Request, digest: Digest, size: int) -> tuple[int, int] | None:
    """Return the range to send, None for the whole. A failed If-Range asks for the whole (RFC 9110 section 13.1.5)."""
    header, condition = request.header(b"range"), request.header(b"if-range")
    if header is None or (condition is not None and condition.strip() != etag(digest)):
        return None
    return parse_range(header, size)
