"""What happened: events, and the audit log."""

from sqlalchemy import BigInteger, Column, Index, LargeBinary, SmallInteger, Table, Text, text

from registry.db.tables.base import Id, Name, metadata

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
    Column("position", BigInteger),
    Index(
        "uq_outbox_position",
        "position",
        unique=True,
        sqlite_where=text("position IS NOT NULL"),
        postgresql_where=text("position IS NOT NULL"),
    ),
    Index("ix_outbox_unplaced", "id", sqlite_where=text("position IS NULL"), postgresql_where=text("position IS NULL")),
    sqlite_autoincrement=True,
)

# The one stream of events: its epoch, another in each copy of the database that was brought back, and the last position
# that was given.
event_stream = Table(
    "event_stream",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("epoch", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
)

# Who did what. `count`: how often the same happened, for denials, which are joined. `detail`: JSON.
audit_entries = Table(
    "audit_entries",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("at", BigInteger, nullable=False),
    Column("action", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("principal", Name, nullable=False),
    Column("project", Name, nullable=False),
    Column("repository", Name, nullable=False),
    Column("address", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("count", BigInteger, nullable=False, server_default=text("1")),
    Column("detail", Text, nullable=False),
    Index(None, "at"),
    Index(None, "principal", "id"),
    Index(None, "project", "id"),
    sqlite_autoincrement=True,
)

# Batches of entries up to `last_id`, in a chain: `digest` is over the batch, `hash` over the seal and the hash before.
# Retention removes entries, whole batches of them, and never seals.
audit_seals = Table(
    "audit_seals",
    metadata,
    Column("last_id", BigInteger, primary_key=True, autoincrement=False),
    Column("entries", BigInteger, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("sealed_at", BigInteger, nullable=False),
)

# The last entry that was written to a place outside of the database.
audit_cursors = Table(
    "audit_cursors",
    metadata,
    Column("name", Name, primary_key=True),
    Column("last_id", BigInteger, nullable=False),
)
