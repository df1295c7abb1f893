"""The part of `fsck` that looks at the database alone: links, manifests with their edges, tags and repositories."""

from registry.db import blobs, candidates, edges, fsck, garbage, hidden, manifests, repairs, repositories, tags
from registry.db.candidates import Candidate, Cause, Kind
from registry.db.connection import Database, Reader, Transaction
from registry.db.edges import Edges
from registry.db.fsck import Edge, LinkFacts, ManifestFacts, TagFacts
from registry.db.jobs import clock
from registry.db.tags import Why
from registry.errors import ManifestInvalid
from registry.oci.manifests import Manifest, Role, parse_manifest
from registry.oci.names import RepositoryName
from registry.services import events
from registry.services.collection import judged_now
from registry.services.fsck_report import Problem, Report
from registry.services.retention import Keeper, Rules
from storage.digest import Digest, algorithm_of, digest_bytes

_ACTOR = "fsck"
_CAUSE = Why.REPAIR.value
_PAGE = 500
_FORGOTTEN = {
    Kind.LINK: (Problem.LINK_FORGOTTEN, Cause.MANIFEST_GONE, "nothing refers to it"),
    Kind.MANIFEST: (Problem.MANIFEST_FORGOTTEN, Cause.UNTAGGED, "nothing refers to it"),
    Kind.REPOSITORY: (Problem.REPOSITORY_FORGOTTEN, Cause.EMPTIED, "it is empty"),
}


