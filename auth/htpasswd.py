"""Users of a file as `htpasswd -B` writes it: a name, a colon and a bcrypt hash on each line.

Source: httpd.apache.org/docs/2.4/misc/password_encryptions.html. Other hashes than bcrypt are not taken.
"""

import base64
import hashlib
import logging
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import bcrypt

from auth.names import is_user
from auth.passwords import LONGEST, Passwords
from auth.sources import Identity

NAME = "htpasswd"
_BCRYPT = re.compile(r"\$2[aby]\$(?P<cost>\d\d)\$[./A-Za-z0-9]{53}")
_MOST_COST = 14
_LARGEST = 16 * 1024**2
_SIGNIFICANT = 72
"""Bytes of a password that bcrypt looks at."""

_logger = logging.getLogger("stowage.logins")

Stamp = tuple[int, int, int, int]


class Htpasswd:
    """A PasswordSource: a file.

    Raises OSError, ValueError where it can't be read now; later that is logged, and what was read before counts.
    """

    name = NAME

    def __init__(self, path: Path, passwords: Passwords) -> None:
        self._path = path
        self._passwords = passwords
        self._stamp = _stamp_of(path)
        self._users = read(path)
        self._nobodys = _hash_like(self._users.values())

    def refresh(self) -> bool:
        """Read the file again if it has changed. Return whether it was read."""
        try:
            stamp = _stamp_of(self._path)
            if stamp == self._stamp:
                return False
            self._stamp = stamp
            self._users = read(self._path)
        except (OSError, ValueError) as error:
            _logger.error("auth.htpasswd: %s can't be read, its users stay as they were: %s", self._path, error)
            return False
        self._nobodys = _hash_like(self._users.values())
        _logger.info("auth.htpasswd: %s was read again: %d users", self._path, len(self._users))
        return True

    async def check(self, name: str, password: str) -> Identity | Literal[False] | None:
        """Say whose password this is."""
        kept = self._users.get(name)
        content = password[:LONGEST].encode()[:_SIGNIFICANT]
        is_right = await self._passwords.run(lambda: bcrypt.checkpw(content, kept or self._nobodys))
        if kept is None:
            return None
        if not is_right or not password or len(password) > LONGEST:
            return False
        return Identity(name, source=NAME, proof=_mark_of(kept))

    async def proof(self, name: str) -> str | None:
        """Return the mark of somebody's password."""
        kept = self._users.get(name)
        return None if kept is None else _mark_of(kept)


def read(path: Path) -> Mapping[str, bytes]:
    """Return the hashes of a file by name. Lines that are none are logged by their numbers, and left out.

    Raises:
        OSError, ValueError: it can't be read, is too large, or is not text.
    """
    with path.open("rb") as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise ValueError(f"it has more than {_LARGEST} bytes")
    found: dict[str, bytes] = {}
    for number, line in enumerate(content.decode().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, kept = line.strip().partition(":")
        match = _BCRYPT.fullmatch(kept)
        if match is None or not is_user(name) or not 4 <= int(match["cost"]) <= _MOST_COST:
            _logger.warning("auth.htpasswd: line %d of %s is no name with a bcrypt hash (htpasswd -B)", number, path)
        else:
            found[name] = kept.encode()
    return found


def _hash_like(hashes: Iterable[bytes]) -> bytes:
    """Return a hash that costs as much as most of these, of a password that nobody has."""
    costs = [int(kept[4:6]) for kept in hashes]
    cost = max(set(costs), key=costs.count, default=10)
    return bcrypt.hashpw(base64.b64encode(os.urandom(24)), bcrypt.gensalt(cost))


def _mark_of(kept: bytes) -> str:
    return base64.b64encode(hashlib.sha256(kept).digest()[:12]).decode("ascii")


def _stamp_of(path: Path) -> Stamp:
    found = path.stat()
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev
