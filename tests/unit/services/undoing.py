"""A registry on either database whose history is under test: pushes, deletions, and what undoes them."""

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from auth.policy import OpenPolicy, Policy
from auth.principal import Principal
from registry.db import jobs, past
from registry.db.connection import Database, Transaction
from registry.drivers import build_imported
from registry.oci.names import RepositoryName, Tag
from registry.services.audit import Origin
from registry.services.blobs import Blobs
from registry.services.chunk import Chunk
from registry.services.collection import Collected, Collector
from registry.services.deletion import Deletion
from registry.services.manifests import ManifestPush, Manifests
from registry.services.purge import Purge, Purged, Purger
from registry.services.retention import Rules
from registry.services.rollback import Outcome, Rollback, Target, Wanted
from registry.services.stores import Stores
from registry.services.tag_rights import TagRights, tag_rights
from registry.services.undelete import Undelete, Undeleted
from registry.services.uploads import Uploads
from registry.settings import Settings
from storage.contents import Contents
from storage.digest import Digest, digest_bytes
from storage.memory import MemoryDriver
from tests.factories import image_manifest

DAY_S = 86400
GREEDY = Rules(grace=0, hold=0, window=DAY_S * 1_000_000, untagged="collect")
"""All goes at once that nothing keeps but the history window."""
WHO = Principal("user:test")
FROM = Origin("192.0.2.7", "request")


class Registry:
    """A registry on a database that is started already. Collection keeps nothing but for the sake of history."""

    def __init__(self, database: Database, *, hold_s: int = 0) -> None:
        self.database = database
        self.driver = MemoryDriver()
        self.policy: Policy = OpenPolicy()
        self._hold_s = hold_s
        self._build()
        self.manifests = Manifests(database, sparse="deny")
        self.deletion = Deletion(database, hold_s=hold_s)
        self.rolling_back = Rollback(database, window_s=DAY_S)

    def _build(self) -> None:
        self.stores = Stores(self.database, self.driver, partial(build_imported, Settings()))
        self.blobs = Blobs(self.database, self.driver, self.stores, OpenPolicy(), Contents(0), hold_s=self._hold_s)
        self.uploads = Uploads(self.database, self.driver, self.blobs, max_sessions=1000, expire_s=3600)

    def share(self, other: "Registry") -> None:
        """Have the storage of another registry on the same database."""
        self.driver = other.driver
        self._build()

    async def push_blob(self, repository: str, content: bytes) -> Digest:
        digest = digest_bytes(content)
        await self.uploads.push_whole(RepositoryName(repository), digest, Chunk(_one(content)), actor="test")
        return digest

    async def push(self, repository: str, content: bytes, *tags: str) -> Digest:
        """Push a manifest by its digest, and have these tags name it."""
        push = ManifestPush(
            RepositoryName(repository),
            digest_bytes(content),
            content,
            json.loads(content)["mediaType"],
            tuple(map(Tag, tags)),
            WHO.name,
            origin=FROM,
        )
        await self.manifests.push(push)
        return push.digest

    async def push_image(self, repository: str, *blobs: bytes, tag: str | None = None) -> Digest:
        for content in blobs:
            await self.push_blob(repository, content)
        return await self.push(repository, image_manifest(blobs[0], blobs[1:]), *([tag] if tag else []))

    async def delete(self, repository: str, digest: str) -> None:
        await self.deletion.delete_manifest(RepositoryName(repository), Digest(digest), actor=WHO.name, origin=FROM)

    async def untag(self, repository: str, tag: str) -> None:
        await self.deletion.delete_tag(RepositoryName(repository), Tag(tag), actor=WHO.name, origin=FROM)

    async def rights(self, repository: str) -> TagRights:
        return await tag_rights(self.policy, WHO, RepositoryName(repository), origin=FROM)

    async def roll_back(
        self,
        repository: str,
        *,
        at: int | None = None,
        digest: Digest | None = None,
        tag: str | None = None,
        **how: Any,
    ) -> Outcome:
        wanted = Wanted(Target(at, digest), None if tag is None else Tag(tag), **how)
        return await self.rolling_back.repository(await self.rights(repository), wanted)

    async def undelete(self, repository: str, digest: Digest, *, with_tags: bool = True) -> Undeleted:
        return await Undelete(self.database).manifest(await self.rights(repository), digest, with_tags=with_tags)

    async def purge(self, repository: str, digest: Digest) -> Purged:
        return await Purge(self.database).digest(RepositoryName(repository), digest, Purger(self.policy, WHO, FROM))

    async def collect(self, rules: Rules = GREEDY) -> Collected:
        return await Collector(self.database, self.stores, rules).run(_anybody, everything=True)

    async def moment(self) -> int:
        """Return a moment at which nothing happens: databases have clocks of milliseconds, some."""
        await asyncio.sleep(0.002)
        now = await jobs.clock(self.database)
        await asyncio.sleep(0.002)
        return now

    async def tags_at(self, repository: str, at: int) -> dict[str, Digest]:
        """Return what all tags were at a moment."""
        name = RepositoryName(repository)
        listed = await past.tags(self.database, name, at=at, after="", limit=1000)
        found = {tag: await past.tag(self.database, name, Tag(tag), at=at) for tag in listed}
        return {tag: digest for tag, digest in found.items() if digest is not None}

    async def pull_at(self, repository: str, digest: str, at: int) -> list[bytes]:
        """Return a manifest as it is to be had at a moment, with all that it refers to."""
        name = RepositoryName(repository)
        manifest = await past.content(self.database, name, Digest(digest), at=at)
        assert manifest is not None, f"{digest} is not to be had"
        found, document = [manifest.content], json.loads(manifest.content)
        for child in document.get("manifests", []):
            found += await self.pull_at(repository, child["digest"], at)
        parts = [document["config"], *document["layers"]] if "config" in document else []
        for part in parts:
            reader = await self.blobs.open(name, Digest(part["digest"]), at=at)
            content = reader.read_now(0, reader.size)
            reader.close()
            assert content is not None and digest_bytes(content) == part["digest"]
            found.append(content)
        return found


async def _anybody(transaction: Transaction) -> None:
    """Let whoever asks go on."""


async def _one(content: bytes) -> AsyncIterator[bytes]:
    yield content
