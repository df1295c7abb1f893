"""Events of a database, and what delivers them, in the process of a test."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from auth.addresses import Network
from registry.db import deliveries, webhooks
from registry.db import events as stream
from registry.db.connection import Database, Transaction
from registry.db.deliveries import Delivery, State
from registry.db.projects import EVERYWHERE
from registry.db.webhooks import Webhook
from registry.jobs.deliver import NAME, Deliverer, writing
from registry.jobs.leased import LeasedWork
from registry.jobs.runner import Lease
from registry.oci.names import RepositoryName
from registry.services import events
from registry.services.endpoints import Configured, Endpoints
from registry.services.feed import Feed
from registry.services.recording import Write
from registry.services.vault import Vault
from registry.webhooks.endpoint import Options, Secrets

QUICK = Options(timeout=20, backoff=0.05, backoff_cap=0.2)
SECRET = b"a secret of 32 bytes or more, here"


def endpoint(name: str, url: str, options: Options = QUICK, secrets: Secrets | None = None) -> Configured:
    """An endpoint of the settings, on this machine."""
    return Configured(name, url, url, "distribution", options, secrets or Secrets(), private=True, ca_file=None)


@dataclass
class Telling:
    """A database whose events are told."""

    database: Database
    counted: Counter[str] = field(default_factory=Counter)

    async def push(self, repository: str, *tags: str) -> None:
        """Have tags pushed, each by a push of its own, and give these their places in the stream."""

        async def work(transaction: Transaction) -> None:
            for tag in tags:
                await events.record(
                    transaction,
                    RepositoryName(repository),
                    events.PUSH,
                    actor="user:alice",
                    digest="sha256:" + "0" * 64,
                    media_type="application/vnd.oci.image.manifest.v1+json",
                    size=1,
                    tag=tag,
                )

        await self.database.write(work)
        while await self.database.write(lambda tx: stream.place(tx, limit=500)):
            pass

    def _deliverer(self, write: Write, configured: Sequence[Configured], networks: tuple[Network, ...]) -> Deliverer:
        return Deliverer(
            self.database,
            Feed(self.database, most=100),
            Endpoints(Vault(lambda: SECRET, lambda: SECRET), {one.name: one for one in configured}),
            write,
            networks=networks,
            public_url="",
            keep_s=(3600, 3600),
            count=lambda outcome: self.counted.update([outcome]),
        )

    @asynccontextmanager
    async def delivering(self, *configured: Configured, networks: tuple[Network, ...] = ()) -> AsyncIterator[None]:
        """Deliver to these, and to those of the database, while nobody else does."""

        async def wanted() -> bool:
            return True

        async def work(lease: Lease) -> None:
            await self._deliverer(writing(lease), configured, networks).run()

        leased = LeasedWork(self.database, NAME, owner="a test", is_wanted=wanted, work=work, paused=lambda: False)
        leased.start()
        try:
            for one in configured:
                await self.until(lambda name=one.name: self.find(name))  # type: ignore[misc]  # a lambda's default
            yield
        finally:
            await leased.stop()

    async def find(self, name: str) -> Webhook | None:
        """Return an endpoint's row."""
        return await webhooks.find(self.database, EVERYWHERE, name)

    async def row(self, name: str) -> Webhook:
        """Return an endpoint's row, which is there."""
        found = await self.find(name)
        assert found is not None
        return found

    async def deliveries(self, name: str, state: State | None = None) -> list[Delivery]:
        """Return what is known of an endpoint's deliveries, in the order of events."""
        webhook = await self.row(name)
        found = await deliveries.page(self.database, webhook.id, state=state, repository="", before=2**62, limit=10_000)
        return found[::-1]

    async def until(self, condition: Callable[[], object], seconds: float = 120.0) -> None:
        """Return when something is so. `condition` may be a coroutine function."""
        async with asyncio.timeout(seconds):
            while True:
                found = condition()
                if asyncio.iscoroutine(found):
                    found = await found
                if found:
                    return
                await asyncio.sleep(0.02)
