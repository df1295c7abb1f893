"""What happened, and what can be undone: the stream of events, webhooks, history, what must stay and what may go."""

import secrets
import time

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the tables, and add the columns with their indexes."""
    _add_positions()
    _add_history()
    _create_event_stream()
    _create_webhooks()
    _create_deliveries()
    _create_locked_digests()
    _create_pulls()
    _create_retention_policies()
    _create_retention_runs()


def downgrade() -> None:
    """Drop them."""
    op.drop_table("retention_runs")
    op.drop_table("retention_policies")
    op.drop_table("pulls")
    op.drop_table("locked_digests")
    op.drop_table("deliveries")
    op.drop_table("webhooks")
    op.drop_table("event_stream")
    op.drop_index("ix_manifests_deleted", "manifests")
    op.drop_index("ix_tag_history_ended", "tag_history")
    op.drop_index("ix_tag_history_repository_id_started_at", "tag_history")
    for name in ("ended_cause", "ended_from", "started_from", "cause"):
        op.drop_column("tag_history", name)
    op.drop_index("ix_tags_expires_at", "tags")
    op.drop_column("tags", "expires_at")
    op.drop_index("ix_outbox_unplaced", "outbox")
    op.drop_index("uq_outbox_position", "outbox")
    op.drop_column("outbox", "position")


def _add_positions() -> None:
    op.add_column("outbox", sa.Column("position", sa.BigInteger(), nullable=True))
    placed, unplaced = sa.text("position IS NOT NULL"), sa.text("position IS NULL")
    op.create_index(
        "uq_outbox_position", "outbox", ["position"], unique=True, sqlite_where=placed, postgresql_where=placed
    )
    op.create_index("ix_outbox_unplaced", "outbox", ["id"], sqlite_where=unplaced, postgresql_where=unplaced)


def _add_history() -> None:
    op.add_column("tags", sa.Column("expires_at", sa.BigInteger(), nullable=True))
    expiring = sa.text("expires_at IS NOT NULL")
    op.create_index("ix_tags_expires_at", "tags", ["expires_at"], sqlite_where=expiring, postgresql_where=expiring)
    for name in ("cause", "started_from", "ended_from", "ended_cause"):
        op.add_column("tag_history", sa.Column(name, sa.Text(), nullable=False, server_default=sa.text("''")))
    op.create_index("ix_tag_history_repository_id_started_at", "tag_history", ["repository_id", "started_at"])
    ended = sa.text("ended_at IS NOT NULL")
    op.create_index(
        "ix_tag_history_ended",
        "tag_history",
        ["repository_id", "ended_at"],
        sqlite_where=ended,
        postgresql_where=ended,
    )
    deleted = sa.text("deleted_at IS NOT NULL")
    op.create_index(
        "ix_manifests_deleted",
        "manifests",
        ["repository_id", "deleted_at"],
        sqlite_where=deleted,
        postgresql_where=deleted,
    )


def _create_event_stream() -> None:
    op.create_table(
        "event_stream",
        sa.Column("id", sa.SmallInteger(), nullable=False, autoincrement=False),
        sa.Column("epoch", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_event_stream"),
    )
    columns = sa.column("id", sa.SmallInteger), sa.column("epoch", sa.Text), sa.column("position", sa.BigInteger)
    op.bulk_insert(sa.table("event_stream", *columns), [{"id": 1, "epoch": secrets.token_hex(6), "position": 0}])


def _create_webhooks() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", _ID, nullable=False),
        sa.Column("project_id", _ID, nullable=False),
        sa.Column("name", _NAME, nullable=False),
        sa.Column("is_file", sa.SmallInteger(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("options", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("missed", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("paused_at", sa.BigInteger(), nullable=True),
        sa.Column("paused_for", sa.Text(), nullable=False, server_default=sa.text("''")),
        sa.Column("absent_since", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.PrimaryKeyConstraint("id", name="pk_webhooks"),
        sa.UniqueConstraint("project_id", "name", name="uq_webhooks_project_id_name"),
        sqlite_autoincrement=True,
    )


def _create_deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("webhook_id", _ID, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("repository", _NAME, nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("faults", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("status", sa.BigInteger(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("took_ms", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("done_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("webhook_id", "position", name="pk_deliveries"),
        sa.ForeignKeyConstraint(["webhook_id"], ["webhooks.id"], name="fk_deliveries_webhook_id", ondelete="CASCADE"),
        sqlite_with_rowid=False,
    )
    for name, columns, those in (
        ("waiting", ["webhook_id", "repository", "position"], "state = 0"),
        ("due", ["webhook_id", "due_at"], "state = 0 AND due_at IS NOT NULL"),
        ("awaited", ["position"], "state = 0"),
        ("given_up", ["webhook_id", "position"], "state = 2"),
        ("over", ["state", "done_at"], "done_at IS NOT NULL"),
    ):
        where = sa.text(those)
        op.create_index(f"ix_deliveries_{name}", "deliveries", columns, sqlite_where=where, postgresql_where=where)


def _create_locked_digests() -> None:
    op.create_table(
        "locked_digests",
        sa.Column("repository_id", _ID, nullable=False),
        sa.Column("digest", _NAME, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("repository_id", "digest", name="pk_locked_digests"),
        sa.ForeignKeyConstraint(["repository_id"], ["repositories.id"], name="fk_locked_digests_repository_id"),
        sqlite_with_rowid=False,
    )


def _create_pulls() -> None:
    op.create_table(
        "pulls",
        sa.Column("manifest_id", _ID, nullable=False, autoincrement=False),
        sa.Column("pulled_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("manifest_id", name="pk_pulls"),
        sa.ForeignKeyConstraint(["manifest_id"], ["manifests.id"], name="fk_pulls_manifest_id", ondelete="CASCADE"),
    )
    # When what is tagged was pulled before is not known: as if just now, so that nothing goes for being unused.
    now = int(time.time() * 1_000_000)
    op.execute(f"INSERT INTO pulls (manifest_id, pulled_at) SELECT DISTINCT manifest_id, {now} FROM tags")


def _create_retention_policies() -> None:
    op.create_table(
        "retention_policies",
        sa.Column("id", _ID, nullable=False),
        sa.Column("project_id", _ID, nullable=False),
        sa.Column("name", _NAME, nullable=False),
        sa.Column("rules", sa.Text(), nullable=False),
        sa.Column("schedule", sa.Text(), nullable=False),
        sa.Column("enabled", sa.SmallInteger(), nullable=False, server_default=sa.text("1")),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.PrimaryKeyConstraint("id", name="pk_retention_policies"),
        sa.UniqueConstraint("project_id", "name", name="uq_retention_policies_project_id_name"),
    )
    op.create_index("ix_retention_policies_due_at", "retention_policies", ["due_at"])


def _create_retention_runs() -> None:
    op.create_table(
        "retention_runs",
        sa.Column("id", _ID, nullable=False),
        sa.Column("policy_id", _ID, nullable=False),
        sa.Column("began_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("kept", sa.BigInteger(), nullable=False),
        sa.Column("dropped", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_retention_runs"),
        sa.ForeignKeyConstraint(
            ["policy_id"], ["retention_policies.id"], name="fk_retention_runs_policy_id", ondelete="CASCADE"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_retention_runs_policy_id_id", "retention_runs", ["policy_id", "id"])
