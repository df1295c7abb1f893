"""A registry in this process whose collection is under test: a real database, bytes in memory, times of one's own."""

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from auth.policy import OpenPolicy
from auth.principal import ANONYMOUS
from registry.db.connection import Database, Transaction
from registry.db.sqlite import SqliteDatabase
from registry.db.sqlite_connection import connect
from registry.drivers import build_imported
from registry.oci.names import RepositoryName, Tag
from registry.services.blobs import Blobs
from registry.services.chunk import Chunk
from registry.services.collection import Collected, Collector
from registry.services.deletion import Deletion
from registry.services.manifests import ManifestPush, Manifests
from registry.services.retention import Rules
from registry.services.stores import Stores
from registry.services.uploads import Uploads
from registry.settings import Settings
from storage.contents import Contents
from storage.digest import Digest, digest_bytes
from storage.memory import MemoryDriver
from tests.factories import OCI_INDEX, OCI_MANIFEST, descriptor, image_manifest, index_manifest
from tests.support.databases import new_sqlite

HOUR = 3600 * 1_000_000
DAY = 24 * HOUR
AT_ONCE = Rules(grace=0, hold=0, window=0, untagged="collect")
"""Whatever nothing refers to goes."""
DEFAULTS = Rules(grace=24 * HOUR, hold=HOUR, window=14 * DAY)
"""The rules of the default settings."""


class Registry:
    """A registry. `rules`: what its collection obeys, and its holds."""

    def __init__(self, folder: Path, rules: Rules = AT_ONCE) -> None:
        new_sqlite(folder / "db")
        self.path = folder / "db"
        self.rules = rules
        self.database: Database = SqliteDatabase(self.path)
        self.driver = MemoryDriver()
        hold_s = rules.hold // 1_000_000
        self.stores = Stores(self.database, self.driver, partial(build_imported, Settings()))
        self.blobs = Blobs(self.database, self.driver, self.stores, OpenPolicy(), Contents(0), hold_s=hold_s)
        self.uploads = Uploads(self.database, self.driver, self.blobs, max_sessions=1000, expire_s=3600)
        self.manifests = Manifests(self.database, sparse="allow")
        self.deletion = Deletion(self.database, hold_s=hold_s)

    async def push_blob(self, repository: str, content: bytes) -> Digest:
        digest = digest_bytes(content)
        await self.uploads.push_whole(RepositoryName(repository), digest, Chunk(_one(content)), actor="test")
        return digest

    async def mount(self, repository: str, digest: Digest, source: str) -> bool:
        return await self.blobs.mount(RepositoryName(repository), digest, RepositoryName(source), ANONYMOUS)

    async def push(self, repository: str, content: bytes, *tags: str) -> Digest:
        """Push a manifest by its digest, and have these tags name it."""
        media_type = json.loads(content)["mediaType"]
        push = ManifestPush(
            RepositoryName(repository), digest_bytes(content), content, media_type, tuple(map(Tag, tags)), "test"
        )
        await self.manifests.push(push)
        return push.digest

    async def push_image(self, repository: str, *blobs: bytes, tag: str | None = None, **fields: Any) -> Digest:
        """Push blobs (a config and layers) and an image of them."""
        for content in blobs:
            await self.push_blob(repository, content)
        return await self.push(repository, image_manifest(blobs[0], blobs[1:], **fields), *([tag] if tag else []))

    async def push_index(self, repository: str, children: Sequence[bytes], tag: str | None = None) -> Digest:
        index = index_manifest([descriptor(child, OCI_MANIFEST) for child in children], media_type=OCI_INDEX)
        return await self.push(repository, index, *([tag] if tag else []))

    async def delete(self, repository: str, digest: Digest) -> None:
        await self.deletion.delete_manifest(RepositoryName(repository), digest, actor="test")

    async def untag(self, repository: str, tag: str) -> None:
        await self.deletion.delete_tag(RepositoryName(repository), Tag(tag), actor="test")

    async def collect(self, **changed: Any) -> Collected:
        """Collect by the registry's rules, as servers do; or by rules of which some are changed, as by hand."""
        collector = Collector(self.database, self.stores, replace(self.rules, **changed))
        return await collector.run(anybody, everything=bool(changed))

    def rows(self, query: str, *values: Any) -> list[Any]:
        """Run a statement on the database, and commit."""
        raw = connect(self.path)
        try:
            found: list[Any] = raw.execute(query, values).fetchall()
            return found
        finally:
            raw.close()

    def pass_time(self, microseconds: int) -> None:
        """Have everything happen so much earlier."""
        for table, columns in {
            "candidates": ("since", "due_at"),
            "links": ("linked_at", "held_until", "deleted_at"),
            "manifests": ("pushed_at", "deleted_at"),
            "tag_history": ("started_at", "ended_at"),
            "upload_sessions": ("created_at", "updated_at"),
        }.items():
            for column in columns:
                self.rows(f"UPDATE {table} SET {column} = {column} - ?", microseconds)

    def blob_digests(self, repository: str) -> set[Digest]:
        """The blobs that a repository links, hidden ones too."""
        query = (
            "SELECT digest FROM blobs JOIN links ON blob_id = blobs.id JOIN repositories ON repository_id ="
            " repositories.id WHERE name = ?"
        )
        return {row[0] for row in self.rows(query, repository)}

    def manifest_digests(self, repository: str) -> set[Digest]:
        """The manifests of a repository, hidden ones too."""
        query = "SELECT digest FROM manifests JOIN repositories ON repository_id = repositories.id WHERE name = ?"
        return {row[0] for row in self.rows(query, repository)}

    async def objects(self) -> set[str]:
        """The keys of all objects."""
        return {found.name async for found in self.driver.objects()}

    def counts(self) -> dict[str, int]:
        """How many rows there are in the tables that content is in; those without any are left out."""
        edges = ["manifest_blobs", "manifest_children", "sparse_edges"]
        tables = ["repositories", "blobs", "links", "manifests", *edges, "tags", "candidates", "doomed"]
        found = {table: self.rows(f"SELECT count(*) FROM {table}")[0][0] for table in tables}
        return {table: count for table, count in found.items() if count}


async def anybody(transaction: Transaction) -> None:
    """Let whoever asks go on."""


async def _one(content: bytes) -> AsyncIterator[bytes]:
    yield content
