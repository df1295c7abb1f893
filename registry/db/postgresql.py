"""PostgreSQL: a pool of connections, a transaction for each write, run again when another was in its way.

Isolation is READ COMMITTED. Transactions that change a repository lock its row first, so those of one repository run
one after the other, in the order of their locks. `docs/decisions/013-postgresql.md`.
"""

import asyncio
import hashlib
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar, cast

from registry.db.connection import Transaction
from registry.db.migrate import REVISION
from registry.db.postgresql_connection import (
    FAILURES,
    PostgresTransaction,
    Raw,
    Target,
    beginning,
    connect,
    ends_connection,
    is_passing,
    refusal,
    values,
)
from registry.db.postgresql_pool import Pool
from registry.db.postgresql_shared import SharedReads
from registry.db.statements import Row, Rows, Statement
from registry.errors import Unavailable

T = TypeVar("T")

_ATTEMPTS = 10
_FIRST_PAUSE_S = 0.002
_LONGEST_PAUSE_S = 0.25

IDENTITY = (
    "SELECT (SELECT system_identifier FROM pg_control_system())::text || '/' || "
    "(SELECT oid FROM pg_database WHERE datname = current_database())"
)
"""What tells a database from all others, however it is reached."""
STANDBY = "SELECT pg_is_in_recovery() OR current_setting('default_transaction_read_only') = 'on'"
_CHECK = f"SELECT ({STANDBY}), ({IDENTITY}), (SELECT version_num FROM alembic_version)"

_logger = logging.getLogger("stowage.database")


def mark_from(identity: str) -> str:
    """Return the mark of a database, from its IDENTITY."""
    return hashlib.sha256(identity.encode()).hexdigest()[:12]


class _LostBeforeCommit(Exception):
    """The connection was lost, and the transaction came to nothing for sure."""


