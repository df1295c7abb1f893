"""Failed logins: how many there may be before somebody has to wait. Counted in the database, for all replicas."""

import hashlib
import hmac
import math
from ipaddress import IPv6Address, ip_address, ip_network

from auth.errors import TooManyAttempts
from registry.db import login_failures
from registry.db.connection import Database, Transaction

_MANY = 10
"""So many times more failures one account has from anywhere, or one address for any account."""
_SECOND = 1_000_000
_NETWORK_BITS = 64  # what one customer has of IPv6's addresses


class Throttle:
    """Says who has to wait.

    Args:
        secret: names are kept as MACs under it: people type passwords where names belong.
        attempts: failures before the first wait, of a second; each further one doubles it.
        window_s: how long failures count after the last one, and the longest wait.
    """

    def __init__(self, database: Database, secret: bytes, *, attempts: int, window_s: int) -> None:
        self._database = database
        self._secret = hmac.digest(secret, b"stowage failed logins", "sha256")
        self._attempts = attempts
        self._window_s = window_s

    async def admit(self, name: str, address: str) -> bool:
        """Return if a login may be tried now, and whether others failed before.

        Raises:
            TooManyAttempts: it may not.
        """
        keys = self._keys(name, address)
        found = await login_failures.recent(self._database, list(keys), window=self._window_s * _SECOND)
        wait = max((left for _, left in found.values()), default=0)
        if wait > 0:
            seconds = math.ceil(wait / _SECOND)
            raise TooManyAttempts(f"too many logins failed: try again in {seconds} s", retry_after=seconds)
        return next(iter(keys)) in found

    async def failed(self, name: str, address: str) -> None:
        """Count a login that failed."""
        keys, window = self._keys(name, address), self._window_s * _SECOND

        async def count(transaction: Transaction) -> None:
            found = await login_failures.recent(transaction, list(keys), window=window)
            for key in sorted(keys):  # everybody's in the same order
                failures, _ = found.get(key, (0, 0))
                pause = self._pause_s(failures + 1 - keys[key]) * _SECOND
                await login_failures.add(transaction, key, pause=pause, window=window)

        await self._database.write(count, reserve=True, durable=False)

    async def succeeded(self, name: str, address: str) -> None:
        """Forget the failures of this account from this address."""
        key = next(iter(self._keys(name, address)))
        await self._database.write(lambda tx: login_failures.remove(tx, key), reserve=True, durable=False)

    def _pause_s(self, beyond: int) -> int:
        return 0 if beyond < 0 else min(self._window_s, 2 ** min(beyond, 20))

    def _keys(self, name: str, address: str) -> dict[str, int]:
        """Return what is counted, and how many failures each may have. The account at this address comes first."""
        # A directory takes Alice for alice: whoever guesses must not have a count for each way to write a name.
        account = hmac.new(self._secret, name.casefold().encode(), hashlib.sha256).hexdigest()[:32]
        place = network_of(address)
        return {
            f"{account} {place}": self._attempts,
            f"{account} *": self._attempts * _MANY,
            f"* {place}": self._attempts * _MANY,
        }


def network_of(address: str) -> str:
    """Return what is taken for one place: an IPv4 address, or the network of an IPv6 address."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ip_network((int(parsed), _NETWORK_BITS), strict=False))
