"""The section `backup`: copies of the database. Part of `registry.settings`, which reads it."""

from pydantic import Field

from registry.setting_types import Duration, DurationOrNone, Section


class BackupSettings(Section):
    """`backup`: copies of the database, and what collection leaves for their sake."""

    enabled: bool = Field(
        True,
        description="Whether the server copies an SQLite database into the storage by itself; `stowage backup` does "
        "either way.",
    )
    interval: Duration = Field(86400, description="How long after a copy the next one is made.")
    keep: int = Field(
        7, ge=0, le=1000, description="Copies that are kept, and the blobs they name with them; 0 keeps none."
    )
    window: DurationOrNone = Field(
        0,
        description="How far back the database may be recovered by other means (PostgreSQL's point-in-time recovery): "
        "blobs stay for so long after nothing names them any more.",
    )
