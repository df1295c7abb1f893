"""The first admin: without one nobody could let anybody in."""

import logging
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from registry.db import authority, users
from registry.db.connection import Database, Transaction
from registry.errors import Unavailable
from registry.services.audit import OPERATOR
from registry.services.rights import Change, record

NAME = "admin"
FILE = "admin-password"

_logger = logging.getLogger("stowage.logins")


async def provide_admin(database: Database, folder: Path, given: str, hashed: Callable[[str], str]) -> Path | None:
    """Make the user `admin` where there are no users yet.

    Args:
        folder: where a password that is made up is written to, for the operator alone.
        given: its password; "" has one made up.
        hashed: hashes a password.

    Returns:
        The file with the password that was made up, or None.

    Raises:
        Unavailable: the database or the file can't be written.
    """
    if await users.page(database, after="", most=1):
        return None
    password = given or secrets.token_urlsafe(18)
    # First: an admin whose password nobody has is worse than a file too many.
    written = None if given else _written(folder, password)
    kept = hashed(password)

    async def add(transaction: Transaction) -> bool:
        if await users.page(transaction, after="", most=1):
            return False
        is_new = await users.add(transaction, NAME, password=kept, is_admin=True)
        await authority.change(transaction)
        if is_new:
            await record(transaction, Change("user.add", OPERATOR, about={"user": NAME, "admin": True, "first": True}))
        return is_new

    if not await database.write(add, reserve=True):  # another replica did, with a password of its own
        if written is not None:
            written.unlink(missing_ok=True)
        return None
    file = None if written is None else written.replace(folder / FILE)
    if file is not None:
        _logger.warning("made the user %s, its password is in %s: change it, then remove the file", NAME, file)
    else:
        _logger.info("made the user %s, with the password of STOWAGE_ADMIN_PASSWORD", NAME)
    return file


def _written(folder: Path, password: str) -> Path:
    """Write a password to a new file, for nobody else to read. Raises Unavailable."""
    file = folder / f"{FILE}.{secrets.token_hex(4)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as opened:
            opened.write(f"{password}\n")
            opened.flush()
            os.fsync(descriptor)
    except OSError as error:
        text = f"the first admin's password can't be written to {file}: {error.strerror}"
        raise Unavailable(f"{text}: give one in STOWAGE_ADMIN_PASSWORD") from error
    return file
