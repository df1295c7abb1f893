"""Users whose passwords are in the database."""

import base64
import hashlib
from typing import Literal

from auth.passwords import Passwords
from auth.sources import Identity
from registry.db import users
from registry.db.connection import Database
from registry.db.users import LOCAL, User


class LocalSource:
    """A PasswordSource: the table of users."""

    name = LOCAL

    def __init__(self, database: Database, passwords: Passwords) -> None:
        self._database = database
        self._passwords = passwords

    async def check(self, name: str, password: str) -> Identity | Literal[False] | None:
        """Say whose password this is."""
        user = _local(await users.find(self._database, name))
        kept = None if user is None else user.password
        is_right = await self._passwords.check(kept, password)
        if user is None:
            return None
        return Identity(user.name, source=LOCAL, proof=mark_of(kept)) if is_right and kept is not None else False

    async def proof(self, name: str) -> str | None:
        """Return the mark of somebody's password."""
        user = _local(await users.find(self._database, name))
        return None if user is None else mark_of(user.password or "")


def mark_of(kept: str | None) -> str:
    """Return the mark of a password whose hash is kept: another one for each password, and no way back."""
    return base64.b64encode(hashlib.sha256((kept or "").encode()).digest()[:12]).decode("ascii")


def _local(user: User | None) -> User | None:
    return user if user is not None and user.source == LOCAL else None
