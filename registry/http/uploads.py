"""`/v2/<name>/blobs/uploads/`: pushing blobs (spec, "Pushing blobs", "Mounting a blob", "Cancel a blob upload")."""

from auth.policy import Action
from registry.db.uploads import UploadSession
from registry.errors import DigestInvalid, NameInvalid, SizeInvalid, UploadOutOfOrder
from registry.http.context import Context
from registry.http.errors import error_reply
from registry.http.ranges import parse_content_range, parse_length, range_header
from registry.http.replies import Answer, Reply
from registry.http.request import Request
from registry.oci.names import RepositoryName, parse_repository
from registry.services.chunk import Chunk
from storage.digest import SHA256, Digest, parse_digest


async def start_upload(context: Context, request: Request, name: str) -> Answer:
    """Begin an upload: 202. With `digest`, take the whole blob: 201. With `mount`, link it if possible: 201 or 202."""
    repository = parse_repository(name, context.settings.names.max_repository_length)
    await context.authorize_push(request, repository)
    mount, digest = request.query("mount"), request.query("digest")
    if mount is not None and await _mount(context, request, repository, parse_digest(mount)):
        return _created(context, request, repository, parse_digest(mount))
    if digest is not None and mount is None:
        whole = parse_digest(digest)
        await context.uploads.push_whole(
            repository,
            whole,
            Chunk(request.body(), source=request.source),
            actor=request.principal.name,
            origin=context.origin(request),
        )
        return _created(context, request, repository, whole)
    session = await context.uploads.start(repository, request.query("digest-algorithm") or SHA256)
    smallest = context.settings.uploads.chunk_min_length
    extra = [(b"oci-chunk-min-length", str(smallest).encode())] if smallest else []
    return _progress(202, context, request, session, extra)


async def append_chunk(context: Context, request: Request, name: str, upload: str) -> Answer:
    """Add a chunk, or a stream of unknown length: 202; 416 out of order."""
    repository = parse_repository(name)
    await context.authorize(request, Action.PUSH, repository)
    try:
        session = await context.uploads.append(repository, upload, _chunk(request))
    except UploadOutOfOrder as error:
        return _out_of_order(context, request, repository, upload, error)
    return _progress(202, context, request, session)


async def finish_upload(context: Context, request: Request, name: str, upload: str) -> Answer:
    """Add the last chunk, if any, and make the upload a blob: 201; 400 if it hashes to something else."""
    repository = parse_repository(name)
    await context.authorize(request, Action.PUSH, repository)
    text = request.query("digest")
    if text is None:
        await context.uploads.find(repository, upload)
        raise DigestInvalid("the query needs digest=<algorithm>:<hex>: the digest of the whole blob")
    digest = parse_digest(text)
    try:
        await context.uploads.finish(
            repository,
            upload,
            digest,
            _chunk(request),
            actor=request.principal.name,
            origin=context.origin(request),
        )
    except UploadOutOfOrder as error:
        return _out_of_order(context, request, repository, upload, error)
    return _created(context, request, repository, digest)


async def get_upload(context: Context, request: Request, name: str, upload: str) -> Answer:
    """Say how much of an upload was received: 204."""
    repository = parse_repository(name)
    await context.authorize(request, Action.PUSH, repository)
    return _progress(204, context, request, await context.uploads.find(repository, upload))


async def cancel_upload(context: Context, request: Request, name: str, upload: str) -> Answer:
    """Forget an upload: 204."""
    repository = parse_repository(name)
    await context.authorize(request, Action.PUSH, repository)
    await context.uploads.cancel(repository, upload)
    return Reply(204)


async def _mount(context: Context, request: Request, repository: RepositoryName, digest: Digest) -> bool:
    text = request.query("from")
    try:
        source = None if text is None else parse_repository(text)
    except NameInvalid:
        return False  # a source that can't be is a source that is not there: the client uploads
    return await context.blobs.mount(repository, digest, source, request.principal, origin=context.origin(request))


def _chunk(request: Request) -> Chunk:
    """Return the body with its span, from Content-Range.

    Raises:
        UploadInvalid: Content-Range can't be read.
        SizeInvalid: Content-Length and Content-Range disagree.
    """
    header = request.header(b"content-range")
    if header is None:
        return Chunk(request.body(), source=request.source)
    first, last = parse_content_range(header)
    length = parse_length(request.header(b"content-length"))
    if length is not None and length != last - first + 1:
        raise SizeInvalid(f"Content-Length is {length}, Content-Range has {last - first + 1} bytes")
    return Chunk(request.body(), (first, last), request.source)


def _created(context: Context, request: Request, repository: RepositoryName, digest: Digest) -> Reply:
    location = context.location(request, f"/v2/{repository}/blobs/{digest}")
    return Reply(201, [(b"location", location), (b"docker-content-digest", digest.encode())])


def _progress(
    status: int,
    context: Context,
    request: Request,
    session: UploadSession,
    extra: list[tuple[bytes, bytes]] | None = None,
) -> Reply:
    return Reply(
        status, [*_position(context, request, session.repository, session.id, session.received), *(extra or [])]
    )


def _position(
    context: Context, request: Request, repository: RepositoryName, upload: str, received: int
) -> list[tuple[bytes, bytes]]:
    return [
        (b"location", context.location(request, f"/v2/{repository}/blobs/uploads/{upload}")),
        (b"range", range_header(received).encode()),
        (b"docker-upload-uuid", upload.encode()),
    ]


def _out_of_order(
    context: Context, request: Request, repository: RepositoryName, upload: str, error: UploadOutOfOrder
) -> Reply:
    """Return the refusal with where to go on, so that the client need not ask."""
    reply = error_reply(error)
    reply.headers = [*reply.headers, *_position(context, request, repository, upload, error.offset)]
    return reply
