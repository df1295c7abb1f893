"""`/metrics`: figures of all processes in Prometheus' form, for those who may read them."""

import asyncio
import importlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from registry.db import candidates, doomed, events, jobs, scrub, uploads, webhooks
from registry.db.doomed import Sum
from registry.errors import Unavailable
from registry.http.context import Context
from registry.http.proxies import Network, parse_address
from registry.metrics.figures import Figures
from registry.services.webhooks import status

MOST = 100_000  # rows are counted: that takes two milliseconds
_MOST_WEBHOOKS = 200  # each has figures of its own
_COUNTED = {
    "upload_sessions": uploads.count,
    "collection_candidates": candidates.count,
    "blobs_quarantined": scrub.count_quarantined,
    "blobs_unverified": scrub.count_unverified,
}
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


class MetricsPage:
    """Answers on the registry's port to loopback and `networks`, and with `public` to everybody.

    Args:
        context: tells whether the registry is read-only, and its database how many uploads are open, and how much
            waits for collection.
    """

    def __init__(self, figures: Figures, context: Context, networks: Sequence[Network], *, public: bool) -> None:
        self._figures = figures
        self._context = context
        self._networks = networks
        self._public = public

    async def show(self, request: Request) -> Response:
        """Return the figures: 200, or 403."""
        if not self._public and not self._may_read(request):
            return PlainTextResponse("metrics.networks does not have your address\n", 403)
        self._figures.look()
        counts: dict[str, int] = {}
        of_webhooks: dict[str, Mapping[str, float]] = {}
        with suppress(Unavailable):
            for name, count in _COUNTED.items():
                counts[name] = await count(self._context.database, most=MOST)
            counts |= await self._of_events()
            counts["backup_held_bytes"] = (await self._held()).bytes
            of_webhooks = await self._of_webhooks()
        accept = request.headers.get("accept", "")
        text, content_type = await asyncio.to_thread(self._render, accept, counts, of_webhooks)
        return Response(text, headers={"content-type": content_type, "cache-control": "no-store"})

    def _render(
        self, accept: str, counts: Mapping[str, int], of_webhooks: Mapping[str, Mapping[str, float]]
    ) -> tuple[bytes, str]:
        # The library is imported when it is first asked for: its import would make every start longer.
        exposition: Any = importlib.import_module("registry.metrics.exposition")
        rendered: tuple[bytes, str] = exposition.render(
            self._figures.board,
            accept,
            counts=counts,
            webhooks=of_webhooks,
            maintenance=self._context.maintenance.on,
        )
        return rendered

    async def _of_events(self) -> dict[str, int]:
        database = self._context.database
        waiting, oldest, now = await events.waiting(database), await events.oldest(database), await jobs.clock(database)
        return {
            "events_unplaced": waiting.number,
            "events_unplaced_age_seconds": _seconds(waiting.since, now),
            "events_oldest_age_seconds": _seconds(None if oldest is None else oldest[1], now),
        }

    async def _of_webhooks(self) -> dict[str, Mapping[str, float]]:
        """Return figures of webhooks by their names, those of projects with these."""
        database = self._context.database
        found: dict[str, Mapping[str, float]] = {}
        for row in (await webhooks.every(database))[:_MOST_WEBHOOKS]:
            if row.absent_since is None:
                now = await status(database, row)
                found[f"{row.project}/{row.name}" if row.project else row.name] = {
                    "waiting": now.waiting,
                    "given_up": now.given_up,
                    "behind_events": now.behind,
                    "behind_seconds": max(now.behind_s, now.waiting_s),
                    "missed_events": row.missed,
                    "paused": int(row.paused_at is not None),
                }
        return found

    async def _held(self) -> Sum:
        database = self._context.database
        limit = await doomed.limit(database, window_s=self._context.settings.backup.window)
        return await doomed.held(database, limit, most=MOST)

    def _may_read(self, request: Request) -> bool:
        """Say whether the client is near enough.

        A proxy on this machine brings strangers in from loopback. So where a proxy was passed, its word must have been
        taken, which leaves a client without a port (`registry.http.proxies`).
        """
        client = request.client
        address = None if client is None else parse_address(client.host)
        if client is None or address is None:
            return False
        if client.port != 0 and any(name in request.headers for name in _FORWARDED):
            return False
        return address.is_loopback or any(address in network for network in self._networks)


def _seconds(since: int | None, now: int) -> int:
    return 0 if since is None else max(0, now - since) // 1_000_000
