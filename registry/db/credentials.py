"""Credentials: what people and service accounts show instead of a password. Only hashes of secrets are here."""

from enum import IntEnum
from typing import NamedTuple

from sqlalchemy import and_, case, delete, literal, or_, select, update
from sqlalchemy.dialects import postgresql

from registry.db.connection import Reader, Transaction
from registry.db.statements import Statement, now, parameter
from registry.db.tables import credentials


class Kind(IntEnum):
    """What a credential is for."""

    TOKEN = 0
    SESSION = 1
    REFRESH = 2


class Credential(NamedTuple):
    """A credential of a user or of a service account. `hint`: the secret's beginning, for people to know it by.

    `scope`: the most it may be used for, None for all that its owner may. `proof`: a mark of the password that it was
    given for. Times in microseconds since the epoch.
    """

    id: int
    kind: int
    hint: str
    name: str
    user_id: int | None
    service_account_id: int | None
    parent_id: int | None
    scope: str | None
    audience: str | None
    proof: str | None
    created_at: int
    created_by: str
    expires_at: int | None
    revoked_at: int | None
    used_at: int | None


_TABLE = credentials
_COLUMNS = tuple(_TABLE.c[name] for name in Credential._fields)
_COUNTS = and_(_TABLE.c.revoked_at.is_(None), or_(_TABLE.c.expires_at.is_(None), _TABLE.c.expires_at > now()))
_BY_HASH = Statement(select(*_COLUMNS).where(_TABLE.c.hash == parameter("digest"), _COUNTS))
_BY_ID = Statement(select(*_COLUMNS).where(_TABLE.c.id == parameter("credential_id")))
_ENDED = Statement(select(*_COLUMNS).where(_TABLE.c.hash == parameter("digest")))
_LIVE = Statement(select(*_COLUMNS).where(_TABLE.c.id == parameter("credential_id"), _COUNTS))
_OF_USER = Statement(
    select(*_COLUMNS)
    .where(_TABLE.c.user_id == parameter("owner"), _TABLE.c.id > parameter("after"))
    .order_by(_TABLE.c.id)
    .limit(parameter("most"))
)
_OF_ACCOUNT = Statement(
    select(*_COLUMNS)
    .where(_TABLE.c.service_account_id == parameter("owner"), _TABLE.c.id > parameter("after"))
    .order_by(_TABLE.c.id)
    .limit(parameter("most"))
)
_ADD = Statement(
    postgresql.insert(_TABLE).values(
        kind=parameter("kind"),
        hash=parameter("hash"),
        hint=parameter("hint"),
        name=parameter("name"),
        user_id=parameter("user_id"),
        service_account_id=parameter("service_account_id"),
        parent_id=parameter("parent_id"),
        scope=parameter("scope"),
        audience=parameter("audience"),
        proof=parameter("proof"),
        created_at=now(),
        created_by=parameter("created_by"),
        expires_at=parameter("expires_at"),
    )
)
_REVOKE = Statement(
    update(_TABLE)
    .where(
        or_(_TABLE.c.id == parameter("credential_id"), _TABLE.c.parent_id == parameter("credential_id")),
        _TABLE.c.revoked_at.is_(None),
    )
    .values(revoked_at=now())
)
_REVOKE_USERS = Statement(
    update(_TABLE).where(_TABLE.c.user_id == parameter("owner"), _TABLE.c.revoked_at.is_(None)).values(revoked_at=now())
)
_REVOKE_LOGINS = Statement(
    update(_TABLE)
    .where(_TABLE.c.user_id == parameter("owner"), _TABLE.c.revoked_at.is_(None), _TABLE.c.kind != literal(0))
    .values(revoked_at=now())
)
_REVOKE_ALL = Statement(update(_TABLE).where(_TABLE.c.revoked_at.is_(None)).values(revoked_at=now()))
_USED = Statement(
    update(_TABLE)
    .where(_TABLE.c.id == parameter("credential_id"))
    .values(
        used_at=case(
            (or_(_TABLE.c.used_at.is_(None), _TABLE.c.used_at < parameter("moment")), parameter("moment")),
            else_=_TABLE.c.used_at,
        )
    )
)
_FORGET = Statement(
    delete(_TABLE).where(or_(_TABLE.c.expires_at < parameter("before"), _TABLE.c.revoked_at < parameter("before")))
)


