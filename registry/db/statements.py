"""Statements: written once in SQLAlchemy Core, compiled once per dialect to text for the driver.

Compiling costs far more than running (18 µs against 6 for a tag's manifest), so every statement is a module constant
next to the function that runs it, and a connection asks for the text of its own dialect.
"""

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, BindParameter, ColumnElement, Integer, Text, bindparam
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement
from sqlalchemy.sql.expression import Executable

_SQLITE: Dialect = sqlite.dialect(paramstyle="named")
# SQLAlchemy's dialect for asyncpg, which needs neither asyncpg nor greenlet to compile: it writes down the type of each
# parameter, which PostgreSQL would otherwise guess, and asyncpg take at its word.
_POSTGRESQL: Dialect = asyncpg.dialect(paramstyle="pyformat")  # type: ignore[no-untyped-call]  # untyped there
_PARAMETER = re.compile(r"%\((\w+)\)s(?:::(\w+(?:\[\])?))?|%%")
_WIDEST = {"SMALLINT": "BIGINT", "INTEGER": "BIGINT", "VARCHAR": "TEXT"}


class Numbered(NamedTuple):
    """A statement with `$1` parameters, and whose value each of them takes."""

    text: str
    names: tuple[str, ...]


class Statement:
    """One SQL statement. Parameters are named with `bindparam` and given by name when it runs.

    Args:
        hot: it is asked again and again, with the same parameters in the same order, and what it finds follows from
            them and the tables alone (so not from `now`): it may be remembered until something is committed.
    """

    def __init__(self, construct: Executable, *, hot: bool = False) -> None:
        self._construct = construct
        self.hot = hot

    @cached_property
    def sqlite(self) -> str:
        """Text with `:name` parameters."""
        return self._compile(_SQLITE)

    @cached_property
    def postgresql(self) -> Numbered:
        """Text with `$1` parameters."""
        return _numbered(self._compile(_POSTGRESQL))

    def _compile(self, dialect: Dialect) -> str:
        assert isinstance(self._construct, ClauseElement)  # noqa: S101 - every Executable of Core is one
        compiled = self._construct.compile(dialect=dialect)
        assert isinstance(compiled, SQLCompiler)  # noqa: S101 - it was not DDL
        text = str(compiled)
        for name, bind in compiled.binds.items():
            if not bind.required:  # a constant of the statement, not a parameter of the caller's
                text = re.sub(rf":{name}\b|%\({name}\)s", _as_constant(bind.value), text)
        return text


def _numbered(text: str) -> Numbered:
    """Number the parameters of a text with `%(name)s`; one that is used twice has one number and one type."""
    types: dict[str, str] = {}
    for found in _PARAMETER.finditer(text):
        if found[1]:
            types[found[1]] = _WIDEST.get(found[2], found[2]) if found[2] else types.get(found[1], "")
    names = tuple(types)

    def number(found: re.Match[str]) -> str:
        if not found[1]:
            return "%"
        kind = types[found[1]]
        return f"${names.index(found[1]) + 1}{kind and '::'}{kind}"

    return Numbered(_PARAMETER.sub(number, text), names)


def _as_constant(value: object) -> str:
    if value is None:
        return "NULL"
    if type(value) is int:
        return str(value)
    raise TypeError(f"a statement's constants are whole numbers, not {value!r}: make it a parameter")


def parameter(name: str) -> BindParameter[Any]:
    """Name a parameter of a statement."""
    return bindparam(name)


class now(ColumnElement[int]):  # noqa: N801 - used like a function of SQL
    """The database's clock: whole microseconds since the epoch."""

    inherit_cache = True
    type = BigInteger()


@compiles(now, "sqlite")
def _now_sqlite(element: now, compiler: SQLCompiler, **kwargs: Any) -> str:
    return "CAST(unixepoch('subsec') * 1000000 AS INTEGER)"


@compiles(now, "postgresql")
def _now_postgresql(element: now, compiler: SQLCompiler, **kwargs: Any) -> str:
    return "CAST(extract(epoch from clock_timestamp()) * 1000000 AS BIGINT)"


class one_of(ColumnElement[bool]):  # noqa: N801 - used like an operator of SQL
    """`column` equals one of a list given as a parameter: one text for lists of any length.

    The parameter's value is a list of what the column holds, strings or integers, passed through `Reader.encode_list`.
    """

    inherit_cache = True

    def __init__(self, column: ColumnElement[str] | ColumnElement[int], name: str) -> None:
        self.column = column
        kind = BigInteger if isinstance(column.type, Integer) else Text
        self.values = bindparam(name, type_=postgresql.ARRAY(kind))


class likely(ColumnElement[bool]):  # noqa: N801 - used like a function of SQL
    """A condition that many rows fulfil. SQLite knows of none: it takes any column of an index to be choosy."""

    inherit_cache = True

    def __init__(self, condition: ColumnElement[bool]) -> None:
        self.condition = condition


@compiles(likely, "sqlite")
def _likely_sqlite(element: likely, compiler: SQLCompiler, **kwargs: Any) -> str:
    return f"likely({compiler.process(element.condition, **kwargs)})"


@compiles(likely, "postgresql")
def _likely_postgresql(element: likely, compiler: SQLCompiler, **kwargs: Any) -> str:
    return compiler.process(element.condition, **kwargs)


class turn_of(ColumnElement[int]):  # noqa: N801 - used like a function of SQL
    """Wait, until the transaction ends, for whoever else takes the turn of the same name: a parameter.

    For what no row stands for. It says nothing; SQLite has one writer, whose turn it is already. Those who `share` it
    wait for none but who does not.
    """

    inherit_cache = True
    type = BigInteger()

    def __init__(self, name: str, *, share: bool = False) -> None:
        self.name = bindparam(name, type_=Text())
        self.shared = "_shared" if share else ""


@compiles(turn_of, "sqlite")
def _turn_of_sqlite(element: turn_of, compiler: SQLCompiler, **kwargs: Any) -> str:
    return f"{compiler.process(element.name, **kwargs)} IS NULL"


@compiles(turn_of, "postgresql")
def _turn_of_postgresql(element: turn_of, compiler: SQLCompiler, **kwargs: Any) -> str:
    name = compiler.process(element.name, **kwargs)
    return f"pg_advisory_xact_lock{element.shared}(hashtextextended({name}, 0)) IS NULL"


@compiles(one_of, "sqlite")
def _one_of_sqlite(element: one_of, compiler: SQLCompiler, **kwargs: Any) -> str:
    column, values = compiler.process(element.column, **kwargs), compiler.process(element.values, **kwargs)
    return f"{column} IN (SELECT value FROM json_each({values}))"


@compiles(one_of, "postgresql")
def _one_of_postgresql(element: one_of, compiler: SQLCompiler, **kwargs: Any) -> str:
    column, values = compiler.process(element.column, **kwargs), compiler.process(element.values, **kwargs)
    return f"{column} = ANY({values})"


Parameters = dict[str, Any]
Row = tuple[Any, ...]
Rows = Sequence[Row]
