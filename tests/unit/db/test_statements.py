"""Every statement compiles for both dialects, and SQLite runs each by an index."""

import importlib
import pkgutil
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

import registry.db
from registry.db.sqlite import connect
from registry.db.statements import Statement, parameter
from registry.db.tables import tags
from tests.support import postgresql

SCANS_ON_PURPOSE = {
    "candidates._COUNT": "figures tell how many there are; it stops at as many as its limit",
    "scrub._ALL": "scrubbing walks the rows in the order of their ids from where the page begins",
    "scrub._COUNT_ALL": "`stowage scrub` tells a person at a terminal how far it has come",
    "scrub._COUNT_QUARANTINED": "figures tell how many there are, from an index that holds only those",
    "scrub._COUNT_UNVERIFIED": "figures tell how many there are, from an index that holds only those",
    "scrub._QUARANTINED": "it walks an index that holds only those",
    "scrub._UNVERIFIED": "it walks an index that holds only those",
    "doomed._TOTAL": "`stowage du` tells how much waits to be deleted",
    "doomed._HELD": "figures tell how much stays for copies of the database; it stops at as many as its limit",
    "doomed._KEEP_ALL": "once, when a copy of the database is restored",
    "restored._LATER": "once, when a copy of the database is restored",
    "restored._STORES": "once, when a copy of the database is restored",
    "backups._ALL": "there are as many as copies are kept",
    "backups._REMOVE_COPIES": "there are as many as copies are kept",
    "backups._REMOVE_SPENT": "there are as many as copies are kept",
    "usage._STORED": "`stowage du` tells what all blobs take together",
    "uploads._COUNT": "figures tell how many there are; it stops at as many as its limit",
    "outbox._FORGET": "it looks at the oldest, a bounded number of them, in the order of their ids",
    "repositories._PAGE": "the catalog walks the index of names from where the page begins",
    "stores._ALL": "there are as many as registries were taken over",
    "stores._IN_USE": "there are as many as registries were taken over; whether a blob lies there is in an index",
    "stores._ALL_FINISHED": "there are as many as registries were taken over",
    "stores._LAST": "the last by id: there are as many as registries were taken over",
}


def statements() -> dict[str, Statement]:
    found = {}
    for module in pkgutil.iter_modules(registry.db.__path__):
        for name, value in vars(importlib.import_module(f"registry.db.{module.name}")).items():
            if isinstance(value, Statement):
                found[f"{module.name}.{name}"] = value
    return found


def test_there_are_statements_to_look_at() -> None:
    assert len(statements()) > 40


@pytest.mark.parametrize("name", statements())
def test_a_statement_compiles_for_both_dialects_and_names_the_same_parameters(name: str) -> None:
    statement = statements()[name]
    in_sqlite = set(re.findall(r":([a-z_]+)\b", statement.sqlite))
    text, names = statement.postgresql
    assert in_sqlite == set(names)
    assert {int(number) for number in re.findall(r"\$([0-9]+)", text)} == set(range(1, len(names) + 1))


@pytest.mark.parametrize("name", statements())
def test_sqlite_scans_no_table(name: str, path: Path) -> None:
    raw = connect(path)
    parameters: dict[str, object] = defaultdict(lambda: 1)
    parameters.update(digests="[]", keys="[]")
    used = set(re.findall(r":([a-z_]+)\b", statements()[name].sqlite))
    plan = raw.execute(f"EXPLAIN QUERY PLAN {statements()[name].sqlite}", {key: parameters[key] for key in used})
    scans = [
        row[3] for row in plan.fetchall() if "SCAN" in row[3] and "json_each" not in row[3] and "CONSTANT" not in row[3]
    ]
    raw.close()
    assert not scans or name in SCANS_ON_PURPOSE, scans


def test_a_constant_that_is_no_number_is_refused() -> None:
    with pytest.raises(TypeError, match="make it a parameter"):
        _ = Statement(select(tags.c.name).where(tags.c.name == "latest")).sqlite


def test_a_parameter_keeps_its_name() -> None:
    assert ":tag" in Statement(select(tags.c.name).where(tags.c.name == parameter("tag"))).sqlite


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A database of PostgreSQL with this version's schema."""
    cluster = postgresql.shared_cluster()
    made = cluster.create()
    yield made
    cluster.drop(made)


def test_postgresql_takes_every_statement_and_scans_no_table(url: str) -> None:
    """It would scan, since the tables are empty, if it were not told that this costs much."""
    script = ["SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan;"]
    values = {"TEXT": "''", "TEXT[]": "'{}'", "BIGINT": "1", "BYTEA": "''", "": "1"}
    for number, statement in enumerate(statements().values()):
        text, names = statement.postgresql
        types = dict(re.findall(r"\$(\d+)(?:::(\w+(?:\[\])?))?", text))
        given = ", ".join(values[types[str(place + 1)]] for place in range(len(names)))
        script += [f"PREPARE s{number} AS {text};", f"EXPLAIN EXECUTE s{number}{given and f'({given})'};"]
    script += ["SELECT 'all of them'"]
    plans = postgresql.shared_cluster().run("\n".join(script), postgresql.name_of(url))
    scanned = {"upload_sessions", "blobs", "doomed", "backups", "jobs"}  # SCANS_ON_PURPOSE, and what a restore empties
    assert set(re.findall(r"Seq Scan on (\w+)", plans)) == scanned
    assert plans.endswith("all of them")
