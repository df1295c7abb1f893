"""The places for connections that one worker has, and who gives up theirs when all are taken."""

from collections import OrderedDict
from typing import Protocol

_TOLD = 100
"""Most connections beyond the places that are told why before they are closed."""


class Guest(Protocol):
    """A connection that waits for a request."""

    def make_room(self) -> None:
        """Close, since another connection needs the place."""


class Places:
    """Who waits for a request, the longest first, and how many are being turned away."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._waiting: OrderedDict[Guest, None] = OrderedDict()
        self._turned_away: set[Guest] = set()

    def wait(self, guest: Guest) -> None:
        """Note that `guest` waits for a request from now on."""
        self._waiting[guest] = None

    def leave(self, guest: Guest) -> None:
        """Note that `guest` waits no more: its request came, or it is gone."""
        self._waiting.pop(guest, None)

    def take(self, connections: int) -> bool:
        """Say whether one of so many connections can stay. To that end the one that waited longest may have to go."""
        if connections - len(self._turned_away) <= self.most:
            return True
        if not self._waiting:
            return False
        longest, _ = self._waiting.popitem(last=False)
        longest.make_room()
        return True

    def turn_away(self, guest: Guest) -> bool:
        """Note that there is no place for `guest`. Return whether there is time to tell it."""
        if len(self._turned_away) >= _TOLD:
            return False
        self._turned_away.add(guest)
        return True

    def forget(self, guest: Guest) -> None:
        """Note that `guest` is gone."""
        self._waiting.pop(guest, None)
        self._turned_away.discard(guest)
