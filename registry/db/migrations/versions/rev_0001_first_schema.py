"""The first schema: repositories, blobs, links, manifests and their edges, tags, history, uploads, outbox, jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Create every table."""
    op.create_table(
        "blobs",
        sa.Column("id", ID, nullable=False),
        sa.Column("digest", NAME, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("store", sa.Text(), nullable=False),
        sa.Column("key", NAME, nullable=False),
        sa.Column("state", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_blobs"),
        sa.UniqueConstraint("digest", name="uq_blobs_digest"),
    )
    op.create_index("ix_blobs_store_key", "blobs", ["store", "key"], unique=False)
    op.create_table(
        "jobs",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("lease_until", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_jobs"),
    )
    op.create_table(
        "outbox",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("repository", NAME, nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_outbox_created_at", "outbox", ["created_at"], unique=False)
    op.create_table(
        "repositories",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_repositories"),
        sa.UniqueConstraint("name", name="uq_repositories_name"),
    )
    op.create_table(
        "upload_sessions",
        sa.Column("id", NAME, nullable=False),
        sa.Column("repository", NAME, nullable=False),
        sa.Column("store", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("algorithm", sa.Text(), nullable=False),
        sa.Column("received", sa.BigInteger(), nullable=False),
        sa.Column("digest", NAME, nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_upload_sessions"),
    )
    op.create_index("ix_upload_sessions_repository", "upload_sessions", ["repository"], unique=False)
    op.create_index("ix_upload_sessions_updated_at", "upload_sessions", ["updated_at"], unique=False)
    op.create_table(
        "links",
        sa.Column("repository_id", ID, nullable=False),
        sa.Column("blob_id", ID, nullable=False),
        sa.Column("linked_at", sa.BigInteger(), nullable=False),
        sa.Column("held_until", sa.BigInteger(), nullable=False),
        sa.Column("deleted_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["blob_id"], ["blobs.id"], name="fk_links_blob_id"),
        sa.ForeignKeyConstraint(["repository_id"], ["repositories.id"], name="fk_links_repository_id"),
        sa.PrimaryKeyConstraint("repository_id", "blob_id", name="pk_links"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_links_blob_id", "links", ["blob_id"], unique=False)
    op.create_table(
        "manifests",
        sa.Column("id", ID, nullable=False),
        sa.Column("repository_id", ID, nullable=False),
        sa.Column("digest", NAME, nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("artifact_type", sa.Text(), nullable=True),
        sa.Column("subject", NAME, nullable=True),
        sa.Column("descriptor", sa.Text(), nullable=True),
        sa.Column("pushed_at", sa.BigInteger(), nullable=False),
        sa.Column("deleted_at", sa.BigInteger(), nullable=True),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["repository_id"], ["repositories.id"], name="fk_manifests_repository_id"),
        sa.PrimaryKeyConstraint("id", name="pk_manifests"),
        sa.UniqueConstraint("repository_id", "digest", name="uq_manifests_repository_id_digest"),
    )
    op.create_index(
        "ix_manifests_repository_id_subject_id",
        "manifests",
        ["repository_id", "subject", "id"],
        unique=False,
        sqlite_where=sa.text("subject IS NOT NULL"),
        postgresql_where=sa.text("subject IS NOT NULL"),
    )
    op.create_table(
        "manifest_blobs",
        sa.Column("manifest_id", ID, nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("repository_id", ID, nullable=False),
        sa.Column("blob_id", ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["manifest_id"], ["manifests.id"], name="fk_manifest_blobs_manifest_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["repository_id", "blob_id"],
            ["links.repository_id", "links.blob_id"],
            name="fk_manifest_blobs_repository_id_blob_id",
        ),
        sa.PrimaryKeyConstraint("manifest_id", "role", "blob_id", name="pk_manifest_blobs"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_manifest_blobs_repository_id_blob_id", "manifest_blobs", ["repository_id", "blob_id"], unique=False
    )
    op.create_table(
        "manifest_children",
        sa.Column("manifest_id", ID, nullable=False),
        sa.Column("child_id", ID, nullable=False),
        sa.ForeignKeyConstraint(["child_id"], ["manifests.id"], name="fk_manifest_children_child_id"),
        sa.ForeignKeyConstraint(
            ["manifest_id"], ["manifests.id"], name="fk_manifest_children_manifest_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("manifest_id", "child_id", name="pk_manifest_children"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_manifest_children_child_id", "manifest_children", ["child_id"], unique=False)
    op.create_table(
        "sparse_edges",
        sa.Column("manifest_id", ID, nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("digest", NAME, nullable=False),
        sa.Column("repository_id", ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["manifest_id"], ["manifests.id"], name="fk_sparse_edges_manifest_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["repository_id"], ["repositories.id"], name="fk_sparse_edges_repository_id"),
        sa.PrimaryKeyConstraint("manifest_id", "role", "digest", name="pk_sparse_edges"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_sparse_edges_repository_id_digest", "sparse_edges", ["repository_id", "digest"], unique=False)
    op.create_table(
        "tag_history",
        sa.Column("id", ID, nullable=False),
        sa.Column("repository_id", ID, nullable=False),
        sa.Column("tag", NAME, nullable=False),
        sa.Column("manifest_id", ID, nullable=True),
        sa.Column("digest", NAME, nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("started_by", sa.Text(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_by", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["manifest_id"], ["manifests.id"], name="fk_tag_history_manifest_id", ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(["repository_id"], ["repositories.id"], name="fk_tag_history_repository_id"),
        sa.PrimaryKeyConstraint("id", name="pk_tag_history"),
    )
    op.create_index("ix_tag_history_manifest_id", "tag_history", ["manifest_id"], unique=False)
    op.create_index(
        "ix_tag_history_repository_id_tag_started_at",
        "tag_history",
        ["repository_id", "tag", "started_at"],
        unique=False,
    )
    op.create_table(
        "tags",
        sa.Column("repository_id", ID, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("manifest_id", ID, nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["manifest_id"], ["manifests.id"], name="fk_tags_manifest_id"),
        sa.ForeignKeyConstraint(["repository_id"], ["repositories.id"], name="fk_tags_repository_id"),
        sa.PrimaryKeyConstraint("repository_id", "name", name="pk_tags"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_tags_manifest_id", "tags", ["manifest_id"], unique=False)
