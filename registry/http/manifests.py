"""`/v2/<name>/manifests/<tag-or-digest>` (spec, "Pulling manifests", "Pushing Manifests", "Deleting Manifests")."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from auth.policy import Action
from registry.db import manifests, repositories
from registry.db.connection import Reader
from registry.db.manifests import ManifestContent, ManifestHead
from registry.errors import (
    ContentLocked,
    DigestInvalid,
    ManifestInvalid,
    ManifestTooLarge,
    ManifestUnknown,
    NameUnknown,
    TagFixed,
    TooManyTags,
)
from registry.http.conditions import etag, matches
from registry.http.context import Context
from registry.http.ranges import parse_length
from registry.http.references import as_digest, existing_tag
from registry.http.replies import Answer, Reply, warning
from registry.http.request import Request
from registry.oci.names import RepositoryName, Tag, parse_repository, parse_tag
from registry.services.manifests import Accepted, Condition, ManifestPush
from storage.digest import Digest, algorithm_of, digest_bytes

Header = tuple[bytes, bytes]
Found = TypeVar("Found", ManifestContent, ManifestHead)


async def get_manifest(context: Context, request: Request, name: str, reference: str) -> Answer:
    """Send a manifest as it was pushed: 200, 304. Accept is not consulted: stored bytes are never converted."""
    repository = parse_repository(name)
    await context.authorize(request, Action.PULL, repository)
    found = await _find(context, repository, reference, manifests.content_by_tag, manifests.content_by_digest)
    tag = None if ":" in reference else reference
    context.note_pull(request, repository, tag, found.digest, found.media_type, len(found.content))
    return content_reply(request, found)


async def head_manifest(context: Context, request: Request, name: str, reference: str) -> Answer:
    """Say what a manifest is and how large: 200, 304."""
    repository = parse_repository(name)
    await context.authorize(request, Action.PULL, repository)
    return head_reply(
        request, await _find(context, repository, reference, manifests.head_by_tag, manifests.head_by_digest)
    )


def content_reply(request: Request, found: ManifestContent) -> Reply:
    """Return the answer to a GET of a manifest that was found."""
    if _is_known(request, found.digest):
        return Reply(304, _headers(found.digest))
    return Reply(200, [(b"content-type", found.media_type.encode()), *_headers(found.digest)], found.content)


def head_reply(request: Request, found: ManifestHead) -> Reply:
    """Return the answer to a HEAD."""
    if _is_known(request, found.digest):
        return Reply(304, _headers(found.digest))
    length = (b"content-length", str(found.size).encode())
    return Reply(200, [(b"content-type", found.media_type.encode()), length, *_headers(found.digest)])


async def put_manifest(context: Context, request: Request, name: str, reference: str) -> Answer:
    """Take a manifest and move its tags: 201; 404 if it refers to what is not there, 412, 413."""
    repository = parse_repository(name, context.settings.names.max_repository_length)
    await context.authorize_push(request, repository)
    named = as_digest(reference)
    tags = _tags(context, request, reference if named is None else None)
    for tag in tags:
        await context.authorize(request, Action.PUSH, repository, tag)
    may_overwrite = not tags or await context.policy.allows(request.principal, Action.OVERWRITE, repository)
    content = await _body(request, context.settings.manifests.max_size)
    digest = digest_bytes(content) if named is None else digest_bytes(content, algorithm_of(named))
    if named is not None and digest != named:
        raise DigestInvalid(
            f"the manifest hashes to {digest}, not to {named}", detail={"expected": named, "actual": digest}
        )
    push = ManifestPush(
        repository=repository,
        digest=digest,
        content=content,
        content_type=request.header(b"content-type"),
        tags=tags,
        actor=request.principal.name,
        condition=_condition(request),
        subjects=request.principal.subjects,
        may_overwrite=may_overwrite,
        origin=context.origin(request),
    )
    try:
        accepted = await context.manifests.push(push)
    except TagFixed as error:
        await _refuse(context, request, Action.OVERWRITE, repository, error)
        raise
    return Reply(201, _pushed_headers(context, request, push, accepted, tags if named is not None else ()))


async def delete_manifest(context: Context, request: Request, name: str, reference: str) -> Answer:
    """Remove a tag, or a manifest with all its tags: 202; 403 while an index lists the manifest."""
    repository = parse_repository(name)
    digest, origin = as_digest(reference), context.origin(request)
    actor, subjects = request.principal.name, request.principal.subjects
    await context.authorize(request, Action.DELETE, repository)
    try:
        if digest is None:
            tag = existing_tag(repository, reference)
            await context.deletion.delete_tag(repository, tag, actor=actor, subjects=subjects, origin=origin)
        else:
            await context.deletion.delete_manifest(repository, digest, actor=actor, subjects=subjects, origin=origin)
    except TagFixed as error:
        await _refuse(context, request, Action.DELETE, repository, error)
        raise
    except ContentLocked:
        context.note_denial(request, Action.DELETE, repository)
        raise
    return Reply(202)


async def _find(
    context: Context,
    repository: RepositoryName,
    reference: str,
    by_tag: Callable[[Reader, RepositoryName, Tag], Awaitable[Found | None]],
    by_digest: Callable[[Reader, RepositoryName, Digest], Awaitable[Found | None]],
) -> Found:
    digest = as_digest(reference)
    if digest is None:
        found = await by_tag(context.database, repository, existing_tag(repository, reference))
    else:
        found = await by_digest(context.database, repository, digest)
    if found is None:
        raise await _unknown(context, repository, reference)
    return found


def _tags(context: Context, request: Request, reference: str | None) -> tuple[Tag, ...]:
    """Return the tags to move: that of the path, or those of the `tag` parameters of a push by digest."""
    asked, longest = request.queries("tag"), context.settings.names.max_tag_length
    if reference is not None:
        if asked:
            raise ManifestInvalid("tag parameters go with a push by digest: put the tags in one place")
        return (parse_tag(reference, longest),)
    most = context.settings.manifests.max_tags
    if len(asked) > most:
        raise TooManyTags(f"{len(asked)} tags in one push; at most {most} are taken")
    return tuple(dict.fromkeys(parse_tag(tag, longest) for tag in asked))


async def _refuse(
    context: Context, request: Request, action: Action, repository: RepositoryName, error: TagFixed
) -> None:
    """Refuse what a tag is not open to, as what is not allowed is: who would be excepted is asked who they are.

    Returns where nothing that is known of whoever asks says why: then the error does.
    """
    await context.authorize(request, action, repository, Tag(error.tag))
    context.note_denial(request, action, repository)


async def _body(request: Request, largest: int) -> bytes:
    """Return the whole body, refusing it as early as its size shows."""
    announced = parse_length(request.header(b"content-length")) or 0
    if announced > largest:
        raise ManifestTooLarge(f"the manifest has {announced} bytes; at most {largest} are taken")
    content = bytearray()
    async for data in request.body():
        content += data
        if len(content) > largest:
            raise ManifestTooLarge(f"the manifest has more than {largest} bytes")
    return bytes(content)


def _condition(request: Request) -> Condition | None:
    must, must_not = request.header(b"if-match"), request.header(b"if-none-match")
    if must is None and must_not is None:
        return None

    def holds(current: Digest | None) -> bool:
        if must is not None and (current is None or not matches(must, etag(current), weak=False)):
            return False
        return must_not is None or current is None or not matches(must_not, etag(current), weak=True)

    return holds


def _pushed_headers(
    context: Context, request: Request, push: ManifestPush, accepted: Accepted, announced: tuple[Tag, ...]
) -> list[Header]:
    headers = [
        (b"location", context.location(request, f"/v2/{push.repository}/manifests/{push.digest}")),
        (b"docker-content-digest", push.digest.encode()),
    ]
    if accepted.manifest.subject is not None:
        headers.append((b"oci-subject", accepted.manifest.subject.encode()))
    if announced:
        headers.append((b"oci-tag", ", ".join(announced).encode()))
    if accepted.missing:
        headers.append(
            warning(f"{len(accepted.missing)} of the things this manifest refers to are not in the repository")
        )
    return headers


def _headers(digest: Digest) -> list[Header]:
    return [(b"docker-content-digest", digest.encode()), (b"etag", etag(digest).encode())]


def _is_known(request: Request, digest: Digest) -> bool:
    header = request.header(b"if-none-match")
    return header is not None and matches(header, etag(digest), weak=True)


async def _unknown(context: Context, repository: RepositoryName, reference: str) -> ManifestUnknown | NameUnknown:
    if await repositories.find(context.database, repository) is None:
        return NameUnknown(f"there is no repository {repository}", detail={"name": repository})
    return ManifestUnknown(f"{repository} has no manifest {reference}", detail={"reference": reference})
