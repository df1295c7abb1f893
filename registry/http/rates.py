"""How many requests one may make: a bucket that fills evenly, for each principal and each address, in each worker."""

import math
from collections import OrderedDict
from time import monotonic

from auth.errors import TooManyAttempts
from auth.principal import Principal
from registry.services.throttle import network_of

_MOST = 50_000
_BURST_S = 10.0
"""So many seconds' worth of requests may come at once."""


class Rates:
    """Counts (ITU-T I.371, the generic cell rate algorithm).

    Args:
        principal: most requests a minute of one that is logged in; 0 sets no bound.
        address: most requests a minute from one address; 0 sets no bound.
    """

    def __init__(self, *, principal: int, address: int) -> None:
        self._principal = 60 / principal if principal else 0.0
        self._address = 60 / address if address else 0.0
        self._due: OrderedDict[str, float] = OrderedDict()

    def admit_address(self, address: str) -> None:
        """Count a request from an address. Raises TooManyAttempts."""
        if self._address:
            self._count(f"at {network_of(address)}", self._address)

    def admit_principal(self, principal: Principal) -> None:
        """Count a request of a principal. Raises TooManyAttempts."""
        if self._principal and not principal.is_anonymous:
            self._count(principal.name, self._principal)

    def _count(self, key: str, seconds: float) -> None:
        now = monotonic()
        due = max(self._due.get(key, now), now)
        burst = max(_BURST_S, seconds)
        if due + seconds - now > burst:
            raise TooManyAttempts("too many requests", retry_after=max(1, math.ceil(due + seconds - now - burst)))
        self._due[key] = due + seconds
        self._due.move_to_end(key)
        if len(self._due) > _MOST:
            self._due.popitem(last=False)
