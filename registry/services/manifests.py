"""Pushing manifests: what they refer to must be there, and the tag moves in the same transaction."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from auth.roles import Action
from registry.db import blobs, candidates, jobs, manifests, tags
from registry.db import edges as edges_of
from registry.db.candidates import Cause, Kind
from registry.db.connection import Database, Transaction
from registry.db.edges import Edges
from registry.db.tags import CurrentTag, Move, Why
from registry.errors import ManifestInvalid, ManifestReferenceUnknown, PreconditionFailed, TagFixed
from registry.oci.manifests import Manifest, Reference, Role, parse_manifest
from registry.oci.names import RepositoryName, Tag
from registry.oci.referrers import descriptor_of
from registry.services import events
from registry.services.audit import Origin, address_of
from registry.services.counting import Counting, counting
from registry.services.expiry_labels import ExpiryLabels
from registry.services.tag_guard import NOBODY, TagGuard
from storage.digest import Digest

Sparse = Literal["deny", "index", "allow"]
_INLINE_LIMIT = 128 * 1024
Found = dict[str, tuple[int, int]]
Before = tuple[Tag, CurrentTag | None]


Condition = Callable[[Digest | None], bool]
"""Asked, inside the transaction, with what the target (the tag, or the digest itself) names now: may the push go on?"""


@dataclass(frozen=True, slots=True)
class ManifestPush:
    """A push: where to, the bytes as they came, the tags to move, and who asks.

    Attributes:
        subjects: whom rules about tags may make an exception for.
        may_overwrite: whether whoever asks may move tags at all; rules are asked beside it.
        cause: why the tags move, for their history.
        origin: the request; None where there was none.
    """

    repository: RepositoryName
    digest: Digest
    content: bytes
    content_type: str | None
    tags: tuple[Tag, ...]
    actor: str
    condition: Condition | None = None
    subjects: frozenset[str] = NOBODY
    may_overwrite: bool = True
    cause: str = Why.PUSH.value
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of a push: the manifest as it was understood, and what it refers to that is not there."""

    manifest: Manifest
    missing: tuple[str, ...]


class Manifests:
    """Pushing manifests into all repositories.

    Args:
        in_projects: repositories are made in projects that are there, and nowhere else.
        labels: finds out when tags are to go by themselves; without it none does.
    """

    def __init__(
        self, database: Database, *, sparse: Sparse, in_projects: bool = False, labels: ExpiryLabels | None = None
    ) -> None:
        self._database = database
        self._in_projects = in_projects
        self._sparse = sparse
        self._labels = labels

    async def push(self, push: ManifestPush) -> Accepted:
        """Record a manifest and move its tags, in one transaction.

        Raises:
            ManifestInvalid: the bytes are not what they claim to be, or state a wrong size of what they refer to.
            ManifestReferenceUnknown: what it refers to is not in the repository.
            PreconditionFailed: the condition does not hold.
            TagFixed: a tag names another manifest, and may not be moved, by whoever asks or by anybody.
            QuotaExceeded: the project has no room for the manifest, or for one more tag.
            RecordUnknown: the project was removed.
        """
        manifest = await _parse(push)
        lifetime = None
        if push.tags and self._labels is not None:
            lifetime = await self._labels.lifetime(push.repository, manifest)

        async def work(transaction: Transaction) -> Accepted:
            repository_id = await events.enter(
                transaction, push.repository, actor=push.actor, origin=push.origin, in_project=self._in_projects
            )
            counted = await counting(transaction, push.repository, repository_id)
            await _check_condition(transaction, repository_id, push)
            before = await _check_fixed(transaction, repository_id, push)
            edges, missing = await resolve(transaction, repository_id, manifest)
            refused = [one.digest for one in missing if not may_be_missing(self._sparse, one)]
            if refused:
                raise ManifestReferenceUnknown(refused)
            manifest_id = await record(transaction, counted, manifest, push, edges)
            if not push.tags:
                await candidates.add(transaction, Kind.MANIFEST, repository_id, manifest_id, Cause.UNTAGGED)
            await _move_tags(transaction, counted, manifest_id, manifest, push, before, lifetime)
            await counted.settle(transaction, bound=True)
            return Accepted(manifest, tuple(one.digest for one in missing))

        return await self._database.write(work)


async def resolve(
    transaction: Transaction, repository_id: int, manifest: Manifest
) -> tuple[Edges, tuple[Reference, ...]]:
    """Return the manifest's edges, and what should be there and is not.

    A child may be a blob: BuildKit's cache indexes list layers. A non-distributable layer may be absent; its edge
    is kept all the same, for the day it is pushed.

    Raises:
        ManifestInvalid: something has another size than the manifest says.
    """
    digests = [reference.digest for reference in manifest.references]
    found_blobs = await blobs.find_several(transaction, repository_id, digests) if digests else {}
    children = [reference.digest for reference in manifest.references if reference.role is Role.CHILD]
    found_children = await manifests.find_several(transaction, repository_id, children) if children else {}
    edges = Edges([], [], [])
    missing: list[Reference] = []
    for reference in manifest.references:
        if reference.role is Role.CHILD and reference.digest in found_children:
            edges.children.append(_checked(reference, found_children))
        elif reference.digest in found_blobs:
            edges.blobs.append((reference.role, _checked(reference, found_blobs)))
        else:
            edges.sparse.append((reference.role, reference.digest))
            if reference.distributable:
                missing.append(reference)
    return edges, tuple(missing)