class RowCheck:
    """Checks rows, and repairs them if it is told to.

    Manifests come first: their repair brings links back. Repositories come last: repairs may leave one empty.
    """

    def __init__(self, database: Database, rules: Rules, report: Report, *, repair: bool) -> None:
        self._database = database
        self._rules = rules
        self._report = report
        self._repair = repair

    async def run(self) -> None:
        """Look at every row. Raises Unavailable."""
        await self._manifests()
        await self._links()
        await self._tags()
        await self._repositories()

    async def _links(self) -> None:
        self._report.doing = "looking at links"
        after = (-1, -1)
        while page := await fsck.link_page(self._database, after=after, limit=_PAGE):
            for facts in page:
                self._report.looked_at["links"] += 1
                if facts.repository is None or facts.digest is None:
                    await self._dangling_link(facts)
                elif not facts.queued and await self._is_forgotten(
                    self._database, Kind.LINK, facts.repository_id, facts.blob_id
                ):
                    name = f"{facts.repository}@{facts.digest}"
                    await self._forgotten(Kind.LINK, facts.repository_id, facts.blob_id, name)
            after = (page[-1].repository_id, page[-1].blob_id)

    async def _dangling_link(self, found: LinkFacts) -> None:
        async def work(transaction: Transaction) -> bool | None:
            await repositories.lock_known(transaction, found.repository_id)
            facts = await fsck.link(transaction, found.repository_id, found.blob_id)
            if facts is None or (facts.repository is not None and facts.digest is not None):
                return None
            if self._repair:
                await repairs.remove_link(transaction, facts.repository_id, facts.blob_id)
            return self._repair

        done = await self._database.write(work, reserve=True)
        if done is not None:
            where = found.repository or f"repository {found.repository_id}"
            what = "a blob that is not there" if found.digest is None else "a repository that is not there"
            message = f"it links {what}"
            self._report.add(Problem.LINK_DANGLING, f"{where}@{found.digest or found.blob_id}", message, repaired=done)

    async def _is_forgotten(self, reader: Reader, kind: Kind, repository_id: int, item_id: int) -> bool:
        """Say whether collection would have to look at something and never will: it judges as collection does."""
        candidate = Candidate(kind, repository_id, item_id, Cause.UPLOADED, await clock(reader), None)
        judged = await judged_now(reader, candidate, self._rules)
        if judged is None or await candidates.find(reader, candidate) is not None:
            return False
        keeper, until = judged[1]
        return until is not None or keeper is Keeper.SETTING

    async def _forgotten(self, kind: Kind, repository_id: int, item_id: int, subject: str) -> None:
        async def work(transaction: Transaction) -> bool | None:
            await repositories.lock_known(transaction, repository_id)
            if not await self._is_forgotten(transaction, kind, repository_id, item_id):
                return None
            if self._repair:
                await candidates.add(transaction, kind, repository_id, item_id, _FORGOTTEN[kind][1])
            return self._repair

        done = await self._database.write(work, reserve=True)
        if done is not None:
            problem, _, why = _FORGOTTEN[kind]
            self._report.add(problem, subject, f"{why}, and collection would never look at it", repaired=done)

    async def _manifests(self) -> None:
        self._report.doing = "looking at manifests"
        after = 0
        while page := await fsck.manifest_page(self._database, after=after, limit=_PAGE):
            for facts in page:
                self._report.looked_at["manifests"] += 1
                await self._manifest(facts)
            after = page[-1].id

    async def _manifest(self, facts: ManifestFacts) -> None:
        if await _wrong_with(self._database, facts) is not None:
            await self._wrong_manifest(facts)
        elif not facts.queued and await self._is_forgotten(
            self._database, Kind.MANIFEST, facts.repository_id, facts.id
        ):
            await self._forgotten(Kind.MANIFEST, facts.repository_id, facts.id, f"{facts.repository}@{facts.digest}")

    async def _wrong_manifest(self, found: ManifestFacts) -> None:
        async def work(transaction: Transaction) -> tuple[Problem, str] | None:
            await repositories.lock_known(transaction, found.repository_id)
            facts = await fsck.manifest(transaction, found.id)
            if facts is None or facts.digest != found.digest:
                return None
            wrong = await _wrong_with(transaction, facts)
            if wrong is not None and self._repair:
                if facts.repository is None:
                    await repairs.forget(transaction, facts.repository_id, facts.id)
                    await garbage.remove_manifest(transaction, facts.id)
                elif wrong[0] is Problem.MANIFEST_EDGES:
                    await _record_edges(transaction, facts)
                else:
                    await _remove(transaction, facts, facts.repository)
            return wrong

        wrong = await self._database.write(work, reserve=True)
        if wrong is not None:
            where = found.repository or f"repository {found.repository_id}"
            self._report.add(wrong[0], f"{where}@{found.digest}", wrong[1], repaired=self._repair)

    async def _tags(self) -> None:
        self._report.doing = "looking at tags"
        after = (-1, "")
        while page := await fsck.tag_page(self._database, after=after, limit=_PAGE):
            for facts in page:
                self._report.looked_at["tags"] += 1
                if facts.digest is None or facts.deleted:
                    await self._wrong_tag(facts)
            after = (page[-1].repository_id, page[-1].name)

    async def _repositories(self) -> None:
        self._report.doing = "looking at repositories"
        after = 0
        while page := await fsck.repository_page(self._database, after=after, limit=_PAGE):
            for facts in page:
                self._report.looked_at["repositories"] += 1
                if not facts.kept:
                    await self._forgotten(Kind.REPOSITORY, facts.id, facts.id, facts.name)
            after = page[-1].id

    async def _wrong_tag(self, found: TagFacts) -> None:
        async def work(transaction: Transaction) -> TagFacts | None:
            await repositories.lock_known(transaction, found.repository_id)
            facts = await fsck.tag(transaction, found.repository_id, found.name)
            if facts is None or (facts.digest is not None and not facts.deleted):
                return None
            if self._repair:
                await _repair_tag(transaction, facts)
            return facts

        facts = await self._database.write(work, reserve=True)
        if facts is not None:
            problem = Problem.TAG_DANGLING if facts.digest is None else Problem.TAG_DELETED
            message = "it names a manifest that is not there" if facts.digest is None else "its manifest was deleted"
            where = facts.repository or f"repository {facts.repository_id}"
            self._report.add(problem, f"{where}:{facts.name}", message, repaired=self._repair)


