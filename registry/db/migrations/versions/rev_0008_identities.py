"""Who may do what: people, projects, service accounts, credentials, grants, keys, quotas, and the audit log."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_EXCEPTING = sa.text("length(except_subjects) > 0")
_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the tables."""
    _create_projects()
    _create_people()
    _create_accounts()
    _create_credentials()
    _create_rights()
    _create_logins()
    _create_audit()


def _create_projects() -> None:
    """What belongs together, and what counts against its quota."""
    op.create_table(
        "projects",
        sa.Column("id", _ID, nullable=False),
        sa.Column("name", _NAME, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("quota_bytes", sa.BigInteger(), nullable=True),
        sa.Column("quota_tags", sa.BigInteger(), nullable=True),
        sa.Column("used_bytes", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("used_tags", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("quota_counts", sa.Text(), nullable=False, server_default=sa.text("'visible'")),
        sa.Column("counted_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_projects"),
        sa.UniqueConstraint("name", name="uq_projects_name"),
    )
    op.create_table(
        "quota_items",
        sa.Column("project_id", _ID, nullable=False),
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        sa.Column("item_id", _ID, nullable=False),
        sa.Column("repository_id", _ID, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "kind", "item_id", "repository_id", name="pk_quota_items"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_quota_items_project_id", ondelete="CASCADE"),
        sqlite_with_rowid=False,
    )


def _create_people() -> None:
    """Users, and the groups that they are in."""
    op.create_table(
        "users",
        sa.Column("id", _ID, nullable=False),
        sa.Column("name", _NAME, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("subject", _NAME, nullable=True),
        sa.Column("password", sa.Text(), nullable=True),
        sa.Column("is_admin", sa.SmallInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("disabled_at", sa.BigInteger(), nullable=True),
        sa.Column("password_at", sa.BigInteger(), nullable=True),
        sa.Column("seen_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.UniqueConstraint("name", name="uq_users_name"),
        sa.UniqueConstraint("source", "subject", name="uq_users_source_subject"),
    )
    op.create_table(
        "user_groups",
        sa.Column("user_id", _ID, nullable=False),
        sa.Column("name", _NAME, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "name", "source", name="pk_user_groups"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_user_groups_user_id", ondelete="CASCADE"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_user_groups_name", "user_groups", ["name"])


def _create_accounts() -> None:
    """Service accounts, which belong to projects."""
    op.create_table(
        "service_accounts",
        sa.Column("id", _ID, nullable=False),
        sa.Column("project_id", _ID, nullable=False),
        sa.Column("name", _NAME, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("disabled_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_service_accounts"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_service_accounts_project_id"),
        sa.UniqueConstraint("project_id", "name", name="uq_service_accounts_project_id_name"),
    )


def _create_credentials() -> None:
    """What people and service accounts show instead of a password."""
    op.create_table(
        "credentials",
        sa.Column("id", _ID, nullable=False, autoincrement=True),
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("hint", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("user_id", _ID, nullable=True),
        sa.Column("service_account_id", _ID, nullable=True),
        sa.Column("parent_id", _ID, nullable=True),
        sa.Column("scope", sa.Text(), nullable=True),
        sa.Column("audience", sa.Text(), nullable=True),
        sa.Column("proof", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_credentials"),
        sa.ForeignKeyConstraint(["parent_id"], ["credentials.id"], name="fk_credentials_parent_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["service_account_id"],
            ["service_accounts.id"],
            name="fk_credentials_service_account_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_credentials_user_id", ondelete="CASCADE"),
        sa.UniqueConstraint("hash", name="uq_credentials_hash"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_credentials_expires_at", "credentials", ["expires_at"])
    op.create_index("ix_credentials_parent_id", "credentials", ["parent_id"])
    op.create_index("ix_credentials_service_account_id", "credentials", ["service_account_id"])
    op.create_index("ix_credentials_user_id", "credentials", ["user_id"])


def _create_rights() -> None:
    """Roles, grants and rules about tags, and the number that tells of their changes."""
    op.create_table(
        "authority",
        sa.Column("id", sa.SmallInteger(), nullable=False, autoincrement=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_authority"),
    )
    op.execute("INSERT INTO authority (id, revision) VALUES (1, 1)")
    op.create_table(
        "roles",
        sa.Column("id", _ID, nullable=False),
        sa.Column("name", _NAME, nullable=False),
        sa.Column("actions", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_roles"),
        sa.UniqueConstraint("name", name="uq_roles_name"),
    )
    op.create_table(
        "grants",
        sa.Column("id", _ID, nullable=False),
        sa.Column("project_id", _ID, nullable=False),
        sa.Column("pattern", _NAME, nullable=False, server_default=sa.text("''")),
        sa.Column("role", _NAME, nullable=False),
        sa.Column("subject", _NAME, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_grants"),
        sa.UniqueConstraint(
            "project_id", "pattern", "role", "subject", name="uq_grants_project_id_pattern_role_subject"
        ),
    )
    op.create_index("ix_grants_subject", "grants", ["subject"])
    op.create_table(
        "tag_rules",
        sa.Column("id", _ID, nullable=False),
        sa.Column("project_id", _ID, nullable=False),
        sa.Column("pattern", _NAME, nullable=False, server_default=sa.text("''")),
        sa.Column("tag", _NAME, nullable=False),
        sa.Column("actions", sa.Text(), nullable=False),
        sa.Column("except_subjects", sa.Text(), nullable=False, server_default=sa.text("''")),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tag_rules"),
    )
    op.create_index("ix_tag_rules_project_id", "tag_rules", ["project_id"])
    op.create_index("ix_tag_rules_excepting", "tag_rules", ["id"], sqlite_where=_EXCEPTING, postgresql_where=_EXCEPTING)


def _create_logins() -> None:
    """Keys that sign tokens, and logins that failed."""
    op.create_table(
        "signing_keys",
        sa.Column("kid", _NAME, nullable=False),
        sa.Column("algorithm", sa.Text(), nullable=False),
        sa.Column("public", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("signs_from", sa.BigInteger(), nullable=False),
        sa.Column("ends_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("kid", name="pk_signing_keys"),
    )
    op.create_table(
        "login_failures",
        sa.Column("key", _NAME, nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("key", name="pk_login_failures"),
    )
    op.create_index("ix_login_failures_last_at", "login_failures", ["last_at"])


def _create_audit() -> None:
    """Entries, the seals that chain them, and how far they were written elsewhere."""
    op.create_table(
        "audit_entries",
        sa.Column("id", _ID, nullable=False, autoincrement=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("principal", _NAME, nullable=False),
        sa.Column("project", _NAME, nullable=False),
        sa.Column("repository", _NAME, nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False, server_default=sa.text("1")),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_entries"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_audit_entries_at", "audit_entries", ["at"])
    op.create_index("ix_audit_entries_principal_id", "audit_entries", ["principal", "id"])
    op.create_index("ix_audit_entries_project_id", "audit_entries", ["project", "id"])
    op.create_table(
        "audit_seals",
        sa.Column("last_id", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("entries", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("last_id", name="pk_audit_seals"),
    )
    op.create_table(
        "audit_cursors",
        sa.Column("name", _NAME, nullable=False),
        sa.Column("last_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_audit_cursors"),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("audit_cursors")
    op.drop_table("audit_seals")
    op.drop_table("audit_entries")
    op.drop_table("login_failures")
    op.drop_table("quota_items")
    op.drop_table("signing_keys")
    op.drop_table("tag_rules")
    op.drop_table("grants")
    op.drop_table("roles")
    op.drop_table("credentials")
    op.drop_table("service_accounts")
    op.drop_table("user_groups")
    op.drop_table("users")
    op.drop_table("projects")
    op.drop_table("authority")
