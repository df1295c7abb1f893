"""A row says that the registry is read-only."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "maintenance",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("retry_after", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_maintenance"),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("maintenance")
