"""The schema, once for SQLite and PostgreSQL.

Times are whole microseconds since the epoch, UTC, by the database's clock (`registry.db.statements.now`).
Names sort by bytes ("ASCIIbetical", as the specification lists tags), hence the C collation on PostgreSQL.
`docs/decisions/003-schema.md` says why it is cut this way.
"""

from registry.db.tables.base import metadata
from registry.db.tables.content import (
    blobs,
    links,
    manifest_blobs,
    manifest_children,
    manifests,
    repositories,
    sparse_edges,
    tag_history,
    tags,
)
from registry.db.tables.keeping import locked_digests, pulls, retention_policies, retention_runs
from registry.db.tables.records import audit_cursors, audit_entries, audit_seals, event_stream, outbox
from registry.db.tables.rights import (
    authority,
    credentials,
    grants,
    login_failures,
    projects,
    quota_items,
    roles,
    service_accounts,
    signing_keys,
    tag_rules,
    user_groups,
    users,
)
from registry.db.tables.webhooks import deliveries, webhooks
from registry.db.tables.work import (
    backups,
    candidates,
    doomed,
    imported_manifests,
    imported_tags,
    jobs,
    maintenance,
    stores,
    upload_sessions,
)

__all__ = [
    "audit_cursors",
    "audit_entries",
    "audit_seals",
    "authority",
    "backups",
    "blobs",
    "candidates",
    "credentials",
    "deliveries",
    "doomed",
    "event_stream",
    "grants",
    "imported_manifests",
    "imported_tags",
    "jobs",
    "links",
    "locked_digests",
    "login_failures",
    "maintenance",
    "manifest_blobs",
    "manifest_children",
    "manifests",
    "metadata",
    "outbox",
    "projects",
    "pulls",
    "quota_items",
    "repositories",
    "retention_policies",
    "retention_runs",
    "roles",
    "service_accounts",
    "signing_keys",
    "sparse_edges",
    "stores",
    "tag_history",
    "tag_rules",
    "tags",
    "upload_sessions",
    "user_groups",
    "users",
    "webhooks",
]
