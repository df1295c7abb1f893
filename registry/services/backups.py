"""Copies of an SQLite database in the storage's attic: made, verified, listed, and removed when newer ones are there.

A copy is `NAME` with `NAME.json` beside it, which says what it is and comes last: without it, a copy is none. What is
recorded in the database keeps collection from deleting what the copy names (`registry.db.backups`).
"""

import asyncio
import json
import logging
import secrets
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from registry import __version__
from registry.db import backups, jobs, repositories
from registry.db.backups import Kind
from registry.db.connection import Database, Reader, Transaction
from registry.db.place import place_of
from registry.db.sqlite_copy import Room, look_at, move_new
from registry.errors import RegistryError, Unavailable
from registry.settings import Settings
from storage.attic import Attic
from storage.driver import BlobDriver
from storage.errors import ObjectMissing, StorageError

logger = logging.getLogger("stowage.backup")

_DESCRIPTION = ".json"
Check = Callable[[Transaction], Awaitable[None]]
"""Raises, inside the transaction, if this process may not go on."""


@dataclass(frozen=True, slots=True)
class Copy:
    """What is written beside a copy. `made_at` in microseconds since the epoch, `size` in bytes.

    Everything that was committed before `made_at` is in it.

    Attributes:
        schema: the revision of its schema.
        version: of the program that made it.
        instance: the run of the server that made it; empty for a command.
        sha256: of the file, in hexadecimal.
    """

    name: str
    made_at: int
    size: int
    sha256: str
    schema: str
    version: str
    instance: str


@dataclass(frozen=True, slots=True)
class Listed:
    """A copy in the storage. `known`: it is recorded in this database, so that what it names stays."""

    copy: Copy
    known: bool


class Backups:
    """Makes and removes copies.

    Args:
        file: the database's.
        reserve: bytes that must stay free on its disk.
        keep: how many copies are kept; 0 for none.
        instance: this server's run.
    """

    def __init__(
        self, database: Database, attic: Attic, file: Path, *, reserve: int, keep: int, instance: str = ""
    ) -> None:
        self._database = database
        self._attic = attic
        self._file = file
        self._reserve = reserve
        self._keep = keep
        self._instance = instance

    async def is_pointless(self) -> bool:
        """Say whether there is nothing to copy and nothing to remove: no repository, and no copy."""
        if await repositories.page(self._database, after="", limit=1):
            return False
        return not await backups.every(self._database)

    async def make(self, check: Check) -> Copy | None:
        """Make a copy, put it into the storage, and remove those that are too many; None if none are to be kept.

        Args:
            check: asked in each transaction.

        Raises:
            Unavailable, StorageError: there is no new copy; those that were there are. The reason is recorded.
        """
        await self._clean(check)
        made = await self._make(check) if self._keep else None
        kept = [one for one in await backups.every(self._database) if one.kind is Kind.COPY]
        for one in kept[: max(0, len(kept) - self._keep)]:
            await self.forget(one.name, check)
        return made

    async def copy_to(self, target: Path, *, kept_s: int) -> Copy:
        """Make a copy elsewhere: a file that does not exist, and its description beside it.

        Args:
            kept_s: for how many seconds what it names is to stay; 0 for no longer than without it.

        Raises:
            Unavailable: it could not be made; nothing is left of it.
        """
        made_at = await jobs.clock(self._database)
        mark = f"{target.name}-{secrets.token_hex(4)}"
        if kept_s:
            until = made_at + kept_s * 1_000_000
            await self._database.write(
                lambda tx: backups.add(tx, mark, Kind.MARK, made_at=made_at, kept_until=until), reserve=True
            )
        try:
            with Room(self._file, self._reserve) as room:
                await room.copy()
                copy = await self._described(target.name, made_at, room.path)
                await asyncio.to_thread(move_new, room.path, target, _as_json(copy), _DESCRIPTION)
        except BaseException:
            if kept_s:
                await self._database.write(lambda tx: backups.remove(tx, mark), reserve=True)
            raise
        return copy

    async def forget(self, name: str, check: Check) -> bool:
        """Remove a copy or a mark, and then what keeps for its sake. Return False if there is none of that name."""
        there = {one.name for one in await self._attic.files()}
        for file in (name + _DESCRIPTION, name):  # in this order: a copy without description is none
            if file in there:
                await self._attic.remove(file)

        async def work(transaction: Transaction) -> bool:
            await check(transaction)
            return await backups.remove(transaction, name)

        return await self._database.write(work, reserve=True) or name in there

    async def _clean(self, check: Check) -> None:
        """Remove what those left that were killed: under the lease nobody else is at it."""
        for one in await backups.every(self._database):
            if one.kind is Kind.COPY and one.size is None:
                await self.forget(one.name, check)

    async def _make(self, check: Check) -> Copy:
        name = ""

        async def begin(transaction: Transaction) -> tuple[str, int]:
            await check(transaction)
            now = await jobs.clock(transaction)
            name = f"stowage-{_stamp(now)}-{secrets.token_hex(2)}.sqlite3"
            await backups.add(transaction, name, Kind.COPY, made_at=now)
            return name, now

        name, made_at = await self._database.write(begin, reserve=True)
        try:
            with Room(self._file, self._reserve) as room:
                await room.copy()
                copy = await self._described(name, made_at, room.path)
                await self._attic.put(name, room.path)
            await self._describe(copy)

            async def end(transaction: Transaction) -> None:
                await check(transaction)
                await backups.done(transaction, name, size=copy.size)

            await self._database.write(end, reserve=True)
        except Exception as error:
            await self._give_up(name, str(error))
            raise
        return copy

    async def _describe(self, copy: Copy) -> None:
        """Put the description beside a copy. Raises StorageError, Unavailable."""
        try:
            with tempfile.TemporaryDirectory(prefix="stowage-") as folder:
                description = Path(folder) / "description"
                description.write_text(_as_json(copy))
                await self._attic.put(copy.name + _DESCRIPTION, description)
        except OSError as error:
            raise Unavailable(f"the copy can't be described: {error.strerror} ({error.filename})") from error

    async def _described(self, name: str, made_at: int, file: Path) -> Copy:
        facts = await look_at(file)
        return Copy(name, made_at, facts.size, facts.sha256, facts.schema, __version__, self._instance)

    async def _give_up(self, name: str, why: str) -> None:
        """Leave nothing of a copy that failed but the reason."""
        with suppress(StorageError):
            await self._attic.remove(name + _DESCRIPTION)
            await self._attic.remove(name)
            with suppress(RegistryError):
                await self._database.write(lambda tx: backups.failed(tx, name, why[:1000]), reserve=True)


