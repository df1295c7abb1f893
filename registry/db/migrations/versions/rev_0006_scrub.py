"""Finding blobs that are quarantined, and those whose bytes were never looked at, among a million that are neither."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_QUARANTINED = sa.text("state <> 0")
_UNVERIFIED = sa.text("verified_at IS NULL")


def upgrade() -> None:
    """Create the indexes. A push, whose bytes were hashed, is in neither."""
    op.create_index("ix_blobs_quarantined", "blobs", ["id"], sqlite_where=_QUARANTINED, postgresql_where=_QUARANTINED)
    op.create_index("ix_blobs_unverified", "blobs", ["id"], sqlite_where=_UNVERIFIED, postgresql_where=_UNVERIFIED)


def downgrade() -> None:
    """Drop them."""
    op.drop_index("ix_blobs_unverified", "blobs")
    op.drop_index("ix_blobs_quarantined", "blobs")
