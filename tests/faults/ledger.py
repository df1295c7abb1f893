"""What clients asked for and what they were told, from which follows what a server may have, now or at any time before.

A key (a blob, a manifest, a tag, a referrer in one repository) is a register: changes are written to it, each with the
time at which it was asked for and the time at which it was acknowledged. A change follows another if it was asked for
after the other was acknowledged. After a crash the register may hold the value of any change that none follows that was
acknowledged. So a change that was never answered may have happened or not, and of changes that several clients made at
once any may be the last.
"""

import math
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

BLOB, MANIFEST, TAG, REFERRER = "blob", "manifest", "tag", "referrer"
THERE = "there"
"""The value of a blob, a manifest or a referrer that is there. A tag's value is a digest; what is not there is None."""


class Key(NamedTuple):
    """What a fact is about. `name` is a digest or a tag; `subject` is what a referrer refers to."""

    kind: str
    repository: str
    name: str
    subject: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.repository} {self.name}{self.subject and ' of '}{self.subject}"


@dataclass(eq=False)
class Change:
    """A value and when it was asked for and acknowledged, in seconds since the epoch."""

    value: str | None
    begun: float
    ended: float = math.inf


@dataclass(eq=False)
class Session:
    """An upload over several requests.

    Attributes:
        received: bytes acknowledged.
        sent: bytes sent, some of them perhaps unacknowledged.
        whole: whether the last chunk had a Content-Range, and so counts whole or not at all.
        opened: when it was acknowledged that it is open.
        ending: when it was asked to end.
        ended: when that was acknowledged.
    """

    repository: str
    location: str
    content: bytes
    opened: float
    received: int = 0
    sent: int = 0
    whole: bool = False
    ending: float = math.inf
    ended: float = math.inf


@dataclass
class Ledger:
    """The facts about all repositories, of all writers. May be used by several threads.

    Attributes:
        parts: what must be there while a manifest is, in its repository: keys without one, by the manifest's digest.
        sessions: upload sessions that were begun.
        acknowledged: how many changing requests were acknowledged.
    """

    parts: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    sessions: list[Session] = field(default_factory=list)
    acknowledged: int = 0
    _histories: defaultdict[str, dict[Key, list[Change]]] = field(default_factory=lambda: defaultdict(dict))
    _guard: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def change(self, values: Mapping[Key, str | None]) -> Iterator[None]:
        """A request that changes these keys. It is acknowledged if the block ends without an error.

        A key that was found to be gone already counts as changed: it was gone at that moment.
        """
        changes = [Change(value, time.time()) for value in values.values()]
        with self._guard:
            for key, change in zip(values, changes, strict=True):
                self._histories[key.repository].setdefault(key, [_absent()]).append(change)
        yield
        now = time.time()
        for change in changes:
            change.ended = now
        with self._guard:
            self.acknowledged += 1

    def keys(self, repository: str, *, at: float = math.inf) -> list[Key]:
        """Every key of a repository that somebody asked to change before a time."""
        with self._guard:
            return [key for key, history in self._histories[repository].items() if _begun(history, at)]

    @property
    def repositories(self) -> list[str]:
        """Every repository that was written to."""
        with self._guard:
            return list(self._histories)

    def possible(self, key: Key, *, at: float = math.inf) -> set[str | None]:
        """The values that a key may have if the server crashed at that time."""
        with self._guard:
            history = [change for change in self._histories[key.repository].get(key, [_absent()]) if change.begun < at]
        followed = max(change.begun for change in history if change.ended < at)
        return {change.value for change in history if change.ended >= followed}

    def known(self, repository: str, kind: str) -> dict[Key, str]:
        """The keys of a kind that are there for sure, with their values."""
        found = {}
        for key in self.keys(repository):
            if key.kind == kind and len(values := self.possible(key)) == 1:
                (value,) = values
                if value is not None:
                    found[key] = value
        return found

    def settle(self, key: Key, value: str | None) -> None:
        """From now on a key has the value that was found after a crash."""
        with self._guard:
            self._histories[key.repository][key] = [Change(value, -math.inf, -math.inf)]

    def moments(self) -> list[float]:
        """The times of all acknowledgements, in order."""
        with self._guard:
            histories = [history for by_key in self._histories.values() for history in by_key.values()]
            return sorted({one.ended for history in histories for one in history if -math.inf < one.ended < math.inf})


def _absent() -> Change:
    return Change(None, -math.inf, -math.inf)


def _begun(history: list[Change], at: float) -> bool:
    return any(change.begun < at for change in history[1:]) or history[0].value is not None or len(history) == 1
