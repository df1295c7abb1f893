"""What `stowage check` says of directories, identity providers and issuers: each is asked, as the server would."""

import asyncio
from collections.abc import Iterator

from registry.cli.problems import Problem, error, warning
from registry.db.place import place_of
from registry.errors import Unavailable
from registry.outside import build_outside
from registry.services.audit import Auditor
from registry.settings import Settings


def identity_problems(settings: Settings) -> Iterator[Problem]:
    """Say which of those whom the settings believe can't be asked now. Others can log in all the same."""
    try:
        found = asyncio.run(_probed(settings))
    except Unavailable as unusable:
        yield error("IdentityUnusable", str(unusable))
        return
    for text in found:
        yield warning("IdentityUnreachable", text)


async def _probed(settings: Settings) -> list[str]:
    database = place_of(settings).open()
    outside = build_outside(settings, database, b"", Auditor(database, enabled=False))
    try:
        return await outside.problems()
    finally:
        await outside.close()
