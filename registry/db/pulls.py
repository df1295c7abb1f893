"""When manifests were pulled last."""

from sqlalchemy import BigInteger, case, cast, select
from sqlalchemy.dialects import postgresql

from registry.db.connection import Transaction
from registry.db.statements import Statement, parameter
from registry.db.tables import manifests, pulls
from storage.digest import Digest

_marking = postgresql.insert(pulls).from_select(
    ["manifest_id", "pulled_at"],
    select(manifests.c.id, cast(parameter("at"), BigInteger)).where(
        manifests.c.repository_id == parameter("repository_id"), manifests.c.digest == parameter("digest")
    ),
)
_new = _marking.excluded.pulled_at
_MARK = Statement(
    _marking.on_conflict_do_update(
        index_elements=[pulls.c.manifest_id],
        set_={"pulled_at": case((pulls.c.pulled_at > _new, pulls.c.pulled_at), else_=_new)},
    )
)


async def mark(transaction: Transaction, repository_id: int, digest: Digest, at: int) -> None:
    """Record that a manifest was pulled, if it is there: `at`, in microseconds since the epoch, or later."""
    await transaction.run(_MARK, repository_id=repository_id, digest=digest, at=at)
