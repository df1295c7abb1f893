"""People whom a source outside of the registry knows: who they are here, from their first login on."""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace

from auth.errors import Denied
from auth.names import is_group
from auth.sources import Identity, PasswordSource
from registry.db import authority, users
from registry.db.connection import Database, Reader, Transaction
from registry.db.users import LOCAL, User
from registry.services import audit
from registry.services.audit import Origin
from registry.services.rights import Change, record

_SEEN_EVERY_US = 300 * 1_000_000


_logger = logging.getLogger("stowage.logins")


class Arrivals:
    """Makes users of people that others vouch for, and keeps their groups as those say.

    Args:
        sources: whose people may not have come yet: nobody else is made a user of their names. Not needed where these
            are asked first.
    """

    def __init__(self, database: Database, sources: Sequence[PasswordSource] = ()) -> None:
        self._database = database
        self._sources = sources

    async def let_in(self, identity: Identity) -> User:
        """Return the user that somebody is, made at the first login if the source is another than the table of users.

        They are known by their subject, so a new name at the source changes nothing here.

        Raises:
            Denied: the name is somebody else's here, or the user was disabled.
            Unavailable: the database can't be asked.
        """
        identity = _with_names(identity)
        origin = audit.origin()
        user = await _find(self._database, identity)
        if user is None:
            await self._check_is_nobodys(identity)
        if user is None or await self._is_to_be_told(user, identity):
            await self._database.write(
                lambda tx: _remember(tx, user, identity, origin), reserve=True, durable=user is None
            )
            user = await _find(self._database, identity)
        if user is None:
            raise Denied(f"the user {identity.name} was removed just now")
        if user.disabled_at is not None:
            raise Denied(f"the user {user.name} is disabled")
        return user

    async def _check_is_nobodys(self, identity: Identity) -> None:
        """Raise Denied if a source knows somebody else of that name, as far as it can say."""
        for source in self._sources:
            if source.name != identity.source and await source.proof(identity.name):
                raise _taken(identity)

    async def _is_to_be_told(self, user: User, identity: Identity) -> bool:
        """Say whether something is to be written: what groups somebody is in, or that they were here."""
        if user.disabled_at is not None:
            return False
        if identity.source != LOCAL and await _groups(self._database, user, identity) != identity.groups:
            return True
        return user.seen_at is None or time.time() * 1e6 - user.seen_at > _SEEN_EVERY_US


async def _find(reader: Reader, identity: Identity) -> User | None:
    """Return whom a source means. Raises Denied: that name is taken here."""
    if identity.subject is not None:
        known = await users.find_by_subject(reader, identity.source, identity.subject)
        if known is not None:
            return known
    user = await users.find(reader, identity.name)
    if user is not None and (user.source, user.subject) != (identity.source, identity.subject):
        raise _taken(identity)
    return user


def _taken(identity: Identity) -> Denied:
    return Denied(f"the name {identity.name} belongs to somebody else here; an admin can remove or rename one of you")


async def _groups(reader: Reader, user: User, identity: Identity) -> frozenset[str]:
    """Return the groups that somebody is in because this source says so."""
    return frozenset(name for name, source in await users.groups(reader, user.id) if source == identity.source)


def _with_names(identity: Identity) -> Identity:
    """Return somebody without the groups that nothing could be granted to: nobody can write their names."""
    fitting = frozenset(filter(is_group, identity.groups))
    if len(fitting) < len(identity.groups):
        _logger.info("%s knows groups of %s whose names can't be any here", identity.source, identity.name)
    return replace(identity, groups=fitting)


async def _remember(transaction: Transaction, user: User | None, identity: Identity, origin: Origin) -> None:
    """Write down that somebody came in, and what the source says of them. Only what is new raises the revision."""
    current = frozenset[str]() if user is None else await _groups(transaction, user, identity)
    told = identity.groups if identity.source != LOCAL else current
    if user is None or told != current:
        await authority.change(transaction)  # first, as everybody who changes rights
    if user is None:
        is_new = await users.add(transaction, identity.name, source=identity.source, subject=identity.subject)
        user = await users.find(transaction, identity.name)
        if user is None or (user.source, user.subject) != (identity.source, identity.subject):
            return  # somebody else was faster, and the caller looks again
        if is_new:
            about = {"user": user.name, "source": identity.source, "admin": False}
            await record(transaction, Change("user.add", f"user:{user.name}", about=about, origin=origin))
    if told != current:
        await _move(transaction, user, identity.source, told - current, current - told, origin)
    await users.mark_seen(transaction, user.id)


async def _move(
    transaction: Transaction, user: User, source: str, joined: frozenset[str], left: frozenset[str], origin: Origin
) -> None:
    """Have somebody be in the groups that a source says."""
    for group in sorted(joined):
        await users.join(transaction, user.id, group, source)
    for group in sorted(left):
        await users.leave(transaction, user.id, group, source)
    about = {"user": user.name, "source": source, "joined": sorted(joined), "left": sorted(left)}
    await record(transaction, Change("user.groups", f"user:{user.name}", about=about, origin=origin))
