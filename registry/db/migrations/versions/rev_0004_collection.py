"""Collection: the queue of what nothing may need any more, filled with what there is of it, and the keys to delete."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
NOW = {
    "sqlite": "CAST(unixepoch('subsec') * 1000000 AS INTEGER)",
    "postgresql": "CAST(extract(epoch from clock_timestamp()) * 1000000 AS BIGINT)",
}


def upgrade() -> None:
    """Create both tables. What is queued here counts from now on, but for what was deleted."""
    op.create_table(
        "candidates",
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        sa.Column("repository_id", ID, nullable=False),
        sa.Column("item_id", ID, nullable=False),
        sa.Column("cause", sa.SmallInteger(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("kind", "repository_id", "item_id", name="pk_candidates"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_candidates_kind_due_at", "candidates", ["kind", "due_at"], unique=False)
    op.create_table(
        "doomed",
        sa.Column("store", sa.Text(), nullable=False),
        sa.Column("key", NAME, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("store", "key", name="pk_doomed"),
        sqlite_with_rowid=False,
    )
    now = NOW[op.get_context().dialect.name]
    queue = "INSERT INTO candidates (kind, repository_id, item_id, cause, since, due_at)"
    cause = "CASE WHEN deleted_at IS NULL THEN {} ELSE 1 END, coalesce(deleted_at, {}), {}"
    op.execute(  # manifests (kind 0): deleted (cause 1), or without a tag (cause 2) and an index that lists them
        f"{queue} SELECT 0, repository_id, id, {cause.format(2, now, now)} FROM manifests"
        " WHERE deleted_at IS NOT NULL OR ("
        " NOT EXISTS (SELECT 1 FROM tags WHERE tags.manifest_id = manifests.id)"
        " AND NOT EXISTS (SELECT 1 FROM manifest_children WHERE manifest_children.child_id = manifests.id))"
    )
    op.execute(  # links (kind 1): deleted, or such that no manifest refers to them (cause 0: since they were made)
        f"{queue} SELECT 1, repository_id, blob_id, {cause.format(0, now, now)} FROM links"
        " WHERE NOT EXISTS (SELECT 1 FROM manifest_blobs WHERE manifest_blobs.repository_id = links.repository_id"
        " AND manifest_blobs.blob_id = links.blob_id)"
    )


def downgrade() -> None:
    """Drop both."""
    op.drop_table("doomed")
    op.drop_table("candidates")