async def every_copy(attic: Attic) -> list[Copy]:
    """Return the copies in the storage, oldest first. Raises StorageError."""
    names = [one.name for one in await attic.files()]
    found = []
    with tempfile.TemporaryDirectory(prefix="stowage-") as folder:
        for number, name in enumerate(names):
            if name.endswith(_DESCRIPTION) and name.removesuffix(_DESCRIPTION) in names:
                description = Path(folder) / str(number)
                with suppress(ObjectMissing):  # removed meanwhile
                    await attic.get(name, description)
                    copy = described_by(description.read_bytes())
                    if copy is None or copy.name != name.removesuffix(_DESCRIPTION):
                        logger.warning("the description of the copy %s can't be understood", name)
                    else:
                        found.append(copy)
    return sorted(found, key=lambda one: (one.made_at, one.name))


async def listed(reader: Reader, attic: Attic) -> list[Listed]:
    """Return the copies in the storage, oldest first, and whether this database knows them. Raises StorageError."""
    rows = {one.name for one in await backups.every(reader) if one.kind is Kind.COPY}
    return [Listed(copy, copy.name in rows) for copy in await every_copy(attic)]


async def unknown_copies(reader: Reader, attic: Attic) -> list[str]:
    """Return the names of copies in the storage that this database knows nothing of. Raises StorageError."""
    names = {one.name for one in await attic.files()}
    whole = [name for name in sorted(names) if name + _DESCRIPTION in names]
    if not whole:
        return []
    rows = {one.name for one in await backups.every(reader)}
    return [name for name in whole if name not in rows]


def described_by(content: bytes) -> Copy | None:
    """Return what the description of a copy says; None if it can't be understood."""
    try:
        values = json.loads(content)
        copy = Copy(**values)
    except (ValueError, TypeError):
        return None
    kinds = {name: type(value) for name, value in asdict(copy).items()}
    return copy if all(kinds[name] is (int if name in {"made_at", "size"} else str) for name in kinds) else None


def description_beside(file: Path) -> Copy | None:
    """Return what is written beside a copy that is a file of its own; None if nothing is."""
    try:
        return described_by(file.with_name(file.name + _DESCRIPTION).read_bytes())
    except OSError:
        return None


def told(copy: Copy) -> str:
    """Say that a copy was made."""
    return f"the database was copied to {copy.name}, {copy.size} bytes"


def _as_json(copy: Copy) -> str:
    return json.dumps(asdict(copy), indent=2) + "\n"


def _stamp(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds // 1_000_000, UTC).strftime("%Y%m%dt%H%M%Sz")


def backups_of(settings: Settings, database: Database, driver: BlobDriver, *, instance: str = "") -> Backups | None:
    """Return what makes copies of the database; None for one on a server, which has its own tools."""
    file = place_of(settings).file
    if file is None:
        return None
    return Backups(
        database,
        driver.attic,
        file,
        reserve=settings.database.reserve,
        keep=settings.backup.keep,
        instance=instance,
    )
