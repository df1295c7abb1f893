"""What must stay, and what may go."""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from registry.db.tables.base import Id, Name, metadata

# Manifests that nobody deletes, and nothing collects, before they are unlocked.
locked_digests = Table(
    "locked_digests",
    metadata,
    Column("repository_id", Id, ForeignKey("repositories.id"), nullable=False),
    Column("digest", Name, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Text, nullable=False),
    PrimaryKeyConstraint("repository_id", "digest"),
    sqlite_with_rowid=False,
)

# When manifests were pulled last, written down in batches.
pulls = Table(
    "pulls",
    metadata,
    Column("manifest_id", Id, ForeignKey("manifests.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("pulled_at", BigInteger, nullable=False),
)

# Which tags stay. `project_id` 0: in the whole registry. `rules`: JSON. `schedule`: cron, empty for never by itself.
retention_policies = Table(
    "retention_policies",
    metadata,
    Column("id", Id, primary_key=True),
    Column("project_id", Id, nullable=False),
    Column("name", Name, nullable=False),
    Column("rules", Text, nullable=False),
    Column("schedule", Text, nullable=False),
    Column("enabled", SmallInteger, nullable=False, server_default=text("1")),
    Column("due_at", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("revision", BigInteger, nullable=False, server_default=text("0")),
    UniqueConstraint("project_id", "name"),
    Index(None, "due_at"),
)

# What a policy did, the newest runs of each. `outcome`: JSON, of bounded size.
retention_runs = Table(
    "retention_runs",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("policy_id", Id, ForeignKey("retention_policies.id", ondelete="CASCADE"), nullable=False),
    Column("began_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Column("kept", BigInteger, nullable=False),
    Column("dropped", BigInteger, nullable=False),
    Column("outcome", Text, nullable=False),
    Index(None, "policy_id", "id"),
    sqlite_autoincrement=True,
)
