"""The audit log: who did what, and who was refused. `docs/audit.md`.

What changes something is recorded in the transaction of the change: it is in the log if, and only if, it came to be.
What changes nothing, denials and pulls, is gathered in memory and written once a minute, so that noise does not write;
logins, of which a busy client makes one after the other, when they begin and then once an hour.
"""

import asyncio
import json
import logging
import random
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, NamedTuple

from auth.grants import project_of
from registry.db import audit
from registry.db.connection import Database, Transaction
from registry.errors import Unavailable
from registry.logs import request_id

DONE = "done"
DENIED = "denied"
FAILED = "failed"
"""Outcomes: it was done; whoever asked may not; what was shown, or what should be done it with, was wrong."""

OPERATOR = "system:operator"
"""Who runs commands on the machine, beside the server: nobody knows more about them."""

LOGIN = "login"
ISSUE = "token.issue"
PULL = "pull"

client: ContextVar[str] = ContextVar("client", default="")
"""The address of whoever's request is being served; empty where none is. Set where it is found out who asks."""

_logger = logging.getLogger("stowage.audit")
_EVERY_S = 60
_HOUR_S = 3600
_MOST_GATHERED = 1000
_MOST_KEPT = 10_000
_OTHERS = "(others)"
"""Whose denials, or logins, are added up when there are too many to tell apart."""
_LONGEST = 512
_LONGEST_DETAIL = 8192
_EXAMPLES = 5


class Origin(NamedTuple):
    """Where a request came from: its address, and the id that the log of requests has for it; what it said of itself.

    `audited`: whether the audit log tells of what it does.
    """

    address: str
    request_id: str
    host: str = ""
    method: str = ""
    agent: str = ""
    audited: bool = True


def address_of(origin: Origin | None) -> str:
    """Return the address that a request came from; "" where there was none."""
    return "" if origin is None else origin.address


def origin() -> Origin:
    """Return where the request that is being served comes from; nowhere if none is."""
    return Origin(client.get(), request_id.get())


@contextmanager
def on_behalf_of(found: Origin) -> Iterator[None]:
    """Have `origin` return this: a transaction may be run by who runs them all, and knows of no request."""
    told_client, told_id = client.set(found.address), request_id.set(found.request_id)
    try:
        yield
    finally:
        client.reset(told_client)
        request_id.reset(told_id)


