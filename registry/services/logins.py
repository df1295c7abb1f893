"""Logging in with a name and a password: the sources are asked in their order, and who gets in is remembered."""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from auth.errors import AuthError, Denied, TooManyAttempts, Unauthenticated
from auth.names import is_user
from auth.principal import ANYBODY, Principal
from auth.sources import Identity, PasswordSource
from registry.db import users
from registry.db.connection import Database
from registry.db.users import User
from registry.logs import request_id
from registry.services import audit
from registry.services.arrivals import Arrivals
from registry.services.audit import Auditor, Origin
from registry.services.subjects import REFUSED, Known, Subjects, by_password
from registry.services.throttle import Throttle

_MOST_WAITING = 64
_RETRY_AFTER_S = 2

_logger = logging.getLogger("stowage.logins")


@dataclass(slots=True)
class _Turn:
    """Whose turn it is to try an account's password."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0


class Logins:
    """Lets people in, and has the audit log tell of whoever it does not."""

    def __init__(
        self,
        database: Database,
        subjects: Subjects,
        sources: Sequence[PasswordSource],
        throttle: Throttle,
        auditor: Auditor,
    ) -> None:
        self._database = database
        self._arrivals = Arrivals(database)
        self._auditor = auditor
        self._subjects = subjects
        self._sources = sources
        self._throttle = throttle
        self._turns: dict[str, _Turn] = {}

    async def password(self, name: str, password: str, address: str) -> Principal:
        """Say who this is.

        Raises:
            Unauthenticated: nobody, or somebody who may not come in.
            TooManyAttempts, SourceUnavailable, Unavailable: it can't be said now.
        """
        return (await self._subjects.standing(await self.verified(name, password, address))).principal

    async def verified(self, name: str, password: str, address: str) -> Known:
        """Return whom a password speaks for. Raises as `password` does."""
        if not is_user(name) or not password:
            raise Unauthenticated(REFUSED)  # nobody can have such a name: there is nothing to hide
        async with self._turn_of(name):
            try:
                had_failed = await self._throttle.admit(name, address)
            except TooManyAttempts:
                await self._tell(audit.DENIED, name, address)
                raise
            identity = await self._ask(name, password, address)
            user = None if identity is None else await self._let_in(identity)
            if identity is None or user is None:
                await self._refuse(name, address)
                raise Unauthenticated(REFUSED)
            if had_failed:
                await self._throttle.succeeded(name, address)
        return Known(f"user:{user.name}", by_password(identity.proof))

    async def _ask(self, name: str, password: str, address: str) -> Identity | None:
        """Ask the sources: the first that knows the name decides.

        A refusal costs the same whoever made it: the sources after it are asked for somebody that nobody is. Where one
        of those can't be asked, that is said of the whole login, as for a name that it might have known; but the
        password was wrong, and counts: else whoever keeps a directory busy could try as many as they like.
        """
        refused = False
        for source in self._sources:
            if refused:
                try:
                    await source.check(secrets.token_hex(8), secrets.token_urlsafe(8))
                except AuthError:
                    await self._refuse(name, address)
                    raise
                continue
            answer = await source.check(name, password)
            if isinstance(answer, Identity):
                return answer
            refused = answer is False
        return None

    async def _refuse(self, name: str, address: str) -> None:
        await self._throttle.failed(name, address)
        await self._tell(audit.FAILED, name, address)

    async def _tell(self, outcome: str, name: str, address: str) -> None:
        """Have the audit log tell of a login that was refused.

        Of whom only if somebody here is called so: people type passwords where names belong.
        """
        signs = [await source.proof(name) for source in self._sources]  # all are asked, so that time tells nothing
        is_known = await users.find(self._database, name) is not None or any(signs)
        who = f"user:{name}" if is_known else ANYBODY
        self._auditor.note(audit.LOGIN, outcome, who, Origin(address, request_id.get()), detail={"by": "password"})

    async def _let_in(self, identity: Identity) -> User | None:
        """Return the row of somebody; None if they may not come in: that the password was right would say too much."""
        if not is_user(identity.name):
            _logger.warning("%s knows somebody whose name can't be one here", identity.source)
            return None
        try:
            return await self._arrivals.let_in(identity)
        except Denied as error:
            _logger.warning("%s knows somebody who is not let in: %s", identity.source, error)
            return None

    @asynccontextmanager
    async def _turn_of(self, name: str) -> AsyncIterator[None]:
        """One attempt for an account after the other: many at once would all be admitted before the first fails.

        Accounts are told apart as `Throttle` does: a directory takes Alice for alice.
        """
        name = name.casefold()
        turn = self._turns.setdefault(name, _Turn())
        if turn.waiting >= _MOST_WAITING:
            raise TooManyAttempts("too many are logging in at once", retry_after=_RETRY_AFTER_S)
        turn.waiting += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.waiting -= 1
            if turn.waiting == 0:
                del self._turns[name]