def may_be_missing(sparse: Sparse, reference: Reference) -> bool:
    """Say whether the settings accept a manifest although this is not there."""
    return sparse == "allow" or (sparse == "index" and reference.role is Role.CHILD)


async def _parse(push: ManifestPush) -> Manifest:
    """Parse the bytes; many of them in a thread, since 4 MiB made to be slow take half a second."""
    if len(push.content) < _INLINE_LIMIT:
        return parse_manifest(push.content, push.content_type)
    return await asyncio.to_thread(parse_manifest, push.content, push.content_type)


def _checked(reference: Reference, found: Found) -> int:
    identity, size = found[reference.digest]
    if reference.size is not None and size != reference.size:
        raise ManifestInvalid(
            f"the manifest says that {reference.digest} has {reference.size} bytes, it has {size}",
            detail={"digest": reference.digest, "size": size},
        )
    return identity


async def _check_condition(transaction: Transaction, repository_id: int, push: ManifestPush) -> None:
    if push.condition is None:
        return
    current: Digest | None = None
    if push.tags:
        named = await tags.current(transaction, repository_id, push.tags[0])
        current = None if named is None else named.digest
    else:
        known = await manifests.find(transaction, repository_id, push.digest)
        current = None if known is None or known.deleted else known.digest
    if not push.condition(current):
        raise PreconditionFailed("it is not what the request expects it to be", detail={"digest": current})


async def _check_fixed(transaction: Transaction, repository_id: int, push: ManifestPush) -> list[Before]:
    """Return the tags with what they name now, if all may name what is pushed. Raises TagFixed.

    Asked while the repository is locked: nobody makes a tag between the question and the push.
    """
    before: list[Before] = []
    guard = TagGuard(push.repository, push.subjects)
    for tag in push.tags:
        named = await tags.current(transaction, repository_id, tag)
        before.append((tag, named))
        if named is None or named.digest == push.digest:
            continue
        if not push.may_overwrite:
            raise TagFixed(f"{push.repository} has a tag {tag}, which {push.actor} may not move", tag=tag)
        await guard.check(transaction, Action.OVERWRITE, tag)
    return before


async def record(
    transaction: Transaction, counted: Counting, manifest: Manifest, push: ManifestPush, edges: Edges
) -> int:
    """Record a manifest with its edges, or bring back one that was deleted, and return its id."""
    repository_id = counted.repository_id
    descriptor = None
    if manifest.subject is not None:
        descriptor = json.dumps(descriptor_of(manifest, push.digest, len(push.content)), separators=(",", ":"))
    known = await manifests.find(transaction, repository_id, push.digest)
    if known is None:
        manifest_id = await manifests.insert_manifest(
            transaction,
            repository_id=repository_id,
            digest=push.digest,
            media_type=manifest.media_type,
            artifact_type=manifest.artifact_type,
            subject=manifest.subject,
            descriptor=descriptor,
            content=push.content,
        )
        await edges_of.add(transaction, manifest_id, repository_id, edges)
        await candidates.settle(transaction, repository_id, manifest_id, has_children=bool(edges.children))
        await counted.touched(transaction, manifest_id)
        return manifest_id
    if known.deleted or known.media_type != manifest.media_type:
        await manifests.revive(
            transaction,
            known.id,
            media_type=manifest.media_type,
            artifact_type=manifest.artifact_type,
            subject=manifest.subject,
            descriptor=descriptor,
        )
        await counted.touched(transaction, known.id)
        await candidates.add_edges(transaction, known.id, since=await jobs.clock(transaction))
        await edges_of.replace(transaction, known.id, repository_id, edges)
        await candidates.settle(transaction, repository_id, known.id, has_children=bool(edges.children))
        await counted.touched(transaction, known.id)
    return known.id


async def _move_tags(
    transaction: Transaction,
    counted: Counting,
    manifest_id: int,
    manifest: Manifest,
    push: ManifestPush,
    before: list[Before],
    lifetime: int | None,
) -> None:
    facts: dict[str, Any] = {"digest": push.digest, "media_type": manifest.media_type, "size": len(push.content)}
    await events.record(
        transaction,
        push.repository,
        events.PUSH,
        actor=push.actor,
        origin=push.origin,
        references=manifest.references,
        tags=push.tags if len(push.tags) > 1 else (),
        subject=manifest.subject,
        artifact_type=manifest.artifact_type,
        tag=push.tags[0] if push.tags else None,
        **facts,
    )
    move = Move(push.actor, push.cause, address_of(push.origin))
    for tag, named in before:
        await counted.tagging(transaction, tag, manifest_id)
        moved = await tags.reassign(
            transaction,
            counted.repository_id,
            tag,
            named,
            manifest_id=manifest_id,
            digest=push.digest,
            move=move,
            lifetime=lifetime,
        )
        if moved is not None:
            await events.record(
                transaction,
                push.repository,
                events.TAG,
                actor=push.actor,
                origin=push.origin,
                tag=tag,
                previous=moved.previous,
                **facts,
            )
