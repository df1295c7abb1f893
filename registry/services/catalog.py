"""The catalog as somebody sees it. `docs/decisions/019-permissions.md`."""

import asyncio

from auth.visible import Visible
from registry.db import repositories
from registry.db.connection import Reader

_FEWEST = 32
_MOST = 1000


async def page(reader: Reader, visible: Visible | None, *, after: str, limit: int) -> list[str]:
    """Return up to `limit` names greater than `after` that are to be seen, in order of their bytes.

    It reads where something visible may be, and leaps over the rest: so it costs what it shows, and a few names for
    each leap. Only where somebody sees what matches a pattern, all of that project is read.

    Args:
        visible: None for everything.
    """
    if visible is None:
        return await repositories.page(reader, after=after, limit=limit)
    shown: list[str] = []
    place: str | None = after if visible.knows(after) else visible.next(after)
    size = _FEWEST
    while place is not None and len(shown) < limit:
        found = await repositories.page(reader, after=place, limit=size)
        for name in found:
            if not visible.knows(name):
                place, size = visible.next(name), _FEWEST
                break
            if visible.shows(name):
                shown.append(name)
        else:
            place = found[-1] if len(found) == size else None
            size = min(2 * size, _MOST)
        await asyncio.sleep(0)  # others want to be served too, and reading may not wait for anything
    return shown[:limit]
