"""What `stowage check` says of copies of the database."""

import time
from collections.abc import Iterator

from registry.cli.problems import Problem, warning
from registry.cli.times import shown_time
from registry.db.backups import Kind
from registry.db.inspection import Inspected
from registry.settings import Settings

_PATIENCE_S = 3600


def backup_problems(settings: Settings, database: Inspected | None) -> Iterator[Problem]:
    """Yield what is wrong with them, as far as this database's own rows tell."""
    found = () if database is None else database.backups
    copies = [one for one in found if one.kind is Kind.COPY and one.size is not None]
    last = f"the last copy is of {shown_time(copies[-1].made_at)}" if copies else "there is no copy"
    for failure in (one for one in found if one.kind is Kind.FAILURE):
        text = f"copying the database failed at {shown_time(failure.made_at)}: {failure.error}; {last}"
        yield warning("BackupFailed", text)
    wanted = settings.backup.enabled and settings.backup.keep > 0
    late_s = time.time() - 2 * settings.backup.interval - _PATIENCE_S
    if wanted and copies and copies[-1].made_at < late_s * 1_000_000:
        text = f"{last}, and backup.interval is {settings.backup.interval} s: `stowage backup` makes one now"
        yield warning("BackupOverdue", text)
