"""`/v2/<name>/referrers/<digest>` (spec, "Listing Referrers")."""

import re
from functools import partial

from auth.policy import Action
from registry.db import manifests, past
from registry.errors import QueryInvalid
from registry.http.context import Context
from registry.http.paging import Page, next_link, parse_page
from registry.http.replies import Answer, Reply
from registry.http.request import Request
from registry.oci.media_types import OCI_INDEX
from registry.oci.names import RepositoryName, parse_repository
from registry.oci.referrers import index_of
from storage.digest import Digest, parse_digest

_POSITION = re.compile(r"[0-9]{1,18}\Z")
_BATCH = 100
_PAGE_BYTES = 1024 * 1024


async def list_referrers(context: Context, request: Request, name: str, digest: str) -> Answer:
    """List what refers to a digest, there or not: always 200, since a 404 sends clients to the tag schema."""
    repository, subject = parse_repository(name), parse_digest(digest)
    await context.authorize(request, Action.PULL, repository)
    return await referrers_reply(context, request, repository, subject)


async def referrers_reply(
    context: Context, request: Request, repository: RepositoryName, subject: Digest, *, at: int | None = None
) -> Answer:
    """Return the list for somebody who may see it; with what was deleted since a moment, if `at` says one."""
    page, artifact_type = parse_page(context, request), request.query("artifactType") or None
    descriptors, last = await _collect(context, repository, subject, artifact_type, page, at)
    headers = [(b"content-type", OCI_INDEX.encode())]
    if artifact_type is not None:
        headers.append((b"oci-filters-applied", b"artifactType"))
    if last is not None:
        headers.append(next_link(context, request, page, str(last), artifactType=artifact_type))
    return Reply(200, headers, index_of(descriptors))


async def _collect(
    context: Context,
    repository: RepositoryName,
    subject: Digest,
    artifact_type: str | None,
    page: Page,
    at: int | None,
) -> tuple[list[str], int | None]:
    """Return the page's descriptors as JSON, and where the next page begins, if there is one.

    Annotations can be large, so a page ends at about a mebibyte too.
    """
    descriptors: list[str] = []
    if page.limit == 0:
        return descriptors, None
    find = manifests.referrers if at is None else partial(past.referrers, at=at)
    after, size = _position(page.after), 0
    while True:
        batch = await find(
            context.database, repository, subject, artifact_type=artifact_type, after=after, limit=_BATCH
        )
        for position, descriptor in batch:
            if descriptors and (len(descriptors) == page.limit or size + len(descriptor) > _PAGE_BYTES):
                return descriptors, after
            descriptors.append(descriptor)
            after, size = position, size + len(descriptor)
        if len(batch) < _BATCH:
            return descriptors, None


def _position(text: str) -> int:
    if text and not _POSITION.match(text):
        raise QueryInvalid("last: follow the Link header instead of making up positions")
    return int(text or 0)
