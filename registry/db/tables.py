"""The schema, once for SQLite and PostgreSQL.

Times are whole microseconds since the epoch, UTC, by the database's clock (`registry.db.statements.now`).
Names sort by bytes ("ASCIIbetical", as the specification lists tags), hence the C collation on PostgreSQL.
`docs/decisions/003-schema.md` says why it is cut this way.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Id = BigInteger().with_variant(Integer(), "sqlite")
"""SQLite makes a column the row's own id only if its type is spelled INTEGER."""

Name = Text().with_variant(Text(collation="C"), "postgresql")

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

tags = Table(
    "tags",
    metadata,
    Column("repository_id", Id, ForeignKey("repositories.id"), nullable=False),
    Column("name", Name, nullable=False),
    Column("manifest_id", Id, ForeignKey("manifests.id"), nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("repository_id", "name"),
    Index(None, "manifest_id"),
    sqlite_with_rowid=False,
)

# A row for each assignment of a tag, current (`ended_at` null) and past.
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
    Index(None, "repository_id", "tag", "started_at"),
    Index(None, "manifest_id"),
)

# `received` bytes are acknowledged; `digest` is the digest of exactly those. `state` is the driver's own. The
# repository is a name, not a reference: a session that comes to nothing leaves no repository behind.
upload_sessions = Table(
    "upload_sessions",
    metadata,
    Column("id", Name, primary_key=True),
    Column("repository", Name, nullable=False),
    Column("store", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("algorithm", Text, nullable=False),
    Column("received", BigInteger, nullable=False),
    Column("digest", Name, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index(None, "repository"),
    Index(None, "updated_at"),
)

# What nothing may need any more, queued by the transaction that made it so, until collection has looked at it. No
# foreign keys: what is not there any more is dropped when it is looked at. `due_at` null: kept by a setting.
candidates = Table(
    "candidates",
    metadata,
    Column("kind", SmallInteger, nullable=False),
    Column("repository_id", Id, nullable=False),
    Column("item_id", Id, nullable=False),
    Column("cause", SmallInteger, nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("due_at", BigInteger),
    PrimaryKeyConstraint("kind", "repository_id", "item_id"),
    Index(None, "kind", "due_at"),
    sqlite_with_rowid=False,
)

# Keys of objects whose row is gone and whose bytes are about to be. No blob ever gets such a key. `backup`: the newest
# of `backups` when the row went; those up to it may name the key.
doomed = Table(
    "doomed",
    metadata,
    Column("store", Text, nullable=False),
    Column("key", Name, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("backup", BigInteger, nullable=False, server_default=text("0")),
    PrimaryKeyConstraint("store", "key"),
    Index(None, "store", "backup", "key"),
    sqlite_with_rowid=False,
)

# Copies of this database, and marks that stand for copies made by other tools. `kind`: 0 a copy, 1 a mark, 2 an attempt
# that failed, which keeps nothing. While a row is there, and until `kept_until`, bytes stay that were doomed after it
# came. Ids are never used twice. `size`: of a copy that is whole and safe; null before.
backups = Table(
    "backups",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("name", Text, nullable=False, unique=True),
    Column("kind", SmallInteger, nullable=False),
    Column("made_at", BigInteger, nullable=False),
    Column("kept_until", BigInteger),
    Column("size", BigInteger),
    Column("error", Text),
    sqlite_autoincrement=True,
)

# What happened, written in the transaction that made it happen. Ids are never used twice. Its age needs no index: the
# oldest have the lowest ids, and every change pays for an index.
outbox = Table(
    "outbox",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("repository", Name, nullable=False),
    Column("action", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

# Background work: who may do it now, fenced by `generation`, and when it is due again.
jobs = Table(
    "jobs",
    metadata,
    Column("name", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("lease_until", BigInteger, nullable=False),
    Column("due_at", BigInteger, nullable=False),
)

# At most one row, and only while the registry is read-only.
maintenance = Table(
    "maintenance",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("since", BigInteger, nullable=False),
    Column("message", Text, nullable=False),
    Column("retry_after", Integer, nullable=False),
)

# Storages of other registries whose blobs are served where they lie. `place`: a folder's path. `imported_at`: when a
# run last came to its end. Until `finished_at` nothing in it may be deleted.
stores = Table(
    "stores",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("place", Text, nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
    Column("imported_at", BigInteger),
    Column("finished_at", BigInteger),
)

# What was recorded of another registry, so that a second run brings back nothing that was deleted here. The repository
# is a name: this outlives what it tells of, until the takeover is finished.
imported_manifests = Table(
    "imported_manifests",
    metadata,
    Column("store_id", Id, ForeignKey("stores.id"), nullable=False),
    Column("repository", Name, nullable=False),
    Column("digest", Name, nullable=False),
    PrimaryKeyConstraint("store_id", "repository", "digest"),
    sqlite_with_rowid=False,
)

# A tag as the takeover last set it, and when (`tags.updated_at`): one that differs now was changed here.
imported_tags = Table(
    "imported_tags",
    metadata,
    Column("store_id", Id, ForeignKey("stores.id"), nullable=False),
    Column("repository", Name, nullable=False),
    Column("tag", Name, nullable=False),
    Column("digest", Name, nullable=False),
    Column("set_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("store_id", "repository", "tag"),
    sqlite_with_rowid=False,
)
