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
from tests.support.databases import new_sqlite

SCANS_ON_PURPOSE = {
    "history._DIFFERING": "what has changed since a moment, found by the indexes",
    "audit._LAST_SEAL": "it reads one row from the end of the index",
    "quota_items._COUNTING": "once in a while a blob turns out to have another size; there are as many as projects",
    "quotas._SUMS": "it adds up what was counted for one project, found by the index",
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
    "events._NEXT_UNPLACED": "it reads one row of an index that holds only those",
    "events._FIRST_AWAITED": "it walks an index that holds only those, to the first that is not of a paused webhook",
    "webhooks._EVERY": "there are as many as somebody made",
    "webhooks._REVISIONS": "there are as many as somebody made",
    "webhooks._REMOVE_ABSENT": "there are as many as somebody made",
    "deliveries._WAITING": "figures tell how many there are; it stops at as many as its limit",
    "deliveries._COUNT_GIVEN_UP": "figures tell how many there are; it stops at as many as its limit",
    "events._WAITING": "figures tell how many there are; it stops at as many as its limit",
    "events._PLACE": "it walks an index that holds only those",
    "repositories._PAGE": "the catalog walks the index of names from where the page begins",
    "stores._ALL": "there are as many as registries were taken over",
    "stores._IN_USE": "there are as many as registries were taken over; whether a blob lies there is in an index",
    "stores._ALL_FINISHED": "there are as many as registries were taken over",
    "stores._LAST": "the last by id: there are as many as registries were taken over",
    "credentials._FORGET": "a job, once an hour",
    "credentials._REVOKE_ALL": "somebody at a terminal ends every credential there is",
    "grants._EXCEPTIONS": "when somebody is removed, it walks an index that holds only the rules with exceptions",
    "grants._ROLES": "there are as many as somebody thought of",
    "grants._ROLE_IN_USE": "asked when a role is removed; it stops at the first",
    "signing_keys._ALL": "there are two or three",
    "signing_keys._END": "there are two or three",
    "signing_keys._FORGET": "there are two or three",
    "users._COUNT_ADMINS": "asked when an admin is to be one no more",
}


def statements() -> dict[str, Statement]:
    found = {}
    for module in pkgutil.iter_modules(registry.db.__path__):
        for name, value in vars(importlib.import_module(f"registry.db.{module.name}")).items():
            if isinstance(value, Statement):
                found[f"{module.name}.{name}"] = value
    return found


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the schema of this version, which nobody changes."""
    made = tmp_path_factory.mktemp("statements") / "test.sqlite3"
    new_sqlite(made)
    return made


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


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("deliveries._WAITING", "ix_deliveries_waiting (webhook_id=?)"),
        ("deliveries._COUNT_GIVEN_UP", "ix_deliveries_given_up (webhook_id=?)"),
        ("deliveries._GIVEN_UP", "ix_deliveries_given_up (webhook_id=? AND position>?)"),
        ("deliveries._PAGE_GIVEN_UP", "ix_deliveries_given_up (webhook_id=? AND position<?)"),
        ("deliveries._OF_REPOSITORY", "ix_deliveries_waiting (webhook_id=? AND repository=?)"),
        ("deliveries._DUE", "ix_deliveries_waiting (webhook_id=? AND repository=? AND position<?)"),
        ("deliveries._NEXT", "ix_deliveries_waiting (webhook_id=? AND repository=? AND position<?)"),
        ("deliveries._UP_TO", "ix_deliveries_over (state=? AND done_at<?)"),
        ("events._FIRST_AWAITED", "ix_deliveries_awaited"),
    ],
)
def test_sqlite_finds_the_few_deliveries_that_count_among_the_many_that_are_over(
    name: str, index: str, path: Path
) -> None:
    """It would take the primary key, by which all of a webhook come, for as good: it knows nothing of the rows."""
    raw = connect(path)
    text = statements()[name].sqlite
    used = dict.fromkeys(re.findall(r":([a-z_]+)\b", text), 1)
    plan = [row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {text}", used)]
    raw.close()
    assert any(line.endswith(index) for line in plan), plan


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
    values = {"TEXT": "''", "TEXT[]": "'{}'", "BIGINT[]": "'{}'", "BIGINT": "1", "BYTEA": "''", "": "1"}
    for number, statement in enumerate(statements().values()):
        text, names = statement.postgresql
        types = dict(re.findall(r"\$(\d+)(?:::(\w+(?:\[\])?))?", text))
        given = ", ".join(values[types[str(place + 1)]] for place in range(len(names)))
        script += [f"PREPARE s{number} AS {text};", f"EXPLAIN EXECUTE s{number}{given and f'({given})'};"]
    script += ["SELECT 'all of them'"]
    plans = postgresql.shared_cluster().run("\n".join(script), postgresql.name_of(url))
    scanned = {"upload_sessions", "blobs", "doomed", "backups", "jobs"}  # SCANS_ON_PURPOSE, and what a restore empties
    scanned |= {"users", "signing_keys", "credentials", "webhooks"}
    assert set(re.findall(r"Seq Scan on (\w+)", plans)) == scanned
    assert plans.endswith("all of them")
