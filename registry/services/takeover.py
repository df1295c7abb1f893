"""Taking over the storage of CNCF distribution: what a run does from its beginning to its end.

The other registry may go on serving; the next run catches up. `docs/decisions/015-takeover.md` says why it is so.
"""

import asyncio
import functools
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

from registry.db import jobs, stores, takeover
from registry.db.connection import Database
from registry.db.stores import Store
from registry.errors import NameInvalid
from registry.oci.names import RepositoryName, parse_repository
from registry.services.manifests import Sparse
from registry.services.takeover_blobs import BlobTakeover, Copier
from registry.services.takeover_manifests import ManifestTakeover
from registry.services.takeover_report import Reason, Report
from registry.services.takeover_source import Source
from registry.services.takeover_tags import TagTakeover
from registry.services.together import together
from storage.errors import StorageUnavailable
from storage.foreign import ForeignStorage

_LONGEST_NAME = 255
_TAGS_A_PAGE = 500


class TakeoverFinished(Exception):
    """The takeover of this storage was finished: what lies in it may have been deleted since."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What may be taken over: manifests of `max_manifest` bytes at most; what may be missing of one (`sparse`)."""

    max_manifest: int
    sparse: Sparse


class Takeover:
    """One run. `copier` copies the bytes; without one they are served from where they lie."""

    def __init__(
        self, database: Database, storage: ForeignStorage, rules: Rules, report: Report, copier: Copier | None = None
    ) -> None:
        self._database = database
        self._storage = storage
        self._rules = rules
        self._report = report
        self._copier = copier

    async def run(self, *, count_first: bool = False) -> None:
        """Record everything that is not recorded yet.

        Args:
            count_first: walk once more, before everything else, so that `report.total` is known.

        Raises:
            StorageUnavailable: this is no registry's storage, or it can't be read.
            TakeoverFinished
        """
        await self._storage.check()
        if count_first:
            async for _ in self._walk("", quiet=True):
                self._report.total += 1
        store = await self._database.write(lambda tx: stores.find_or_add(tx, self._storage.place))
        if store.finished_at is not None:
            raise TakeoverFinished(f"the takeover of {store.place} was finished: what was deleted there may be gone")
        await self._run_repositories(store, await jobs.clock(self._database))
        if store.imported_at is not None:
            await self._look_for_deleted_tags(store)
        await self._database.write(lambda tx: stores.mark_imported(tx, store.id))

    async def _run_repositories(self, store: Store, now: int) -> None:
        names = self._repositories()

        async def work() -> None:
            while True:
                async with turn:
                    try:
                        name = await anext(names)
                    except StopAsyncIteration:
                        return
                await self._run_repository(store, name, now)
                self._report.repositories += 1

        turn = asyncio.Lock()
        async with aclosing(names):
            await together(*(work() for _ in range(self._storage.at_once)))

    async def _run_repository(self, store: Store, name: RepositoryName, now: int) -> None:
        """Take over one: what is referred to comes before what refers to it."""
        source = Source(self._storage, name, self._report)
        try:
            blobs = BlobTakeover(self._database, source, store, self._copier)
            manifests = ManifestTakeover(
                self._database, source, store, blobs, self._rules.max_manifest, self._rules.sparse
            )
            await blobs.run()
            await manifests.run()
            await TagTakeover(self._database, source, store, manifests, now).run()
        except StorageUnavailable as error:
            await self._storage.check()  # if all of it is gone, that is the error
            self._report.leave_out(Reason.UNREADABLE, name, "", str(error))

    async def _repositories(self) -> AsyncGenerator[RepositoryName]:
        """Walk, and leave out what has a name that no repository can have."""
        async for found in self._walk(""):
            try:
                name = parse_repository(found)
            except NameInvalid as error:
                self._report.leave_out(Reason.NAME_INVALID, found, "", error.message)
            else:
                yield name

    async def _walk(self, name: str, *, quiet: bool = False) -> AsyncIterator[str]:
        """Find folders that hold a repository, at any depth. Holds one open folder a level and nothing else.

        `quiet`: what can't be listed is not reported.
        """
        holds = False
        try:
            async for page in self._storage.folders(f"repositories/{name}".rstrip("/")):
                holds = holds or "_manifests" in page or "_layers" in page
                for child in page:
                    below = f"{name}/{child}" if name else child
                    if child.startswith("_") or len(name) > _LONGEST_NAME:
                        continue
                    async for found in self._walk(below, quiet=quiet):
                        yield found
        except StorageUnavailable as error:
            if not name:
                raise
            if not quiet:
                self._report.leave_out(Reason.UNREADABLE, name, "", str(error))
        if holds:
            yield name

    async def _look_for_deleted_tags(self, store: Store) -> None:
        """Say which tags of earlier runs are not there any more. They stay here: deleting is not for a program."""
        after = ("", "")
        while page := await takeover.tags_here(self._database, store.id, after=after, limit=_TAGS_A_PAGE):
            paths = [f"repositories/{name}/_manifests/tags/{tag}/current/link" for name, tag in page]
            for (name, tag), size in zip(page, await self._storage.sizes(paths), strict=True):
                if size is None:
                    self._report.keep(Reason.DELETED_THERE, name, tag, "deleted there since, kept here")
            after = page[-1]


async def finish(database: Database, store: Store) -> bool:
    """End a takeover: what lies there is the registry's own from now on. Return False if it was ended before."""
    ended = await database.write(lambda tx: stores.finish(tx, store.id))
    while (name := await takeover.next_remembered(database, store.id)) is not None:
        await database.write(functools.partial(takeover.forget, store_id=store.id, name=name), durable=False)
    return ended
