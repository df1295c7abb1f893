"""Repositories, and what is in them: blobs, manifests, tags."""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from registry.db.tables.base import Id, Name, metadata

repositories = Table(
    "repositories",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Name, nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
)

# One row a digest, whoever links it. `state`: 0 good, 1 quarantined (never served, replaced by the next push).
# `verified_at`: when the bytes were last seen to hash to the digest; null for those that were only looked at, where
# another registry had stored them. The indexes hold next to nothing, so that pushes do not pay for them.
blobs = Table(
    "blobs",
    metadata,
    Column("id", Id, primary_key=True),
    Column("digest", Name, nullable=False, unique=True),
    Column("size", BigInteger, nullable=False),
    Column("store", Text, nullable=False),
    Column("key", Name, nullable=False),
    Column("state", SmallInteger, nullable=False, server_default=text("0")),
    Column("created_at", BigInteger, nullable=False),
    Column("verified_at", BigInteger),
    Index(None, "store", "key"),
    Index("ix_blobs_quarantined", "id", sqlite_where=text("state <> 0"), postgresql_where=text("state <> 0")),
    Index(
        "ix_blobs_unverified",
        "id",
        sqlite_where=text("verified_at IS NULL"),
        postgresql_where=text("verified_at IS NULL"),
    ),
)

# A blob is visible only through a link. Until `held_until` nothing collects it; a link that was deleted stays, hidden,
# while manifests that can still be had back refer to it.
links = Table(
    "links",
    metadata,
    Column("repository_id", Id, ForeignKey("repositories.id"), nullable=False),
    Column("blob_id", Id, ForeignKey("blobs.id"), nullable=False),
    Column("linked_at", BigInteger, nullable=False),
    Column("held_until", BigInteger, nullable=False),
    Column("deleted_at", BigInteger),
    PrimaryKeyConstraint("repository_id", "blob_id"),
    Index(None, "blob_id"),
    sqlite_with_rowid=False,
)

# `content` comes last: SQLite reads a row from its front, and a HEAD needs none of it. `subject` is a digest and no
# foreign key, since a referrer may be pushed before what it refers to. `descriptor`: what the referrers API shows.
manifests = Table(
    "manifests",
    metadata,
    Column("id", Id, primary_key=True),
    Column("repository_id", Id, ForeignKey("repositories.id"), nullable=False),
    Column("digest", Name, nullable=False),
    Column("media_type", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("artifact_type", Text),
    Column("subject", Name),
    Column("descriptor", Text),
    Column("pushed_at", BigInteger, nullable=False),
    Column("deleted_at", BigInteger),
    Column("content", LargeBinary, nullable=False),
    UniqueConstraint("repository_id", "digest"),
    Index(
        None,
        "repository_id",
        "subject",
        "id",
        sqlite_where=text("subject IS NOT NULL"),
        postgresql_where=text("subject IS NOT NULL"),
    ),
    Index(
        "ix_manifests_deleted",
        "repository_id",
        "deleted_at",
        sqlite_where=text("deleted_at IS NOT NULL"),
        postgresql_where=text("deleted_at IS NOT NULL"),
    ),
)

# Edges to blobs (config, layer, blob of an artifact): while a manifest is, its blobs are linked, by foreign key.
manifest_blobs = Table(
    "manifest_blobs",
    metadata,
    Column("manifest_id", Id, ForeignKey("manifests.id", ondelete="CASCADE"), nullable=False),
    Column("role", Text, nullable=False),
    Column("repository_id", Id, nullable=False),
    Column("blob_id", Id, nullable=False),
    PrimaryKeyConstraint("manifest_id", "role", "blob_id"),
    ForeignKeyConstraint(["repository_id", "blob_id"], ["links.repository_id", "links.blob_id"]),
    Index(None, "repository_id", "blob_id"),
    sqlite_with_rowid=False,
)

# Edges to the children of an index.
manifest_children = Table(
    "manifest_children",
    metadata,
    Column("manifest_id", Id, ForeignKey("manifests.id", ondelete="CASCADE"), nullable=False),
    Column("child_id", Id, ForeignKey("manifests.id"), nullable=False),
    PrimaryKeyConstraint("manifest_id", "child_id"),
    Index(None, "child_id"),
    sqlite_with_rowid=False,
)

# Edges to what was not there when the manifest was pushed, where the settings allow that. They stay when it comes.
sparse_edges = Table(
    "sparse_edges",
    metadata,
    Column("manifest_id", Id, ForeignKey("manifests.id", ondelete="CASCADE"), nullable=False),
    Column("role", Text, nullable=False),
    Column("digest", Name, nullable=False),
    Column("repository_id", Id, ForeignKey("repositories.id"), nullable=False),
    PrimaryKeyConstraint("manifest_id", "role", "digest"),
    Index(None, "repository_id", "digest"),
    sqlite_with_rowid=False,
)

# `expires_at`: when retention removes it, by a label of what it names.
tags = Table(
    "tags",
    metadata,
    Column("repository_id", Id, ForeignKey("repositories.id"), nullable=False),
    Column("name", Name, nullable=False),
    Column("manifest_id", Id, ForeignKey("manifests.id"), nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    PrimaryKeyConstraint("repository_id", "name"),
    Index(None, "manifest_id"),
    Index(
        None,
        "expires_at",
        sqlite_where=text("expires_at IS NOT NULL"),
        postgresql_where=text("expires_at IS NOT NULL"),
    ),
    sqlite_with_rowid=False,
)

# A row for each assignment of a tag, current (`ended_at` null) and past. `cause`: what assigned it, like push;
# `ended_cause`: what ended that. `started_from`, `ended_from`: addresses.
tag_history = Table(
    "tag_history",
    metadata,
    Column("id", Id, primary_key=True),
    Column("repository_id", Id, ForeignKey("repositories.id"), nullable=False),
    Column("tag", Name, nullable=False),
    Column("manifest_id", Id, ForeignKey("manifests.id", ondelete="SET NULL")),
    Column("digest", Name, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("started_by", Text, nullable=False),
    Column("ended_at", BigInteger),
    Column("ended_by", Text),
    Column("cause", Text, nullable=False, server_default=text("''")),
    Column("started_from", Text, nullable=False, server_default=text("''")),
    Column("ended_from", Text, nullable=False, server_default=text("''")),
    Column("ended_cause", Text, nullable=False, server_default=text("''")),
    Index(None, "repository_id", "tag", "started_at"),
    Index(None, "repository_id", "started_at"),
    Index(
        "ix_tag_history_ended",
        "repository_id",
        "ended_at",
        sqlite_where=text("ended_at IS NOT NULL"),
        postgresql_where=text("ended_at IS NOT NULL"),
    ),
    Index(None, "manifest_id"),
)
