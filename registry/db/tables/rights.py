"""Who may do what."""

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

# One row. `revision` is raised by each change that gives or takes a right; what is known of the tables below is kept
# for as long as it is the same.
authority = Table(
    "authority",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("revision", BigInteger, nullable=False),
)

# A repository's first component. `quota_bytes`, `quota_tags` null: without limit; if both are, nothing is counted.
# `quota_counts`: all, visible or tagged. `counted_at`: when all that was there had been counted; null until then.
projects = Table(
    "projects",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Name, nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("quota_bytes", BigInteger),
    Column("quota_tags", BigInteger),
    Column("used_bytes", BigInteger, nullable=False, server_default=text("0")),
    Column("used_tags", BigInteger, nullable=False, server_default=text("0")),
    Column("quota_counts", Text, nullable=False, server_default=text("'visible'")),
    Column("counted_at", BigInteger),
)

# People. `source`: `local`, or what knows their password instead (`htpasswd`, `ldap`, `oidc`), when `password` is null.
# `subject`: what an identity provider calls them. A name is never given to somebody else.
users = Table(
    "users",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Name, nullable=False, unique=True),
    Column("source", Text, nullable=False),
    Column("subject", Name),
    Column("password", Text),
    Column("is_admin", SmallInteger, nullable=False, server_default=text("0")),
    Column("created_at", BigInteger, nullable=False),
    Column("disabled_at", BigInteger),
    Column("password_at", BigInteger),
    Column("seen_at", BigInteger),
    UniqueConstraint("source", "subject"),
)

# Groups by name. `source`: `local` for members that were added here, else who said so at the last login.
user_groups = Table(
    "user_groups",
    metadata,
    Column("user_id", Id, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("name", Name, nullable=False),
    Column("source", Text, nullable=False),
    PrimaryKeyConstraint("user_id", "name", "source"),
    Index(None, "name"),
    sqlite_with_rowid=False,
)

service_accounts = Table(
    "service_accounts",
    metadata,
    Column("id", Id, primary_key=True),
    Column("project_id", Id, ForeignKey("projects.id"), nullable=False),
    Column("name", Name, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("disabled_at", BigInteger),
    UniqueConstraint("project_id", "name"),
)

# What somebody shows instead of a password; one of both owners is set. `kind`: 0 token, 1 session, 2 refresh token.
# `hash`: SHA-256 of the secret, which nobody keeps. `scope`: an upper bound in the form of token scopes, null for none.
# `audience`: of refresh tokens. `parent_id`: the credential that this one was given for, which ends it too. `proof`: a
# mark of the password that it was given for, which ends it when it changes.
credentials = Table(
    "credentials",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("kind", SmallInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("hint", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("user_id", Id, ForeignKey("users.id", ondelete="CASCADE")),
    Column("service_account_id", Id, ForeignKey("service_accounts.id", ondelete="CASCADE")),
    Column("parent_id", Id, ForeignKey("credentials.id", ondelete="CASCADE")),
    Column("scope", Text),
    Column("audience", Text),
    Column("proof", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    Column("used_at", BigInteger),
    Index(None, "user_id"),
    Index(None, "service_account_id"),
    Index(None, "parent_id"),
    Index(None, "expires_at"),
    sqlite_autoincrement=True,
)

# Roles beside the built-in ones; `actions`: their words, with spaces between.
roles = Table(
    "roles",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Name, nullable=False, unique=True),
    Column("actions", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

# `project_id` 0: the whole registry, and no foreign key for that. `pattern`: of repositories in the project, empty for
# all of it.
grants = Table(
    "grants",
    metadata,
    Column("id", Id, primary_key=True),
    Column("project_id", Id, nullable=False),
    Column("pattern", Name, nullable=False, server_default=text("''")),
    Column("role", Name, nullable=False),
    Column("subject", Name, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Text, nullable=False),
    UniqueConstraint("project_id", "pattern", "role", "subject"),
    Index(None, "subject"),
)

# Rules that take actions on tags away, from all but the subjects in `except_subjects` (with spaces between).
tag_rules = Table(
    "tag_rules",
    metadata,
    Column("id", Id, primary_key=True),
    Column("project_id", Id, nullable=False),
    Column("pattern", Name, nullable=False, server_default=text("''")),
    Column("tag", Name, nullable=False),
    Column("actions", Text, nullable=False),
    Column("except_subjects", Text, nullable=False, server_default=text("''")),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Text, nullable=False),
    Index(None, "project_id"),
    Index(
        "ix_tag_rules_excepting",
        "id",
        sqlite_where=text("length(except_subjects) > 0"),
        postgresql_where=text("length(except_subjects) > 0"),
    ),
)

# Keys that sign tokens: sealed under `auth.secret`. `signs_from`: when all replicas know it. `ends_at`: when its last
# token has ended, and it may go.
signing_keys = Table(
    "signing_keys",
    metadata,
    Column("kid", Name, primary_key=True),
    Column("algorithm", Text, nullable=False),
    Column("public", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("signs_from", BigInteger, nullable=False),
    Column("ends_at", BigInteger),
)

# What counts against a project's quota, while it has one, a row each: `kind` 0 a blob in a repository, 1 a manifest, 2
# a repository's tags, all in one row. `size`: bytes, or how many tags. The counters of `projects` are the sums of
# these, a blob once a project; whoever changes them holds the project's row.
quota_items = Table(
    "quota_items",
    metadata,
    Column("project_id", Id, ForeignKey("projects.id", ondelete="CASCADE"), nullable=False),
    Column("kind", SmallInteger, nullable=False),
    Column("item_id", Id, nullable=False),
    Column("repository_id", Id, nullable=False),
    Column("size", BigInteger, nullable=False),
    PrimaryKeyConstraint("project_id", "kind", "item_id", "repository_id"),
    sqlite_with_rowid=False,
)

# Failed logins, by what was tried and from where. `until`: nobody is let in before.
login_failures = Table(
    "login_failures",
    metadata,
    Column("key", Name, primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("last_at", BigInteger, nullable=False),
    Column("until", BigInteger),
    Index(None, "last_at"),
)
