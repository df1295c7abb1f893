"""Work under way: uploads, collection, copies, jobs, and what was taken over."""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    text,
)

from registry.db.tables.base import Id, Name, metadata

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
