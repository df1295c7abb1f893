"""`/v2/at-20261101t120000z/<name>/…`: a repository as its tags were at a moment, for reading. `docs/history.md`.

Who may pull from the repository may pull this. By digest there is what is there, and what was deleted since and can be
had back: a tag of then may name it.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from auth.errors import Denied
from auth.policy import Action
from auth.scopes import REPOSITORY, Bound, Scope
from registry.db import past, repositories
from registry.db.manifests import ManifestContent, ManifestHead
from registry.errors import ManifestUnknown, NameInvalid, NameUnknown
from registry.http.blobs import blob_reply, size_reply
from registry.http.context import Context
from registry.http.manifests import content_reply, head_reply
from registry.http.paging import next_link, parse_page
from registry.http.references import as_digest, existing_tag
from registry.http.referrers import referrers_reply
from registry.http.replies import Answer, json_reply
from registry.http.request import Request
from registry.oci.moments import EXPECTED, parse_moment_name
from registry.oci.names import RepositoryName, parse_repository
from registry.services.moments import check_moment, shown
from storage.digest import parse_digest

Found = TypeVar("Found", ManifestContent, ManifestHead)


async def get_manifest(context: Context, request: Request, name: str, reference: str) -> Answer:
    """Send a manifest as it was pushed: 200, 304."""
    repository, at = await _enter(context, request, name)
    found = await _find(context, repository, reference, at, past.content)
    tag = None if ":" in reference else reference
    context.note_pull(request, repository, tag, found.digest, found.media_type, len(found.content))
    return content_reply(request, found)


async def head_manifest(context: Context, request: Request, name: str, reference: str) -> Answer:
    """Say what a manifest is and how large: 200, 304."""
    repository, at = await _enter(context, request, name)
    return head_reply(request, await _find(context, repository, reference, at, past.head))


async def get_blob(context: Context, request: Request, name: str, digest: str) -> Answer:
    """Send a blob or one range of it: 200, 206, 304, 307, 416."""
    repository, at = await _enter(context, request, name)
    return await blob_reply(context, request, repository, parse_digest(digest), at=at)


async def head_blob(context: Context, request: Request, name: str, digest: str) -> Answer:
    """Say whether a blob is there, and how large: 200. Nobody can push on the strength of it."""
    repository, at = await _enter(context, request, name)
    wanted = parse_digest(digest)
    return size_reply(request, wanted, await context.blobs.size_at(repository, wanted, at))


async def list_tags(context: Context, request: Request, name: str) -> Answer:
    """List the tags of then in order of their bytes: 200, with a Link to the next page where there is one."""
    repository, at = await _enter(context, request, name)
    page = parse_page(context, request)
    await _exists(context, repository)
    found = await past.tags(context.database, repository, at=at, after=page.after, limit=page.limit + 1)
    listed = found[: page.limit]
    link = [next_link(context, request, page, listed[-1])] if listed and len(found) > page.limit else []
    return json_reply(200, {"name": name, "tags": listed}, link)


async def list_referrers(context: Context, request: Request, name: str, digest: str) -> Answer:
    """List what refers to a digest: always 200."""
    repository, at = await _enter(context, request, name)
    return await referrers_reply(context, request, repository, parse_digest(digest), at=at)


async def refuse(context: Context, request: Request, name: str, **rest: str) -> Answer:
    """Change nothing: 403, for those who may pull."""
    await _enter(context, request, name)
    raise Denied(f"{name} is what was there then: nothing can be pushed to it, and nothing deleted")


async def _enter(context: Context, request: Request, name: str) -> tuple[RepositoryName, int]:
    """Return the repository and the moment, if whoever asks may pull from it.

    Raises:
        NameInvalid: it says no moment, or no repository.
        MomentUnknown: the moment has not come yet, or is too long ago.
        Unauthenticated, InsufficientScope, Denied: as pulling from the repository.
    """
    first, _, rest = name.partition("/")
    at = parse_moment_name(first)
    if at is None:
        raise NameInvalid(f"repository name {name[:80]!r}: names that begin like this stand for a moment: {EXPECTED}")
    repository = parse_repository(rest)
    bound, is_ours = request.principal.bound, context.settings.auth.token.realm is None
    if is_ours and bound is not None and bound.covers(Action.PULL, name):
        # A token is for the name that its client pulls. It was given to those who may pull from the repository, and
        # theirs is still asked. Another token server knows of no moments: to that it is a name that anybody may have.
        own = Scope(REPOSITORY, repository, frozenset({str(Action.PULL)}))
        request.principal = replace(request.principal, bound=Bound([own]))
    await context.authorize(request, Action.PULL, repository)
    await check_moment(context.database, at, window_s=context.settings.history.window)
    return repository, at


async def _find(
    context: Context, repository: RepositoryName, reference: str, at: int, query: Callable[..., Awaitable[Found | None]]
) -> Found:
    digest = as_digest(reference)
    if digest is not None:
        found = await query(context.database, repository, digest, at=at)
        if found is None:
            await _exists(context, repository)
            raise ManifestUnknown(f"{repository} had no manifest {digest} at {shown(at)}")
        return found
    tag = existing_tag(repository, reference)
    named = await past.tag(context.database, repository, tag, at=at)
    if named is None:
        await _exists(context, repository)
        raise ManifestUnknown(f"{repository} had no tag {tag} at {shown(at)}", detail={"reference": tag})
    found = await query(context.database, repository, named, at=at)
    if found is None:
        raise ManifestUnknown(
            f"{repository}:{tag} was {named} at {shown(at)}, which is gone for good", detail={"reference": tag}
        )
    return found


async def _exists(context: Context, repository: RepositoryName) -> None:
    """Return if there is such a repository. Raises NameUnknown."""
    if await repositories.find(context.database, repository) is None:
        raise NameUnknown(f"there is no repository {repository}", detail={"name": repository})
