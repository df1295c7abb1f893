"""A registry whose quotas are under test, and what should count in it: worked out here, row by row, in plain Python."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from auth.policy import OpenPolicy
from registry.db import projects
from registry.db.candidates import Cause, Kind
from registry.db.connection import Database
from registry.db.quota_items import Counts
from registry.drivers import build_imported
from registry.services.blobs import Blobs
from registry.services.deletion import Deletion
from registry.services.manifests import Manifests
from registry.services.quotas import Limits, Quotas
from registry.services.retention import Rules
from registry.services.stores import Stores
from registry.services.uploads import Uploads
from registry.settings import Settings
from storage.contents import Contents
from storage.memory import MemoryDriver
from tests.support.databases import Place, SqlitePlace
from tests.unit.services.collected import AT_ONCE, Registry

PROJECT = "m"


@dataclass(frozen=True)
class Used:
    """What counts: bytes and tags."""

    bytes: int
    tags: int


class Quoted(Registry):
    """A registry on any database, whose projects may have quotas. `in_projects`: no repository is without one."""

    def __init__(self, place: Place, database: Database, rules: Rules = AT_ONCE, *, in_projects: bool = False) -> None:
        self.place = place
        self.rules = rules
        self.database = database
        self.driver = MemoryDriver()
        hold_s = rules.hold // 1_000_000
        self.stores = Stores(database, self.driver, partial(build_imported, Settings()))
        contents = Contents(0)
        self.blobs = Blobs(
            database, self.driver, self.stores, OpenPolicy(), contents, hold_s=hold_s, in_projects=in_projects
        )
        self.uploads = Uploads(database, self.driver, self.blobs, max_sessions=1000, expire_s=3600)
        self.manifests = Manifests(database, sparse="allow", in_projects=in_projects)
        self.deletion = Deletion(database, hold_s=hold_s)
        self.quotas = Quotas(database)

    async def limit(
        self, most_bytes: int | None = 2**40, tags: int | None = 2**30, counts: Counts = Counts.VISIBLE
    ) -> None:
        """Give the project a quota, and count."""
        await self.database.write(lambda tx: projects.add(tx, PROJECT, actor="test"))
        if await self.quotas.set(PROJECT, Limits(most_bytes, tags, counts)):
            await self.quotas.count(PROJECT)

    def rows_of(self, *tables: str) -> dict[str, str]:
        """How many rows some tables have."""
        return {table: self.place.sql(f"SELECT count(*) FROM {table}")[0][0] for table in tables}

    async def used(self) -> Used:
        """What the project's row says."""
        found = await projects.known(self.database, PROJECT)
        return Used(found.used_bytes, found.used_tags)

    def should_use(self, counts: Counts = Counts.VISIBLE) -> Used:
        """What it should say."""
        return expected(self.place, counts)


def of_file(path: Path) -> SqlitePlace:
    """A place whose database is there already."""
    made = SqlitePlace.__new__(SqlitePlace)
    made.path = path
    return made


def expected(place: Place, counts: Counts, project: str = PROJECT) -> Used:
    """Work out what counts, from the rows as they are."""
    names = [(row[0], row[1]) for row in place.sql("SELECT id, name FROM repositories")]
    own = {one for one, name in names if name == project or name.startswith(f"{project}/")}
    manifests = {
        row[0]: row
        for row in place.sql("SELECT id, repository_id, digest, subject, size, deleted_at FROM manifests")
        if row[1] in own
    }
    tags = [row for row in place.sql("SELECT repository_id, manifest_id FROM tags") if row[0] in own]
    children = place.sql("SELECT manifest_id, child_id FROM manifest_children")
    sparse = place.sql("SELECT manifest_id, repository_id, digest FROM sparse_edges")
    seen = {one for one, row in manifests.items() if row[5] == ""}

    def is_reached(one: str) -> bool:
        _, repository, digest, subject, _, _ = manifests[one]
        return (
            any(tag[1] == one for tag in tags)
            or any(child == one and parent in seen for parent, child in children)
            or any(edge[1:] == (repository, digest) and edge[0] in seen for edge in sparse)
            or any(manifests[other][1:3] == (repository, subject) for other in seen)
        )

    counting = set(manifests) if counts is Counts.ALL else seen
    if counts is Counts.TAGGED:
        counting = {one for one in seen if is_reached(one)}
    edges = place.sql("SELECT manifest_id, repository_id, blob_id FROM manifest_blobs")
    gone = {
        (row[0], row[1])
        for row in place.sql(
            f"SELECT repository_id, item_id FROM candidates WHERE kind = {int(Kind.LINK)}"
            f" AND cause = {int(Cause.MANIFEST_GONE)}"
        )
    }
    sizes = {row[0]: int(row[1]) for row in place.sql("SELECT id, size FROM blobs")}
    blobs = set()
    for repository, blob, deleted in place.sql("SELECT repository_id, blob_id, deleted_at FROM links"):
        referring = {edge[0] for edge in edges if edge[1:] == (repository, blob)}
        live = referring & counting if referring else (repository, blob) not in gone
        if repository in own and (counts is Counts.ALL or (deleted == "" and live)):
            blobs.add(blob)
    total = sum(int(manifests[one][4]) for one in counting) + sum(sizes[one] for one in blobs)
    return Used(total, len(tags))
