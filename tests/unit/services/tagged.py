"""Tags in a repository of any database: pushed by the service that pushes, aged by hand."""

import json
import uuid
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, cast

from sqlalchemy import select, update

from auth.policy import OpenPolicy
from registry.db import retained_tags, retention
from registry.db.connection import Database, Transaction
from registry.db.retention import Policy
from registry.db.statements import Rows, Statement, parameter
from registry.db.tables import audit_entries, manifests, tags
from registry.drivers import build_imported
from registry.oci.names import RepositoryName, Tag
from registry.services.blobs import Blobs
from registry.services.deletion import Deletion
from registry.services.expiry_labels import ExpiryLabels
from registry.services.manifests import ManifestPush, Manifests
from registry.services.retention_policies import RetentionPolicies, find_policy
from registry.services.stores import Stores
from registry.services.tag_retention import Place, Retention
from registry.services.uploads import Uploads
from registry.settings import Settings
from storage.contents import Contents
from storage.digest import Digest, digest_bytes
from storage.memory import MemoryDriver
from tests.factories import OCI_INDEX

_CONTENT = Statement(select(manifests.c.content).where(manifests.c.digest == parameter("digest")))
_AGE = Statement(
    update(tags).values(updated_at=tags.c.updated_at - parameter("age")).where(tags.c.name == parameter("tag"))
)
_RUNS_TOLD = Statement(
    select(audit_entries.c.outcome, audit_entries.c.principal, audit_entries.c.detail)
    .where(audit_entries.c.action == parameter("action"))
    .order_by(audit_entries.c.id)
)
DAY = 86_400_000_000
BY = "user:somebody"


class Tagged:
    """A registry's services on a database that was started."""

    def __init__(self, database: Database) -> None:
        self.database = database
        driver = MemoryDriver()
        stores = Stores(database, driver, partial(build_imported, Settings()))
        self.blobs = Blobs(database, driver, stores, OpenPolicy(), Contents(0), hold_s=3600)
        self.uploads = Uploads(database, driver, self.blobs, max_sessions=1000, expire_s=3600)
        self.manifests = Manifests(database, sparse="allow", labels=ExpiryLabels(database, self.blobs))
        self.deletion = Deletion(database, hold_s=3600)
        self.policies = RetentionPolicies(database)
        self.retention = Retention(database, audited=True)

    async def push(
        self, repository: str, *tags: str, content: bytes | None = None, said: Mapping[str, str] = {}
    ) -> Digest:
        """Push an index that lists nothing, another each time, or this manifest."""
        if content is None:
            annotations = {"unique": uuid.uuid4().hex, **said}
            index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [], "annotations": annotations}
            content = json.dumps(index).encode()
        push = ManifestPush(RepositoryName(repository), digest_bytes(content), content, None, tuple(map(Tag, tags)), BY)
        await self.manifests.push(push)
        return push.digest

    async def content(self, digest: Digest) -> bytes:
        """The bytes of a manifest."""
        row = await self.database.first(_CONTENT, digest=digest)
        assert row is not None
        return bytes(row[0])

    async def tags(self, repository: str) -> list[str]:
        """The tags of a repository."""
        return [
            one.tag for one in await retained_tags.page(self.database, RepositoryName(repository), after="", limit=9999)
        ]

    async def runs_told(self) -> Rows:
        """Outcome, principal and detail of what the audit log has of runs."""
        return await self.database.all(_RUNS_TOLD, action="retention.run")

    async def policy(self, name: str, *rules: Mapping[str, Any], project: str = "", schedule: str = "") -> Policy:
        """Make a policy, and return it."""
        await self.policies.add(project, name, rules=list(rules), schedule=schedule, actor=BY)
        return await find_policy(self.database, project, name)


async def anybody(transaction: Transaction) -> None:
    """Let it go on."""


async def aged(tagged: Tagged, *names: str, days: float = 2) -> None:
    """Make tags older."""
    for name in names:
        await tagged.database.write(lambda tx, name=name: tx.run(_AGE, tag=name, age=int(days * DAY)))  # type: ignore[misc]  # a lambda's default


def interrupted(tagged: Tagged, number: int, meanwhile: Callable[[], Awaitable[object]]) -> Retention:
    """Retention to which something happens before its transaction of that number; the first begins the run."""
    return Retention(cast(Database, Between(tagged.database, number, meanwhile)), audited=True)


class Between:
    """A database, one of whose transactions waits until something else was done."""

    def __init__(self, database: Database, number: int, meanwhile: Callable[[], Awaitable[object]]) -> None:
        self._database = database
        self._left = number
        self._meanwhile = meanwhile

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    async def write(self, work: Any, **how: Any) -> Any:
        self._left -= 1
        if self._left == 0:
            await self._meanwhile()
        return await self._database.write(work, **how)


async def reasons(tagged: Tagged, policy: retention.Policy, after: Place | None = None) -> dict[str, str]:
    """What a dry run says of each tag."""
    return {
        one.facts.name: ("" if one.decision.stays else "goes: ") + one.decision.reason
        async for one, _ in tagged.retention.preview(policy, after)
    }
