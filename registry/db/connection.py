"""What queries are written against: a reader, a transaction, a database. Implemented once per dialect.

Queries are coroutines so that they serve both dialects: on PostgreSQL they wait for the network, on SQLite they run
to their end without ever waiting (`registry.db.sqlite` says how). `docs/decisions/002-queries-as-coroutines.md`.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

from registry.db.statements import Parameters, Row, Rows, Statement

T = TypeVar("T")


class Reader(Protocol):
    """Runs statements that change nothing. Results are read to their end at once: no cursor stays open."""

    async def all(self, statement: Statement, **parameters: Any) -> Rows:
        """Return every row."""

    async def first(self, statement: Statement, **parameters: Any) -> Row | None:
        """Return the first row, or None."""

    def encode_list(self, values: Sequence[str] | Sequence[int]) -> Any:
        """Return `values` in the form that the parameter of `statements.one_of` takes here."""


class Transaction(Reader, Protocol):
    """Runs statements inside one transaction. What it wrote is durable when `Database.write` returns, not before."""

    async def run(self, statement: Statement, **parameters: Any) -> int:
        """Run a statement and return how many rows it touched."""

    async def run_many(self, statement: Statement, rows: list[Parameters]) -> None:
        """Run a statement once for each set of parameters."""


class Database(Reader, Protocol):
    """The one SQL database. Reading directly sees the latest committed state, one statement at a time."""

    async def start(self) -> None:
        """Open connections. Raises Unavailable if that can't get better by itself."""

    async def stop(self) -> None:
        """Finish what was begun and close."""

    async def check(self) -> None:
        """Return if the database answers now; raise Unavailable, saying why, if not."""

    def mark(self) -> str:
        """Return what tells this database from others: two servers with the same mark are on the same one.

        "" where that is not known, yet: it is once `check` has returned.
        """

    def generation(self) -> bytes | None:
        """Return what every commit changes, by any process, so that what was read as of it is still so.

        None where that can't be told without asking the database.
        """

    @property
    def batches(self) -> int:
        """How many transactions were committed since the start; those that shared a commit count as one."""

    def check_room(self) -> None:
        """Return if transactions that grow are accepted now. Asked before bytes are taken in vain.

        Raises:
            NoSpace: the disk is full but for what is kept in reserve.
        """

    async def write(
        self, work: Callable[[Transaction], Awaitable[T]], *, reserve: bool = False, durable: bool = True
    ) -> T:
        """Run `work` in one transaction, commit, and return its result.

        `work` may be run in a transaction shared with others, behind a savepoint: an exception from it undoes its own
        changes only and is raised here. It must wait for nothing but its transaction, and may be run again, in another
        transaction, when the first came to nothing.

        `reserve` lets it draw on the room that is kept for a full disk: for what makes room (deleting, cancelling,
        jobs) and what must work all the same (holding what a client was told exists).

        Without `durable` it survives the end of the process at once, and power loss a little later: for what a client
        is not promised to find again (upload sessions).

        Raises:
            NoSpace: the disk is full; nothing of this transaction is kept.
            Unavailable: the transaction or the commit failed; nothing of this transaction is kept.
        """
