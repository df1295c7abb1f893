"""Whether credentials that were verified once still count, and what whoever showed them is now."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from auth.errors import ScopeInvalid, Unauthenticated
from auth.principal import ANYBODY, Principal
from auth.scopes import Bound, Scope, parse_scopes
from auth.sources import PasswordSource
from registry.db import credentials, service_accounts, users
from registry.db.connection import Database
from registry.db.credentials import Credential

REFUSED = "the credentials are wrong, or do not count any more"
"""What whoever shows wrong ones is told, whatever is wrong with them."""

_USER = "user:"
_ACCOUNT = "serviceaccount:"
_TOKEN = "token:"  # noqa: S105 - what the name of a credential begins with
_PASSWORD = "password:"  # noqa: S105 - the same


def by_token(credential_id: int) -> str:
    """Return what names a credential that is a row."""
    return f"{_TOKEN}{credential_id}"


def by_password(proof: str) -> str:
    """Return what names a password, by the mark that its source gave with it."""
    return f"{_PASSWORD}{proof}"


def way_of(credential: str) -> str:
    """Return what the audit log calls what was shown: `token 12`, `password`, or `issuer` for a trusted one's token."""
    if credential.startswith(_TOKEN):
        return f"token {credential.removeprefix(_TOKEN)}"
    return "password" if credential else "issuer"


@dataclass(frozen=True, slots=True)
class Known:
    """Whom a credential speaks for, as it was verified.

    Attributes:
        subject: a principal's name.
        credential: what was shown: `by_token`, `by_password`, or "" where the subject alone counts.
        scopes: what it is for at most; None for no such limit.
        ends_at: seconds since the epoch.
    """

    subject: str
    credential: str = ""
    scopes: tuple[Scope, ...] | None = None
    ends_at: float = math.inf


@dataclass(frozen=True, slots=True)
class Standing:
    """What somebody is, as of a revision. `until`: seconds since the epoch, when that ends by itself."""

    principal: Principal
    until: float


class Subjects:
    """Asks the database what somebody is.

    Args:
        sources: of identities, by name.
        admins: names of users who may do everything.
    """

    def __init__(self, database: Database, sources: Mapping[str, PasswordSource], admins: Collection[str] = ()) -> None:
        self._database = database
        self._sources = sources
        self._admins = frozenset(admins)

    async def standing(self, known: Known) -> Standing:
        """Say what somebody is now.

        Raises:
            Unauthenticated: the credential, or whoever it is for, does not count any more.
            Unavailable: the database can't be asked.
        """
        bound = None if known.scopes is None else Bound(known.scopes)
        if known.subject == ANYBODY:
            return Standing(Principal(ANYBODY, bound=bound), known.ends_at)
        token = await self._token(known)
        until, proof = known.ends_at, _proof_of(known)
        if token is not None:
            until = min(until, math.inf if token.expires_at is None else token.expires_at / 1e6)
            bound = _bound_of(token) if bound is None else bound  # that of a token's token is within it
            proof = token.proof
        if known.subject.startswith(_USER):
            principal = await self._user(known.subject.removeprefix(_USER), token, proof, bound)
        elif known.subject.startswith(_ACCOUNT):
            principal = await self._account(known.subject.removeprefix(_ACCOUNT), token, bound)
        else:
            raise Unauthenticated(REFUSED)
        return Standing(principal, until)

    async def owner(self, token: Credential) -> str:
        """Return the name of whoever a credential belongs to. Raises Unauthenticated: nobody."""
        if token.user_id is not None:
            user = await users.find_by_id(self._database, token.user_id)
            if user is not None:
                return f"{_USER}{user.name}"
        elif token.service_account_id is not None:
            account = await service_accounts.find_by_id(self._database, token.service_account_id)
            if account is not None:
                return account.principal
        raise Unauthenticated(REFUSED)

    async def _token(self, known: Known) -> Credential | None:
        if not known.credential.startswith(_TOKEN):
            return None
        text = known.credential.removeprefix(_TOKEN)
        found = await credentials.find_live(self._database, int(text)) if text.isdecimal() else None
        if found is None:
            raise Unauthenticated(REFUSED)
        return found

    async def _user(self, name: str, token: Credential | None, proof: str | None, bound: Bound | None) -> Principal:
        user = await users.find(self._database, name)
        if user is None or user.disabled_at is not None or (token is not None and token.user_id != user.id):
            raise Unauthenticated(REFUSED)
        source = self._sources.get(user.source)
        if source is not None:
            current = await source.proof(name)
            if current is None or (proof is not None and proof != current):
                raise Unauthenticated(REFUSED)
        elif proof is not None:  # of a password that nobody here can judge any more
            raise Unauthenticated(REFUSED)
        groups = await users.groups(self._database, user.id)
        return Principal(
            f"{_USER}{user.name}",
            groups=frozenset(group for group, _ in groups),
            is_admin=user.is_admin or user.name in self._admins,
            credential=None if token is None else token.id,
            bound=bound,
        )

    async def _account(self, name: str, token: Credential | None, bound: Bound | None) -> Principal:
        project, _, short = name.partition("/")
        account = await service_accounts.find(self._database, project, short)
        if account is None or account.disabled_at is not None:
            raise Unauthenticated(REFUSED)
        if token is not None and token.service_account_id != account.id:
            raise Unauthenticated(REFUSED)
        return Principal(account.principal, credential=None if token is None else token.id, bound=bound)


def _proof_of(known: Known) -> str | None:
    """Return the mark of the password that was shown; None if it was no password."""
    return known.credential.removeprefix(_PASSWORD) if known.credential.startswith(_PASSWORD) else None


def _bound_of(token: Credential) -> Bound | None:
    """Return the most that a credential may be used for. One whose scope can't be read is for nothing."""
    if token.scope is None:
        return None
    try:
        return Bound(parse_scopes([token.scope]))
    except ScopeInvalid:
        return Bound(())
