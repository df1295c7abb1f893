"""What every database does, whatever keeps it: transactions that stand alone, and read what others have committed."""

import asyncio

import pytest
from sqlalchemy import text

from registry.db import repositories, uploads
from registry.db.connection import Database, Transaction
from registry.db.statements import Statement
from registry.db.uploads import UploadSession
from registry.errors import NameInvalid, Unavailable
from registry.oci.names import RepositoryName
from storage.digest import digest_bytes
from tests.support.databases import Place

pytestmark = pytest.mark.anyio


def name(number: int) -> RepositoryName:
    return RepositoryName(f"r{number:04}")


async def test_many_transactions_at_once_all_commit(database: Database) -> None:
    names = [name(number) for number in range(500)]

    async def create(one: RepositoryName) -> int:
        return await database.write(lambda tx: repositories.find_or_create(tx, one))

    await asyncio.gather(*(create(one) for one in names))
    assert await repositories.page(database, after="", limit=1000) == names


async def test_an_error_undoes_its_own_transaction_only(database: Database) -> None:
    async def fails(transaction: Transaction) -> None:
        await repositories.find_or_create(transaction, RepositoryName("lost"))
        raise NameInvalid("no")

    results = await asyncio.gather(
        database.write(lambda tx: repositories.find_or_create(tx, name(1))),
        database.write(fails),
        database.write(lambda tx: repositories.find_or_create(tx, name(2))),
        return_exceptions=True,
    )
    assert isinstance(results[1], NameInvalid)
    assert await repositories.page(database, after="", limit=9) == [name(1), name(2)]


async def test_a_broken_constraint_undoes_its_own_transaction_only(database: Database) -> None:
    twice = Statement(text("INSERT INTO repositories (id, name, created_at) VALUES (77, 'x', 0)"))
    await database.write(lambda tx: tx.run(twice))
    results = await asyncio.gather(
        database.write(lambda tx: tx.run(twice)),
        database.write(lambda tx: repositories.find_or_create(tx, name(3))),
        return_exceptions=True,
    )
    assert isinstance(results[0], Unavailable)
    assert await repositories.find(database, name(3)) == results[1]


async def test_names_sort_by_their_bytes(database: Database) -> None:
    names = [RepositoryName(one) for one in ("a-b", "a/b", "a0", "a_b", "ab", "b")]
    for one in reversed(names):
        await database.write(lambda tx, one=one: repositories.find_or_create(tx, one))  # type: ignore[misc]  # a lambda's default
    assert await repositories.page(database, after="", limit=9) == sorted(names) == names


async def test_a_bound_holds_for_those_who_begin_at_once(place: Place) -> None:
    async def begin(database: Database, number: int) -> bool:
        async def work(transaction: Transaction) -> bool:
            if await uploads.is_full(transaction, name(0), most=7, age_s=60):
                return False
            digest = digest_bytes(b"")
            new = UploadSession(f"{number}", name(0), "filesystem", "", "sha256", 0, digest, 0)
            await uploads.insert_session(transaction, new)
            return True

        return await database.write(work, durable=False)

    both = [place.new(), place.new()]
    for one in both:
        await one.start()
    begun = await asyncio.gather(*(begin(both[number % 2], number) for number in range(40)))
    assert sum(begun) == 7
    for one in both:
        await one.stop()


async def test_the_mark_is_the_databases_own(place: Place, database: Database) -> None:
    other = place.new()
    await other.start()
    await database.check()
    await other.check()
    assert database.mark() == other.mark() != ""
    await other.stop()


async def test_where_a_generation_is_told_every_commit_is_another(place: Place, database: Database) -> None:
    other = place.new()
    await other.start()
    seen = {database.generation()}
    for number, writer in enumerate((database, other, database)):
        await writer.write(lambda tx, number=number: repositories.find_or_create(tx, name(number)))  # type: ignore[misc]  # a lambda's default
        assert database.generation() == other.generation()
        seen.add(database.generation())
    assert len(seen) == 4 or seen == {None}
    await other.stop()


async def test_what_is_closed_says_so(place: Place) -> None:
    closed = place.new()
    with pytest.raises(Unavailable, match="closed"):
        await closed.check()
    with pytest.raises(Unavailable, match="closed"):
        await closed.write(lambda tx: repositories.find(tx, name(1)))
