"""Who is told of events, and what became of it."""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
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

# An endpoint. `project_id` 0: events of the whole registry. `is_file`: from the settings, which decide; its row keeps
# how far it has come. `address`: scheme and host of its URL. `options`: JSON. `sealed`: the URL and what else must stay
# secret (key, headers, password), as JSON, sealed; null for those of the settings. All events up to `position` were
# delivered, passed over, or have a row in `deliveries`. `missed`: how many were dropped unseen. `absent_since`: when it
# was not in the settings any more. `revision` changes with what the others of these say that people set.
webhooks = Table(
    "webhooks",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("project_id", Id, nullable=False),
    Column("name", Name, nullable=False),
    Column("is_file", SmallInteger, nullable=False),
    Column("address", Text, nullable=False),
    Column("format", Text, nullable=False),
    Column("options", Text, nullable=False),
    Column("sealed", LargeBinary),
    Column("position", BigInteger, nullable=False),
    Column("missed", BigInteger, nullable=False, server_default=text("0")),
    Column("paused_at", BigInteger),
    Column("paused_for", Text, nullable=False, server_default=text("''")),
    Column("absent_since", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("revision", BigInteger, nullable=False, server_default=text("0")),
    UniqueConstraint("project_id", "name"),
    sqlite_autoincrement=True,
)

_waiting = text("state = 0")
_due = text("state = 0 AND due_at IS NOT NULL")
_given_up = text("state = 2")
_over = text("done_at IS NOT NULL")

# What became of an event at an endpoint. `state`: 0 waits (for its turn, or for `due_at`), 1 delivered, 2 given up.
# `faults`: tries that count towards the most that there are. `position` of the event orders them; `event_id` is what
# receivers know it by. Of those of a repository that wait, the first has `due_at`, and the others follow it.
deliveries = Table(
    "deliveries",
    metadata,
    Column("webhook_id", Id, ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("repository", Name, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("attempts", BigInteger, nullable=False),
    Column("faults", BigInteger, nullable=False),
    Column("due_at", BigInteger),
    Column("status", BigInteger),
    Column("error", Text),
    Column("took_ms", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Column("done_at", BigInteger),
    PrimaryKeyConstraint("webhook_id", "position"),
    Index(
        "ix_deliveries_waiting",
        "webhook_id",
        "repository",
        "position",
        sqlite_where=_waiting,
        postgresql_where=_waiting,
    ),
    Index("ix_deliveries_due", "webhook_id", "due_at", sqlite_where=_due, postgresql_where=_due),
    Index("ix_deliveries_awaited", "position", sqlite_where=_waiting, postgresql_where=_waiting),
    Index("ix_deliveries_given_up", "webhook_id", "position", sqlite_where=_given_up, postgresql_where=_given_up),
    Index("ix_deliveries_over", "state", "done_at", sqlite_where=_over, postgresql_where=_over),
    sqlite_with_rowid=False,
)
