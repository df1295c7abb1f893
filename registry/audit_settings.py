"""Settings of the audit log."""

from pathlib import Path

from pydantic import Field

from registry.setting_types import Duration, Section


class AuditSettings(Section):
    """`audit`: who did what."""

    enabled: bool | None = Field(
        None,
        description="Whether pushes, deletions, moves of tags and refusals are recorded; when not given, unless "
        "`auth.mode` is open. Changes of accounts, grants and quotas always are.",
    )
    pulls: float = Field(0, ge=0, le=1, description="Share of the pulls of manifests that is recorded.")
    keep: Duration = Field(90 * 86400, description="How long entries are kept. Their seals stay for ever.")
    file: Path | None = Field(None, description="File to which each entry is added as a line of JSON.")
    stdout: bool = Field(False, description="Whether each entry is written to standard output as a line of JSON.")
