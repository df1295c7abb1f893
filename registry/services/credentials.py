"""Tokens that the registry makes for people and service accounts: shown once, kept as a hash, ended at any time."""

from dataclasses import dataclass

from auth import secret_tokens
from auth.names import parse_label
from auth.scopes import parse_scopes
from registry.db import credentials, jobs, service_accounts, users
from registry.db.connection import Database, Transaction
from registry.db.credentials import Credential, Kind
from registry.db.service_accounts import ServiceAccount
from registry.db.users import User
from registry.errors import RecordUnknown, ValueInvalid
from registry.services import audit
from registry.services.rights import Change, changed, record

LONGEST_SESSION_S = 86400
_LONGEST_S = 100 * 365 * 86400
_MOST = 1000


@dataclass(frozen=True, slots=True)
class Made:
    """A new credential, and its secret, which can't be had again. The text of this object does not show it."""

    credential: Credential
    secret: str

    def __repr__(self) -> str:
        """Return it without the secret."""
        return f"Made({self.credential!r})"


class Credentials:
    """Tokens in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def make_for_account(
        self,
        account: ServiceAccount,
        *,
        label: str = "",
        expires_s: int | None = None,
        scope: str | None = None,
        actor: str,
    ) -> Made:
        """Make a token of a service account, beside those that it has.

        Args:
            label: what people know it by.
            expires_s: seconds after which it ends; None for never.
            scope: the most it may be used for, as scopes of tokens are written; None for all that the account may.

        Raises:
            NameRefused, ScopeInvalid, ValueInvalid: an argument can't be taken.
            RecordUnknown: the account was removed.
        """
        return await self._make(Kind.TOKEN, account, label=label, expires_s=expires_s, scope=scope, actor=actor)

    async def make_personal(
        self, user: User, *, label: str = "", expires_s: int | None = None, scope: str | None = None, actor: str
    ) -> Made:
        """Make a token by which a user's programs log in. Arguments and errors as above."""
        return await self._make(Kind.TOKEN, user, label=label, expires_s=expires_s, scope=scope, actor=actor)

    async def make_session(self, user: User, *, expires_s: int, label: str = "", actor: str) -> Made:
        """Make a token that lasts a day at most: for who logs in by browser, or copies a login. On a full disk too."""
        if expires_s > LONGEST_SESSION_S:
            raise ValueInvalid(f"a session lasts {LONGEST_SESSION_S} s at most")
        return await self._make(Kind.SESSION, user, label=label, expires_s=expires_s, scope=None, actor=actor)

    async def revoke(self, credential_id: int, *, actor: str) -> bool:
        """End a token, and what was given for it. False if it had ended. Raises RecordUnknown."""

        async def work(transaction: Transaction) -> bool:
            if await credentials.find(transaction, credential_id) is None:
                raise RecordUnknown(f"there is no token {credential_id}")
            return await credentials.revoke(transaction, credential_id)

        return await changed(
            self._database, Change("token.revoke", actor, about={"token": credential_id}), work, takes_away=True
        )

    async def revoke_all(self, *, actor: str) -> int:
        """End all tokens of everybody, and return how many that was."""
        return await changed(self._database, Change("token.revoke-all", actor), credentials.revoke_all, takes_away=True)

    async def find(self, credential_id: int) -> Credential:
        """Return a credential, whether it counts or not. Raises RecordUnknown."""
        found = await credentials.find(self._database, credential_id)
        if found is None:
            raise RecordUnknown(f"there is no token {credential_id}")
        return found

    async def of_account(self, account: ServiceAccount, *, after: int = 0, most: int = _MOST) -> list[Credential]:
        """Return up to `most` tokens of a service account by id, those that have ended too."""
        return await credentials.of_service_account(self._database, account.id, after=after, most=most)

    async def of_user(self, user: User, *, after: int = 0, most: int = _MOST) -> list[Credential]:
        """Return up to `most` tokens of a user by id, those that have ended too."""
        return await credentials.of_user(self._database, user.id, after=after, most=most)

    async def _make(
        self,
        kind: Kind,
        owner: User | ServiceAccount,
        *,
        label: str,
        expires_s: int | None,
        scope: str | None,
        actor: str,
    ) -> Made:
        parse_label(label)
        if expires_s is not None and not 1 <= expires_s <= _LONGEST_S:
            raise ValueInvalid("a token lasts a second at least, and a hundred years at most")
        bound = None if scope is None else " ".join(map(str, parse_scopes([scope])))
        new, origin = secret_tokens.make(), audit.origin()

        async def work(transaction: Transaction) -> Credential:
            await _check_is_there(transaction, owner)
            ends = None if expires_s is None else await jobs.clock(transaction) + expires_s * 1_000_000
            made = await credentials.add(
                transaction,
                kind=kind,
                digest=new.digest,
                hint=new.hint,
                name=label,
                user_id=owner.id if isinstance(owner, User) else None,
                service_account_id=None if isinstance(owner, User) else owner.id,
                scope=bound,
                expires_at=ends,
                actor=actor,
            )
            project = "" if isinstance(owner, User) else owner.project
            about = {"token": made.id, "kind": kind.name.lower(), "name": label, "of": _principal(owner)}
            await record(transaction, Change("token.add", actor, project, about, origin))
            return made

        # Nothing that is there already may do more or less with it, so it is no change of rights.
        return Made(await self._database.write(work, reserve=kind is Kind.SESSION), new.secret)


def _principal(owner: User | ServiceAccount) -> str:
    return f"user:{owner.name}" if isinstance(owner, User) else owner.principal


async def _check_is_there(transaction: Transaction, owner: User | ServiceAccount) -> None:
    """Raise RecordUnknown if the owner was removed meanwhile. Ids of users may be given again: the name is compared."""
    if isinstance(owner, User):
        user = await users.find_by_id(transaction, owner.id)
        is_there = user is not None and user.name == owner.name
    else:
        account = await service_accounts.find_by_id(transaction, owner.id)
        is_there = account is not None and account.principal == owner.principal
    if not is_there:
        raise RecordUnknown(f"{owner.name} was removed")