class PostgresDatabase:
    """A Database on a PostgreSQL server. A server that is away is Unavailable, until it is back."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._pool: Pool | None = None
        self._begin = {durable: beginning(target, durable=durable) for durable in (False, True)}
        self._mark = ""
        self._shared = SharedReads()
        self.batches = 0
        """Transactions committed since the start."""

    async def start(self) -> None:
        """Make the first connection. If the server is away that is no error: it may come back."""
        self._pool = Pool(lambda: connect(self._target), self._target.pool)
        try:
            await self.check()
        except Unavailable as error:
            _logger.warning("starting without the database: %s", error)

    async def stop(self) -> None:
        """Close the connections."""
        if self._pool is not None:
            await self._pool.close()
            self._pool = None

    async def check(self) -> None:
        """Return if the server takes writes and has this version's schema. Raises Unavailable, which names it."""
        try:
            row = await self._read(_CHECK, [], one=True)
        except Unavailable as error:
            raise Unavailable(f"{self._target.name}: {error}") from error
        is_standby, identity, revision = row
        self._mark = mark_from(identity)
        if is_standby:
            raise Unavailable(f"{self._target.name}: it is read-only: a standby, or set so")
        if revision < REVISION:
            text = f"it has schema {revision}, {REVISION} is needed: run `stowage migrate`"
            raise Unavailable(f"{self._target.name}: {text}")

    def mark(self) -> str:
        """Return what tells this database from others; "" before the first `check`."""
        return self._mark

    def generation(self) -> bytes | None:
        """Return None: who commits there tells nobody here."""
        return None

    async def all(self, statement: Statement, **parameters: Any) -> Rows:
        """Return every row."""
        text = statement.postgresql
        return cast(Rows, await self._read(text.text, values(text, parameters), one=False))

    async def first(self, statement: Statement, **parameters: Any) -> Row | None:
        """Return the first row, or None. A hot statement is run once for all who ask at the same time."""
        text = statement.postgresql
        if not statement.hot:
            return cast(Row | None, await self._read(text.text, values(text, parameters), one=True))

        async def ask() -> Row | None:
            return cast(Row | None, await self._read(text.text, values(text, parameters), one=True))

        return await self._shared.first((statement, *parameters.values()), ask)

    def encode_list(self, values: Sequence[str] | Sequence[int]) -> Sequence[str] | Sequence[int]:
        """Leave a list as it is."""
        return values

    def check_room(self) -> None:
        """Whether its disk is full is the server's to say."""

    async def write(
        self, work: Callable[[Transaction], Awaitable[T]], *, reserve: bool = False, durable: bool = True
    ) -> T:
        """Run `work` in a transaction, again if another transaction, or the end of a connection, undid it.

        `reserve` means nothing here. Where the connection is lost while COMMIT is on its way, nobody can say whether
        it came to be: that is Unavailable, and may stand all the same.
        """
        result = await self._repeat(work, self._begin[durable])
        self.batches += 1
        return result

    async def _repeat(self, work: Callable[[Transaction], Awaitable[T]], begin: str) -> T:
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._attempt(work, begin)
            except _LostBeforeCommit as lost:
                cause = lost.__cause__
                assert isinstance(cause, Exception)  # noqa: S101 - raised from it, below
                if attempt > 1:
                    raise refusal(cause) from cause
            except FAILURES as error:
                if attempt == _ATTEMPTS or not is_passing(error):
                    raise refusal(error) from error
                pause = min(_FIRST_PAUSE_S * 2**attempt, _LONGEST_PAUSE_S)
                await asyncio.sleep(random.uniform(0, pause))  # noqa: S311 - so that the two do not meet again

    async def _attempt(self, work: Callable[[Transaction], Awaitable[T]], begin: str) -> T:
        pool = self._opened()
        raw = await pool.take()
        committing = False
        try:
            await raw.execute(begin)
            result = await work(PostgresTransaction(raw))
            committing = True
            ended = await raw.execute("COMMIT")
        except BaseException as error:
            is_lost = await _undo(pool, raw, error)
            if is_lost and isinstance(error, FAILURES) and not isinstance(error, TimeoutError):
                pool.doubt()
                if not committing:
                    raise _LostBeforeCommit from error
            raise
        pool.give_back(raw)
        if ended != "COMMIT":  # `work` went on after an error of the database
            raise Unavailable("the database undid the transaction")
        return result

    async def _read(self, text: str, arguments: list[Any], *, one: bool) -> Any:
        if not self._target.prepared:
            return await self._read_in_transaction(text, arguments, one=one)
        pool = self._opened()
        is_last = False
        while True:
            raw = await pool.take()
            try:
                found = await (raw.fetchrow(text, *arguments) if one else raw.fetch(text, *arguments))
            except BaseException as error:
                lost = ends_connection(error, raw)
                if lost:
                    pool.drop(raw)
                else:
                    pool.give_back(raw)
                if not isinstance(error, FAILURES):
                    raise
                if is_last or not lost or isinstance(error, TimeoutError):
                    raise refusal(error) from error
                is_last = True
                pool.doubt()
            else:
                pool.give_back(raw)
                return found

    async def _read_in_transaction(self, text: str, arguments: list[Any], *, one: bool) -> Any:
        """Read where a pooler gives each transaction another connection: preparing and running must be in one."""

        async def work(transaction: Transaction) -> Any:
            raw = cast(PostgresTransaction, transaction).raw
            return await (raw.fetchrow(text, *arguments) if one else raw.fetch(text, *arguments))

        return await self._repeat(work, self._begin[True])

    def _opened(self) -> Pool:
        if self._pool is None:
            raise Unavailable("the database is closed")
        return self._pool


async def _undo(pool: Pool, raw: Raw, error: BaseException) -> bool:
    """End the transaction that `error` came out of. Return whether its connection is lost; else it is given back."""
    # When it was cancelled, what is under way on the connection is unknown.
    if not isinstance(error, Exception) or (isinstance(error, FAILURES) and ends_connection(error, raw)):
        pool.drop(raw)
        return True
    try:
        await raw.execute("ROLLBACK")
    except BaseException as failure:
        pool.drop(raw)
        if not isinstance(failure, FAILURES):
            raise
        return True
    pool.give_back(raw)
    return False