async def find_by_hash(reader: Reader, digest: bytes) -> Credential | None:
    """Return the credential with this SHA-256, if it counts: not revoked, not over. Else None."""
    row = await reader.first(_BY_HASH, digest=digest)
    return None if row is None else Credential(*row)


async def find(reader: Reader, credential_id: int) -> Credential | None:
    """Return a credential, whether it counts or not, or None."""
    row = await reader.first(_BY_ID, credential_id=credential_id)
    return None if row is None else Credential(*row)


async def find_ended(reader: Reader, digest: bytes) -> Credential | None:
    """Return the credential with this SHA-256, even if it has ended, or None."""
    row = await reader.first(_ENDED, digest=digest)
    return None if row is None else Credential(*row)


async def find_live(reader: Reader, credential_id: int) -> Credential | None:
    """Return a credential that counts, or None."""
    row = await reader.first(_LIVE, credential_id=credential_id)
    return None if row is None else Credential(*row)


async def of_user(reader: Reader, user_id: int, *, after: int = 0, most: int = 1000) -> list[Credential]:
    """Return up to `most` of a user's credentials by id, from after one on."""
    return [Credential(*row) for row in await reader.all(_OF_USER, owner=user_id, after=after, most=most)]


async def of_service_account(reader: Reader, account_id: int, *, after: int = 0, most: int = 1000) -> list[Credential]:
    """Return up to `most` of a service account's credentials by id, from after one on."""
    return [Credential(*row) for row in await reader.all(_OF_ACCOUNT, owner=account_id, after=after, most=most)]


async def add(
    transaction: Transaction,
    *,
    kind: Kind,
    digest: bytes,
    hint: str,
    name: str,
    actor: str,
    user_id: int | None = None,
    service_account_id: int | None = None,
    parent_id: int | None = None,
    scope: str | None = None,
    audience: str | None = None,
    proof: str | None = None,
    expires_at: int | None = None,
) -> Credential:
    """Record a credential. `digest`: the SHA-256 of its secret. `expires_at` in microseconds since the epoch."""
    await transaction.run(
        _ADD,
        kind=int(kind),
        hash=digest,
        hint=hint,
        name=name,
        user_id=user_id,
        service_account_id=service_account_id,
        parent_id=parent_id,
        scope=scope,
        audience=audience,
        proof=proof,
        created_by=actor,
        expires_at=expires_at,
    )
    found = await find_by_hash(transaction, digest)
    assert found is not None  # noqa: S101 - added above
    return found


async def revoke(transaction: Transaction, credential_id: int) -> bool:
    """End a credential, and those that were given for it. False if it had ended."""
    return await transaction.run(_REVOKE, credential_id=credential_id) > 0


async def revoke_of_user(transaction: Transaction, user_id: int) -> int:
    """End all credentials of a user, and return how many."""
    return await transaction.run(_REVOKE_USERS, owner=user_id)


async def revoke_logins_of_user(transaction: Transaction, user_id: int) -> int:
    """End a user's sessions and refresh tokens, which stand for a login with a password, and return how many."""
    return await transaction.run(_REVOKE_LOGINS, owner=user_id)


async def revoke_all(transaction: Transaction) -> int:
    """End all credentials, and return how many."""
    return await transaction.run(_REVOKE_ALL)


async def mark_used(transaction: Transaction, credential_id: int, at: int) -> None:
    """Write down when it was last used: microseconds since the epoch."""
    await transaction.run(_USED, credential_id=credential_id, moment=at)


async def forget(transaction: Transaction, before: int) -> int:
    """Remove what ended before a time (microseconds since the epoch), and return how many that was."""
    return await transaction.run(_FORGET, before=before)
