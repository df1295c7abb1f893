"""Events are dropped by id, so the index on their age goes: every push paid for it."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Drop the index."""
    op.drop_index("ix_outbox_created_at", table_name="outbox")


def downgrade() -> None:
    """Create it again."""
    op.create_index("ix_outbox_created_at", "outbox", ["created_at"], unique=False)
