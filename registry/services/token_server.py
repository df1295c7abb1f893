"""The token server: gives tokens for credentials, for no more than asked and no more than may be (COMPAT: "access")."""

import math
import time
from dataclasses import dataclass
from typing import Any, Protocol

from auth import secret_tokens
from auth.errors import Unauthenticated
from auth.policy import Policy
from auth.principal import Principal
from auth.roles import Action
from auth.scopes import ALL, CATALOG, REGISTRY, REPOSITORY, Scope
from registry.db import credentials, service_accounts, users
from registry.db.connection import Database, Transaction
from registry.db.credentials import Kind
from registry.errors import NameInvalid
from registry.oci.moments import is_reserved
from registry.oci.names import parse_repository
from registry.services import audit
from registry.services.rights import Change, record
from registry.services.subjects import REFUSED, Known, Subjects, by_password, by_token

_ACTIONS: tuple[Action, ...] = (Action.PULL, Action.PUSH, Action.DELETE)
"""What scopes of repositories can name."""
_SHORTEST_S = 60
_LONGEST_NAME = 100


class Signer(Protocol):
    """Signs tokens. `registry.services.signing_keys` does; what that needs is not imported where nobody logs in."""

    async def sign(self, subject: str, access: list[Scope], credential: str, lifetime_s: int) -> str:
        """Return a token for a principal's name."""

    async def published(self) -> list[dict[str, Any]]:
        """Return the public keys as JSON Web Keys."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A token. `scopes`: what it is for. `expires_in` in seconds, `issued_at` since the epoch."""

    token: str
    scopes: list[Scope]
    expires_in: int
    issued_at: float
    refresh: str | None


class TokenServer:
    """Gives tokens.

    Args:
        service: whom they are for.
        lifetime_s: how long they are good for.
        refresh_s: how long refresh tokens are.
    """

    def __init__(
        self,
        database: Database,
        subjects: Subjects,
        policy: Policy,
        keys: Signer,
        *,
        service: str,
        lifetime_s: int,
        refresh_s: int,
    ) -> None:
        self.service = service
        self.keys = keys
        self._database = database
        self._subjects = subjects
        self._policy = policy
        self._lifetime_s = lifetime_s
        self._refresh_s = refresh_s

    async def issue(
        self, principal: Principal, known: Known, asked: list[Scope], *, offline: bool, client: str
    ) -> Issued:
        """Give a token for as much of what is asked as the principal may.

        Args:
            known: what was shown: the token ends with it.
            offline: give a refresh token too. Nobody gets none.
            client: what the client calls itself.

        Raises:
            Unavailable: the database can't be asked, or written to.
        """
        access = [scope for one in asked if (scope := await self._granted(principal, one)).actions]
        refresh = None
        if offline and not principal.is_anonymous:
            refresh = await self._refresh_token(principal, known.credential, client)
        lifetime = max(1, int(min(self._lifetime_s, known.ends_at - time.time())))
        token = await self.keys.sign(principal.name, access, known.credential, lifetime)
        return Issued(token, access, max(_SHORTEST_S, lifetime), time.time(), refresh)

    async def redeem(self, secret: str) -> tuple[Known, Principal]:
        """Say whom a refresh token speaks for.

        Raises:
            Unauthenticated: nobody, or it is for another service.
            Unavailable: the database can't be asked.
        """
        if not secret_tokens.is_one(secret):
            raise Unauthenticated(REFUSED)
        found = await credentials.find_by_hash(self._database, secret_tokens.digest_of(secret))
        if found is None or found.kind != Kind.REFRESH or found.audience != self.service:
            raise Unauthenticated(REFUSED)
        known = Known(await self._subjects.owner(found), by_token(found.id))
        return known, (await self._subjects.standing(known)).principal

    async def _granted(self, principal: Principal, asked: Scope) -> Scope:
        """Return as much of a scope as the principal may do."""
        if (asked.type, asked.name) == (REGISTRY, CATALOG):
            may = await self._policy.allows(principal, Action.CATALOG, None)
            return Scope(asked.type, asked.name, asked.actions & {ALL} if may else frozenset())
        nothing = Scope(asked.type, asked.name, frozenset())
        if asked.type != REPOSITORY:
            return nothing
        name, actions = asked.name, _ACTIONS
        if is_reserved(name):  # of a moment: for reading, by those who may now
            name, actions = name.partition("/")[2], (Action.PULL,)
        try:
            repository = parse_repository(name)
        except NameInvalid:
            return nothing
        wanted = [action for action in actions if action in asked.actions or ALL in asked.actions]
        allowed = [str(one) for one in wanted if await self._policy.allows(principal, one, repository)]
        return Scope(asked.type, asked.name, frozenset(allowed))

    async def _refresh_token(self, principal: Principal, credential: str, client: str) -> str | None:
        """Make a refresh token, which ends with what it is given for."""
        parent = None
        if principal.credential is not None:
            parent = await credentials.find_live(self._database, principal.credential)
            if parent is None or parent.kind == Kind.REFRESH:  # the client has one
                return None
        kind, _, name = principal.name.partition(":")
        owner: dict[str, int] = {}
        if kind == "user":
            user = await users.find(self._database, name)
            owner = {} if user is None else {"user_id": user.id}
        else:
            project, _, short = name.partition("/")
            account = await service_accounts.find(self._database, project, short)
            owner = {} if account is None else {"service_account_id": account.id}
        if not owner or credential in {"", by_password("")}:
            # Nothing would end it: a trusted issuer's token can't be revoked here, and a directory says nothing of
            # passwords that it is not shown.
            return None
        ends_at = min(
            time.time() + self._refresh_s,
            math.inf if parent is None or parent.expires_at is None else parent.expires_at / 1e6,
        )
        made, origin = secret_tokens.make(), audit.origin()

        async def work(transaction: Transaction) -> None:
            added = await credentials.add(
                transaction,
                kind=Kind.REFRESH,
                digest=made.digest,
                hint=made.hint,
                name=client[:_LONGEST_NAME],
                actor=principal.name,
                parent_id=None if parent is None else parent.id,
                scope=None if parent is None else parent.scope,
                audience=self.service,
                proof=credential.partition(":")[2] if parent is None else None,
                expires_at=int(ends_at * 1e6),
                **owner,
            )
            about = {"token": added.id, "kind": "refresh", "name": added.name, "of": principal.name}
            await record(transaction, Change("token.add", principal.name, about=about, origin=origin))

        await self._database.write(work, reserve=True)
        return made.secret