async def _wrong_with(reader: Reader, facts: ManifestFacts) -> tuple[Problem, str] | None:
    """Return what is wrong with a manifest, and a sentence about it; None if nothing is, or if it is gone."""
    content = await fsck.content(reader, facts.id)
    if content is None:
        return None
    if facts.repository is None:
        return Problem.MANIFEST_DANGLING, "its repository is not there"
    if len(content) != facts.size or digest_bytes(content, algorithm_of(facts.digest)) != facts.digest:
        return Problem.MANIFEST_CONTENT, "its bytes do not hash to its digest"
    manifest = _parsed(content, facts)
    recorded = await fsck.edges(reader, facts.id)
    if not all(edge.whole for edge in recorded):
        return Problem.MANIFEST_EDGES, "it refers to rows that are not there"
    if manifest is not None and not _agree(manifest, recorded) and await fsck.content(reader, facts.id) is not None:
        return Problem.MANIFEST_EDGES, "what is recorded of what it refers to is not what it says"
    return None


def _parsed(content: bytes, facts: ManifestFacts) -> Manifest | None:
    """Return what a manifest says; None for one that is not accepted any more."""
    try:
        return parse_manifest(content, facts.media_type)
    except ManifestInvalid:
        return None


def _agree(manifest: Manifest, recorded: list[Edge]) -> bool:
    return {one.digest for one in manifest.references} == {edge.digest for edge in recorded}


async def _record_edges(transaction: Transaction, facts: ManifestFacts) -> None:
    """Record what a manifest refers to as if it were pushed, hidden things and quarantined ones too.

    What it was seen to refer to before keeps its place: a blob whose link is gone and whose row is there is linked.
    """
    content = await fsck.content(transaction, facts.id)
    manifest = None if content is None else _parsed(content, facts)
    if manifest is None:
        return
    was = {edge.digest: edge.blob_id for edge in await fsck.edges(transaction, facts.id)}
    new = Edges([], [], [])
    lost: list[int] = []
    for reference in manifest.references:
        child = None
        if reference.role is Role.CHILD:
            row = await manifests.find(transaction, facts.repository_id, Digest(reference.digest))
            child = None if row is None else row.id
        blob = await fsck.linked(transaction, facts.repository_id, reference.digest)
        before = was.get(reference.digest)
        if child is not None:
            new.children.append(child)
        elif blob is not None or before is not None:
            if blob is None and before is not None:
                lost.append(before)
            new.blobs.append((reference.role, blob or before or 0))
        else:
            new.sparse.append((reference.role, reference.digest))
    await candidates.add_edges(transaction, facts.id, since=await clock(transaction))
    for blob_id in lost:
        await blobs.link(transaction, facts.repository_id, blob_id, hold=0)
    await edges.replace(transaction, facts.id, facts.repository_id, new)
    await candidates.settle(transaction, facts.repository_id, facts.id, has_children=bool(new.children))


async def _remove(transaction: Transaction, facts: ManifestFacts, name: RepositoryName) -> None:
    """Remove a manifest whose bytes are wrong, so that a push brings it back; indexes that list it stay."""
    for tag in await tags.of_manifest(transaction, facts.id):
        await repairs.remove_tag(transaction, facts.repository_id, tag, actor=_ACTOR)
        await events.record(transaction, name, events.UNTAG, actor=_ACTOR, tag=tag, digest=facts.digest, cause=_CAUSE)
    await repairs.unlist(transaction, facts.id)
    since = await clock(transaction)
    await candidates.add_edges(transaction, facts.id, since=since)
    await garbage.remove_manifest(transaction, facts.id)
    await candidates.add_referrers(transaction, facts.repository_id, facts.digest, since=since)
    await events.record(
        transaction,
        name,
        events.DELETE,
        actor=_ACTOR,
        digest=facts.digest,
        media_type=facts.media_type,
        size=facts.size,
        cause=_CAUSE,
    )


async def _repair_tag(transaction: Transaction, facts: TagFacts) -> None:
    """Remove a tag that names nothing, or show again what it names, and tell of that."""
    if facts.digest is None:
        await repairs.remove_tag(transaction, facts.repository_id, facts.name, actor=_ACTOR)
        action = events.UNTAG
    else:
        await hidden.show(transaction, facts.manifest_id)
        action = events.UNDELETE
    if facts.repository is not None:
        tag = facts.name if facts.digest is None else None
        await events.record(
            transaction, facts.repository, action, actor=_ACTOR, digest=facts.digest, tag=tag, cause=_CAUSE
        )
