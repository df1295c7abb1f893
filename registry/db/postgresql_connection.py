"""A connection to PostgreSQL: how it is made, statements run on it, errors in the project's own terms."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import asyncpg

from registry.database_settings import DatabaseSettings
from registry.db.statements import Numbered, Parameters, Row, Rows, Statement
from registry.errors import NoSpace, Unavailable
from registry.setting_types import SECRET, masked

T = TypeVar("T")
if TYPE_CHECKING:
    Raw: TypeAlias = asyncpg.Connection[asyncpg.Record]
else:
    Raw = asyncpg.Connection  # which is generic in its stubs only

FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
"""What asyncpg raises; that time has run out is an OSError, too."""

_CONNECT_S = 5.0
_GRACE_S = 5.0  # the server is given so much longer than `database.timeout`, so that it is the one that says why
_KEPT_STATEMENTS = 512

_WORDS = {
    "28P01": "it refuses the user or the password",
    "28000": "it refuses the user, or this machine",
    "3D000": "there is no such database",
    "42501": "its user has not the right to",
    "42P01": "its schema is not this registry's: run `stowage migrate`",
    "42703": "its schema is not this version's: run `stowage migrate`",
    "53300": "it has too few connections (max_connections): lower `database.pool`, or put a pooler in between",
    "57014": "it was cancelled: it took longer than `database.timeout`",
    "57P01": "it was shut down",
    "57P02": "it crashed",
    "57P03": "it is starting up or shutting down",
    "25006": "it is read-only: a standby, or set so",
}
_FULL = "53100"
_READ_ONLY = "25006"
_GONE = {"08000", "08003", "08006", "08P01", "57P01", "57P02", "57P03", "57P05", "25P03", _READ_ONLY}
# Another transaction was in the way: serialization, deadlock, lock timeout; and a row that came, or went, in between.
_PASSING = {"40001", "40P01", "55P03", "23505", "23503"}


@dataclass(frozen=True, slots=True)
class Target:
    """A database and how it is used. `pool` is the most connections of a process."""

    url: str = field(repr=False)
    password: str | None = field(repr=False, default=None)
    pool: int = 10
    timeout_s: int = 30
    prepared: bool = True

    @classmethod
    def of(cls, settings: DatabaseSettings) -> "Target":
        """Return what the settings say, whose URL is PostgreSQL's."""
        password = None if settings.password is None else settings.password.get_secret_value()
        return cls(settings.url or "", password, settings.pool, settings.timeout, settings.prepared)

    @property
    def name(self) -> str:
        """The URL without a password."""
        return masked(self.url).replace(f":{SECRET}@", "@")


async def connect(target: Target) -> Raw:
    """Open a connection. Raises Unavailable. To be run in a task."""
    settings = {"application_name": "stowage"}
    if target.prepared:  # a pooler takes none of these: then they are set in each transaction
        settings |= _bounds(target)
    try:
        return await asyncpg.connect(
            target.url,
            password=target.password,
            timeout=_CONNECT_S,
            command_timeout=target.timeout_s + _GRACE_S,
            statement_cache_size=_KEPT_STATEMENTS if target.prepared else 0,
            max_cached_statement_lifetime=0,
            server_settings=settings,
        )
    except (*FAILURES, ValueError) as error:
        raise unreachable(error) from error


def beginning(target: Target, *, durable: bool) -> str:
    """Return what begins a transaction, in one round trip."""
    bounds = {} if target.prepared else _bounds(target)
    return "; ".join(
        (
            "BEGIN",
            *(f"SET LOCAL {name} = {value}" for name, value in bounds.items()),
            *(() if durable else ("SET LOCAL synchronous_commit = off",)),
        )
    )


def _bounds(target: Target) -> dict[str, str]:
    milliseconds = str(target.timeout_s * 1000)
    return {"statement_timeout": milliseconds, "idle_in_transaction_session_timeout": milliseconds}


def unreachable(error: Exception) -> Unavailable:
    """Say why no connection could be made, without the address, which clients have no business with."""
    code = getattr(error, "sqlstate", None)
    if code in _WORDS:
        return Unavailable(f"the database can't be used: {_WORDS[code]}")
    if isinstance(error, TimeoutError):
        return Unavailable(f"the database does not answer within {_CONNECT_S:g} s")
    if isinstance(error, ConnectionRefusedError) or "Connect call failed" in str(error):
        return Unavailable("the database can't be reached: nothing listens there")
    if isinstance(error, OSError) and error.strerror:
        return Unavailable(f"the database can't be reached: {error.strerror}")
    return Unavailable(f"the database can't be used: {masked(str(error))}")


def refusal(error: Exception) -> Unavailable:
    """Translate an error of a statement: a full disk, or anything else that is not the request's fault."""
    if isinstance(error, Unavailable):
        return error
    code = getattr(error, "sqlstate", None)
    if code == _FULL:
        return NoSpace("the database's disk is full")
    if isinstance(error, TimeoutError):
        return Unavailable("the database did not answer in time")
    if code in _WORDS:
        return Unavailable(f"the database failed: {_WORDS[code]}")
    return Unavailable(f"the database failed: {error}")


def ends_connection(error: BaseException, raw: Raw) -> bool:
    """Say whether a connection is of no more use after `error`: it is gone, or what is on its way on it is unknown."""
    if not isinstance(error, asyncpg.PostgresError) or raw.is_closed():
        return True
    return code_of(error) in _GONE


def is_passing(error: Exception) -> bool:
    """Say whether a transaction that failed so may succeed when it is run again."""
    if isinstance(error, asyncpg.InvalidCachedStatementError | asyncpg.OutdatedSchemaCacheError):
        return True
    return code_of(error) in _PASSING


def code_of(error: BaseException) -> str:
    """Return the SQLSTATE of an error; "" if it has none."""
    return getattr(error, "sqlstate", None) or ""


class PostgresTransaction:
    """A Transaction on one connection. One statement at a time."""

    __slots__ = ("raw",)

    def __init__(self, raw: Raw) -> None:
        self.raw = raw

    async def all(self, statement: Statement, **parameters: Any) -> Rows:
        """Return every row."""
        text = statement.postgresql
        return cast(Rows, await self.raw.fetch(text.text, *values(text, parameters)))

    async def first(self, statement: Statement, **parameters: Any) -> Row | None:
        """Return the first row, or None."""
        text = statement.postgresql
        return cast(Row | None, await self.raw.fetchrow(text.text, *values(text, parameters)))

    async def run(self, statement: Statement, **parameters: Any) -> int:
        """Run a statement and return how many rows it touched."""
        text = statement.postgresql
        status = await self.raw.execute(text.text, *values(text, parameters))
        count = status.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    async def run_many(self, statement: Statement, rows: list[Parameters]) -> None:
        """Run a statement once for each set of parameters, in one round trip."""
        text = statement.postgresql
        await self.raw.executemany(text.text, [values(text, row) for row in rows])

    def encode_list(self, values: Sequence[str] | Sequence[int]) -> Sequence[str] | Sequence[int]:
        """Leave a list as it is."""
        return values


def values(text: Numbered, parameters: Parameters) -> list[Any]:
    """Return the parameters in the order of their numbers."""
    return [parameters[name] for name in text.names]