async def record(
    transaction: Transaction,
    action: str,
    outcome: str,
    principal: str,
    *,
    project: str = "",
    repository: str = "",
    address: str = "",
    request_id: str = "",
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Record what somebody did, in the transaction that does it.

    Args:
        action: a word, or two with a dot between: `push`, `grant.add`.
        outcome: DONE, DENIED or FAILED.
        principal: a principal's name, or OPERATOR.
        project: that of `repository` if it is not given.
        detail: what else is to be known, as JSON has it. No secrets.
    """
    entry = _entry(
        action, outcome, principal, project or project_of(repository), repository, Origin(address, request_id), detail
    )
    await audit.record(transaction, [{**entry, "count": 1}])


async def record_many(
    transaction: Transaction,
    action: str,
    principal: str,
    details: Iterable[Mapping[str, Any]],
    *,
    repository: str,
    origin: Origin,
) -> None:
    """Record what somebody did several times in a repository. `details`: of each."""
    project = project_of(repository)
    entries = [_entry(action, DONE, principal, project, repository, origin, one) for one in details]
    await audit.record(transaction, [{**one, "count": 1} for one in entries])


def _entry(
    action: str,
    outcome: str,
    principal: str,
    project: str,
    repository: str,
    origin: Origin,
    detail: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return the columns of an entry. Whatever a client chose is cut where it is too long."""
    text = json.dumps(detail or {}, sort_keys=True, separators=(",", ":"), default=str)
    if len(text) > _LONGEST_DETAIL:
        text = json.dumps({"cut": text[:_LONGEST]})
    fields = {
        "action": action,
        "outcome": outcome,
        "principal": principal,
        "project": project,
        "repository": repository,
        "address": origin.address,
        "request_id": origin.request_id,
    }
    return {**{name: _plain(value) for name, value in fields.items()}, "detail": text}


def _plain(value: str) -> str:
    """Return a text that every database takes: without NUL and halves of characters, and not too long."""
    return str(value)[:_LONGEST].replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()


class _Key(NamedTuple):
    action: str
    outcome: str
    principal: str
    address: str
    way: str = ""


@dataclass(slots=True)
class _Gathered:
    """What happened again and again: how often, where, and the last of it. `due`: when it is to be written."""

    count: int = 0
    repositories: list[str] = field(default_factory=list)
    request_id: str = ""
    detail: Mapping[str, Any] | None = None
    due: float = 0.0


class Auditor:
    """Gathers what changes nothing, and writes it down once a minute, and at the end.

    Args:
        enabled: whether requests are recorded at all.
        pulls: the share of pulls that are.

    Attributes:
        lost: how many were not written, because the database did not take them for too long.
    """

    def __init__(
        self,
        database: Database,
        *,
        enabled: bool,
        pulls: float = 0.0,
        every_s: float = _EVERY_S,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.enabled = enabled
        self.pulls = pulls if enabled else 0.0
        self.lost = 0
        self._database = database
        self._every_s = every_s
        self._clock = clock
        self._gathered: dict[_Key, _Gathered] = {}
        self._going_on: dict[_Key, _Gathered] = {}
        self._written_at: OrderedDict[_Key, float] = OrderedDict()
        self._writing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to write now and then."""
        self._writing = asyncio.create_task(self._keep_writing(), name="audit log")

    async def stop(self) -> None:
        """Write what was gathered, and no more."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)
            self._writing = None
        with suppress(Unavailable):
            await self.flush(everything=True)

    def note(
        self,
        action: str,
        outcome: str,
        principal: str,
        origin: Origin,
        *,
        repository: str = "",
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        """Note what changes nothing. The same within a minute becomes one entry, with a count."""
        if not self.enabled:
            return
        key = _Key(action, outcome, principal, origin.address)
        if key not in self._gathered and len(self._gathered) >= _MOST_GATHERED:
            key = _Key(action, outcome, _OTHERS, "")
        one = self._gathered.setdefault(key, _Gathered())
        one.count += 1
        one.request_id = origin.request_id
        one.detail = detail or one.detail
        if repository and repository not in one.repositories and len(one.repositories) <= _EXAMPLES:
            one.repositories.append(repository)

    def going_on(
        self, action: str, principal: str, origin: Origin, way: str, *, detail: Mapping[str, Any] | None = None
    ) -> None:
        """Note what clients do again and again: an entry when it begins, and then one an hour with a count.

        Args:
            way: what else makes it another: the credential that was shown.
        """
        if not self.enabled:
            return
        key = _Key(action, DONE, principal, origin.address, way)
        if key not in self._going_on and len(self._going_on) >= _MOST_KEPT:
            key = _Key(action, DONE, _OTHERS, "")
        due = self._written_at.get(key, -_HOUR_S) + _HOUR_S
        one = self._going_on.setdefault(key, _Gathered(due=due))
        one.count += 1
        one.request_id = origin.request_id
        one.detail = {"by": way, **(detail or {})}

    def pulled(self, principal: str, origin: Origin, repository: str, digest: str) -> None:
        """Note the pull of a manifest, or not, by the share that is asked for."""
        if random.random() < self.pulls:  # noqa: S311 - a sample
            self.note(PULL, DONE, principal, origin, repository=repository, detail={"digest": digest})

    async def flush(self, *, everything: bool = False) -> None:
        """Write what was gathered and is due. Raises Unavailable; then it is kept, as far as there is room.

        Args:
            everything: write what is not due yet, too.
        """
        now = self._clock()
        due = {key: one for key, one in self._going_on.items() if everything or one.due <= now}
        gathered, self._gathered = self._gathered, {}
        for key in due:
            del self._going_on[key]
        entries = [*gathered.items(), *due.items()]
        if not entries:
            return
        try:
            await self._database.write(lambda tx: audit.record(tx, [_joined(*one) for one in entries]))
        except Unavailable:
            self._take_back(self._gathered, gathered)
            self._take_back(self._going_on, due)
            raise
        for key in due:
            self._written_at[key] = now
            self._written_at.move_to_end(key)
        while len(self._written_at) > _MOST_KEPT:
            self._written_at.popitem(last=False)

    def _take_back(self, kept: dict[_Key, _Gathered], gathered: dict[_Key, _Gathered]) -> None:
        for key, one in gathered.items():
            newer = kept.get(key)
            if newer is not None:
                newer.count += one.count
            elif len(kept) < _MOST_KEPT:
                kept[key] = one
            else:
                self.lost += one.count

    async def _keep_writing(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            try:
                await self.flush()
            except Unavailable as error:
                _logger.warning("what was gathered waits to be written to the audit log: %s", error)


def _joined(key: _Key, one: _Gathered) -> dict[str, Any]:
    """Return the columns of an entry that stands for several."""
    listed = one.repositories[:_EXAMPLES]
    detail = dict(one.detail or {})
    repository = one.repositories[0] if len(one.repositories) == 1 else ""
    if len(one.repositories) > 1:
        detail["repositories"] = [*listed, "..."] if len(one.repositories) > _EXAMPLES else listed
    projects = {project_of(name) for name in one.repositories}
    project = projects.pop() if len(projects) == 1 else ""
    origin = Origin(key.address, one.request_id)
    entry = _entry(key.action, key.outcome, key.principal, project, repository, origin, detail)
    return {**entry, "count": one.count}
