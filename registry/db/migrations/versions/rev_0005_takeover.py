"""Stores of other registries, what was taken over from them, and when a blob's bytes were last seen to be right."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the tables and add the column."""
    op.create_table(
        "stores",
        sa.Column("id", _ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("imported_at", sa.BigInteger(), nullable=True),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_stores"),
        sa.UniqueConstraint("name", name="uq_stores_name"),
        sa.UniqueConstraint("place", name="uq_stores_place"),
    )
    op.create_table(
        "imported_manifests",
        sa.Column("store_id", _ID, nullable=False),
        sa.Column("repository", _NAME, nullable=False),
        sa.Column("digest", _NAME, nullable=False),
        sa.ForeignKeyConstraint(["store_id"], ["stores.id"], name="fk_imported_manifests_store_id"),
        sa.PrimaryKeyConstraint("store_id", "repository", "digest", name="pk_imported_manifests"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "imported_tags",
        sa.Column("store_id", _ID, nullable=False),
        sa.Column("repository", _NAME, nullable=False),
        sa.Column("tag", _NAME, nullable=False),
        sa.Column("digest", _NAME, nullable=False),
        sa.Column("set_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["store_id"], ["stores.id"], name="fk_imported_tags_store_id"),
        sa.PrimaryKeyConstraint("store_id", "repository", "tag", name="pk_imported_tags"),
        sqlite_with_rowid=False,
    )
    op.add_column("blobs", sa.Column("verified_at", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Drop them."""
    op.drop_column("blobs", "verified_at")
    op.drop_table("imported_tags")
    op.drop_table("imported_manifests")
    op.drop_table("stores")
