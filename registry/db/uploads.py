"""Upload sessions: how far each is acknowledged."""

from dataclasses import dataclass, replace

from sqlalchemy import delete, func, insert, literal, select, update

from registry.db.connection import Reader, Transaction
from registry.db.statements import Statement, now, parameter, turn_of
from registry.db.tables import upload_sessions
from registry.oci.names import RepositoryName
from storage.digest import Digest


@dataclass(frozen=True, slots=True)
class UploadSession:
    """An unfinished blob. `received` bytes are acknowledged, and `digest` is the digest of exactly those.

    `state` belongs to the blob driver; `generation` grows with every change, so that of two writers one loses. It is
    odd while somebody has claimed the session to write to it, which matters where the driver doesn't lock: even again
    once what was written is acknowledged, but odd for good if that never comes.
    """

    id: str
    repository: RepositoryName
    store: str
    state: str
    algorithm: str
    received: int
    digest: Digest
    generation: int

    @property
    def is_claimed(self) -> bool:
        """Whether somebody claimed it and did not acknowledge anything since."""
        return self.generation % 2 == 1

    def claimed(self) -> "UploadSession":
        """Return it as it is once it is claimed, by another if it was before."""
        return replace(self, generation=self.generation + (2 if self.is_claimed else 1))

    def advanced(self, state: str, received: int, digest: Digest) -> "UploadSession":
        """Return it as it is once `received` bytes are acknowledged."""
        generation = self.generation + (1 if self.is_claimed else 2)
        return replace(self, state=state, received=received, digest=digest, generation=generation)


_table = upload_sessions.c
_COLUMNS = (
    _table.id,
    _table.repository,
    _table.store,
    _table.state,
    _table.algorithm,
    _table.received,
    _table.digest,
    _table.generation,
)
_FIND = Statement(select(*_COLUMNS).where(_table.id == parameter("id")))
_INSERT = Statement(
    insert(upload_sessions).values(
        id=parameter("id"),
        repository=parameter("repository"),
        store=parameter("store"),
        state=parameter("state"),
        algorithm=parameter("algorithm"),
        received=parameter("received"),
        digest=parameter("digest"),
        generation=parameter("generation"),
        created_at=now(),
        updated_at=now(),
    )
)
_ADVANCE = Statement(
    update(upload_sessions)
    .where(_table.id == parameter("upload_id"), _table.generation == parameter("expected"))
    .values(
        state=parameter("new_state"),
        received=parameter("new_received"),
        digest=parameter("new_digest"),
        generation=parameter("new_generation"),
        updated_at=now(),
    )
)
_TURN = Statement(select(turn_of("repository")))
_TOUCH = Statement(
    update(upload_sessions)
    .where(_table.id == parameter("upload_id"), _table.generation == parameter("expected"))
    .values(updated_at=now())
)
_END = Statement(
    delete(upload_sessions).where(_table.id == parameter("upload_id"), _table.generation == parameter("expected"))
)
_ANOTHER = select(literal(1)).where(_table.repository == parameter("repository")).limit(1).offset(parameter("others"))
_ANOTHER_ROW = Statement(_ANOTHER)
_ANOTHER_OPEN = Statement(_ANOTHER.where(_table.updated_at >= now() - parameter("age")))
_REMOVE = Statement(delete(upload_sessions).where(_table.id == parameter("id")))
_STALE = Statement(
    select(*_COLUMNS)
    .where(_table.updated_at < now() - parameter("age"))
    .order_by(_table.updated_at)
    .limit(parameter("limit"))
)

_COUNT = Statement(
    select(func.count()).select_from(
        select(literal(1)).select_from(upload_sessions).limit(parameter("most")).subquery()
    )
)
_BRING_BACK = Statement(update(upload_sessions).where(_table.updated_at > now()).values(updated_at=now()))


async def find(reader: Reader, upload_id: str) -> UploadSession | None:
    """Return a session, or None."""
    row = await reader.first(_FIND, id=upload_id)
    return None if row is None else UploadSession(*row)


async def insert_session(transaction: Transaction, session: UploadSession) -> None:
    """Record a new session."""
    await transaction.run(
        _INSERT,
        id=session.id,
        repository=session.repository,
        store=session.store,
        state=session.state,
        algorithm=session.algorithm,
        received=session.received,
        digest=session.digest,
        generation=session.generation,
    )


async def is_full(transaction: Transaction, repository: RepositoryName, *, most: int, age_s: int) -> bool:
    """Say whether a repository has `most` sessions that somebody wrote to within `age_s` seconds.

    Until the transaction ends, nobody else asks this of the repository, which has no row to lock yet.
    """
    await transaction.first(_TURN, repository=repository)
    # From the index alone, and of `most` entries at the most. Only if there are so many, the rows tell their age.
    if await transaction.first(_ANOTHER_ROW, repository=repository, others=most - 1) is None:
        return False
    found = await transaction.first(_ANOTHER_OPEN, repository=repository, others=most - 1, age=age_s * 1_000_000)
    return found is not None


async def advance(transaction: Transaction, before: UploadSession, after: UploadSession) -> bool:
    """Record what is acknowledged now. Return False if the session changed or ended meanwhile."""
    touched = await transaction.run(
        _ADVANCE,
        upload_id=before.id,
        expected=before.generation,
        new_state=after.state,
        new_received=after.received,
        new_digest=after.digest,
        new_generation=after.generation,
    )
    return touched == 1


async def touch(transaction: Transaction, session: UploadSession) -> bool:
    """Note that somebody is still writing to a session. Return False if it changed or ended."""
    return await transaction.run(_TOUCH, upload_id=session.id, expected=session.generation) == 1


async def end(transaction: Transaction, session: UploadSession) -> bool:
    """Forget a session if it did not change. Return whether it did not."""
    return await transaction.run(_END, upload_id=session.id, expected=session.generation) == 1


async def remove(transaction: Transaction, upload_id: str) -> bool:
    """Forget a session. Return whether it was there."""
    return await transaction.run(_REMOVE, id=upload_id) == 1


async def stale(reader: Reader, *, age_s: int, limit: int) -> list[UploadSession]:
    """Return up to `limit` sessions nobody wrote to for `age_s` seconds, the oldest first."""
    return [UploadSession(*row) for row in await reader.all(_STALE, age=age_s * 1_000_000, limit=limit)]


async def count(reader: Reader, *, most: int) -> int:
    """Return how many sessions there are; `most` if there are more."""
    row = await reader.first(_COUNT, most=most)
    assert row is not None  # noqa: S101 - it has no condition
    number: int = row[0]
    return number


async def bring_back(transaction: Transaction) -> None:
    """Count as touched now what was touched when the clock was ahead, or it would never be stale."""
    await transaction.run(_BRING_BACK)
