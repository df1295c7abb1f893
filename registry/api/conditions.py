"""Changes that are made only to what was seen: ETag and If-Match (RFC 9110, sections 8.8.3 and 13.1.1).

What is compared is read in the transaction that makes the change, after changes of rights have been shut out: so of two
who saw the same and change it, one is refused.
"""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Header

from registry.api.asked import Asked
from registry.api.models import Shown
from registry.db import authority
from registry.db.connection import Database, Reader, Transaction
from registry.db.statements import Row, Rows, Statement
from registry.errors import PreconditionFailed
from registry.http.conditions import matches
from registry.services import audit

T = TypeVar("T")
S = TypeVar("S", bound=Shown)

IfMatch = Annotated[
    str | None, Header(alias="If-Match", max_length=8192, description="The ETag of what is to be changed, or `*`.")
]
"""Declared by handlers for the document; `change` and `remove` read it."""

Represent = Callable[[Reader], Awaitable[S]]
"""Reads what is shown of something. Raises RecordUnknown."""


def etag_of(shown: Shown) -> str:
    """Return the entity tag of what is shown, without what changes by mere use."""
    text = shown.model_dump_json(exclude=dict(shown.BY_USE))
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


async def change(
    asked: Asked, represent: Represent[S], work: Callable[[Database], Awaitable[object]], *, takes_away: bool = False
) -> S:
    """Make changes, all or none, and return what is shown afterwards.

    Args:
        work: calls services with the database that it gets, and waits for nothing else.
        takes_away: it works on a full disk, too.

    Raises:
        PreconditionFailed: what is there is not what If-Match names.
    """
    origin = audit.origin()

    async def run(transaction: Transaction) -> S:
        await authority.change(transaction)
        _check(asked, await represent(transaction))
        with audit.on_behalf_of(origin):
            await work(Joined(transaction))
        return await represent(transaction)

    return await asked.api.database.write(run, reserve=takes_away)


async def remove(asked: Asked, represent: Represent[S], work: Callable[[Database], Awaitable[object]]) -> None:
    """Remove something. Arguments and errors as above."""
    origin = audit.origin()

    async def run(transaction: Transaction) -> None:
        await authority.change(transaction)
        _check(asked, await represent(transaction))
        with audit.on_behalf_of(origin):
            await work(Joined(transaction))

    await asked.api.database.write(run, reserve=True)


def _check(asked: Asked, shown: Shown) -> None:
    header = asked.request.header(b"if-match")
    if header is not None and not matches(header, etag_of(shown), weak=False):
        raise PreconditionFailed("it has changed since: get it again")


class Joined:
    """A database of which everything happens in one transaction that is under way."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def all(self, statement: Statement, **parameters: Any) -> Rows:
        """Return every row."""
        return await self._transaction.all(statement, **parameters)

    async def first(self, statement: Statement, **parameters: Any) -> Row | None:
        """Return the first row, or None."""
        return await self._transaction.first(statement, **parameters)

    def encode_list(self, values: Sequence[str] | Sequence[int]) -> Any:
        """Return `values` as statements take them."""
        return self._transaction.encode_list(values)

    async def write(
        self, work: Callable[[Transaction], Awaitable[T]], *, reserve: bool = False, durable: bool = True
    ) -> T:
        """Run `work` in the transaction."""
        return await work(self._transaction)

    async def start(self) -> None:
        """Do nothing: it is open."""

    async def stop(self) -> None:
        """Do nothing: whoever began the transaction ends it."""

    async def check(self) -> None:
        """Return: a transaction is under way."""

    def mark(self) -> str:
        """Return that it is not known."""
        return ""

    def generation(self) -> bytes | None:
        """Return None: what the transaction has changed is nobody else's yet."""
        return None

    @property
    def batches(self) -> int:
        """Nothing is committed here."""
        return 0

    def check_room(self) -> None:
        """Return: that was asked when the transaction began."""
