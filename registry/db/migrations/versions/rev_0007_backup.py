"""Copies of the database that are kept, and which of them may name what is to be deleted."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the table, and add the column with its index."""
    op.create_table(
        "backups",
        sa.Column("id", _ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("kept_until", sa.BigInteger(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_backups"),
        sa.UniqueConstraint("name", name="uq_backups_name"),
        sqlite_autoincrement=True,
    )
    op.add_column("doomed", sa.Column("backup", sa.BigInteger(), nullable=False, server_default=sa.text("0")))
    op.create_index("ix_doomed_store_backup_key", "doomed", ["store", "backup", "key"])


def downgrade() -> None:
    """Drop them."""
    op.drop_index("ix_doomed_store_backup_key", "doomed")
    op.drop_column("doomed", "backup")
    op.drop_table("backups")
