"""The section `database`: where every fact is kept. Part of `registry.settings`, which reads it."""

import re
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from registry.setting_types import Duration, Section, Size


class DatabaseSettings(Section):
    """`database`: where every fact about the blobs is kept."""

    url: str | None = Field(
        None,
        description="sqlite:///PATH, on a local disk, or postgresql://USER@HOST:PORT/NAME; `stowage.sqlite3` in the "
        "data folder when not given.",
    )
    password: SecretStr | None = Field(
        None, description="Password for PostgreSQL, if neither the URL, PGPASSWORD nor a password file has it."
    )
    pool: int = Field(10, ge=2, le=1000, description="Most connections to PostgreSQL of each worker.")
    timeout: Duration = Field(
        30, le=3600, description="A statement that PostgreSQL works on, or waits with, for longer fails."
    )
    prepared: bool = Field(
        True,
        description="Whether PostgreSQL keeps statements prepared in each connection; false behind a pooler that gives "
        "every transaction another connection, like PgBouncer in transaction mode.",
    )
    reserve: Size = Field(
        16 * 1024**2,
        description="Room for deleting on a full disk, twice: while less is free on the disk of an SQLite database, "
        "pushes get 507, and a file of this size lies beside it, to be given up when others fill the disk; 0 keeps "
        "none.",
    )

    @field_validator("url")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        if value is None or re.fullmatch(r"sqlite:///.+", value):
            return value
        parts = urlsplit(value)
        if parts.scheme not in {"postgresql", "postgres"} or not value.startswith(f"{parts.scheme}://"):
            raise ValueError("expected sqlite:///PATH or postgresql://USER@HOST:PORT/NAME")
        if not parts.path.strip("/"):
            raise ValueError("expected the database's name at the end: postgresql://USER@HOST:PORT/NAME")
        return value

    @property
    def is_postgresql(self) -> bool:
        """Whether it is PostgreSQL, and not SQLite."""
        return self.url is not None and self.url.startswith("postgres")
