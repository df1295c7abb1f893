"""The chain of seals over the audit log, and whether the log is still what was sealed. `docs/audit.md`.

A batch's digest is SHA-256 over its entries, each as a JSON array on a line. A seal's hash is SHA-256 over the hash of
the seal before (32 zero bytes for the first), and the seal itself. Whoever changes, adds or removes an entry would have
to write every later seal anew, which shows wherever one of their hashes was kept.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, fields
from operator import attrgetter

from registry.db import audit, jobs
from registry.db.audit import Entry, Seal
from registry.db.connection import Database, Reader, Transaction

_BATCH = 1000
_AGE_US = 60 * 1_000_000
"""Entries wait for so long to be sealed with others, unless there are enough for a whole batch."""
_PAGE = 100
"""Entries that are read and hashed before others are served."""
_FIRST = bytes(32)
_values = attrgetter(*(one.name for one in fields(Entry)))
"""What an entry says, in order, as `dataclasses.astuple` does in ten times as long."""

Check = Callable[[Transaction], Awaitable[None]]


@dataclass(slots=True)
class Verified:
    """What was found. `problems`: sentences; none if the log is as it was sealed.

    `forgotten`: entries that retention removed, of so many seals; `unsealed`: entries that no seal covers yet.
    `head`: the newest seal.
    """

    entries: int = 0
    seals: int = 0
    forgotten: int = 0
    unsealed: int = 0
    head: Seal | None = None
    problems: list[str] = field(default_factory=list)


async def seal(database: Database, check: Check, *, everything: bool = False) -> Seal | None:
    """Seal what is not sealed yet. Return the newest seal if there are new ones.

    Args:
        check: asked in each transaction; raises if this process may not go on.
        everything: what would wait for others, too.
    """
    before = newest = await audit.last_seal(database)
    now = await jobs.clock(database)
    waiting = await audit.batch(database, after=_end_of(before), last=2**62, limit=1)
    if not waiting:
        return None
    closed = await database.write(audit.last_closed, reserve=True)
    while entries := await audit.batch(database, after=_end_of(newest), last=closed, limit=_BATCH):
        if not everything and len(entries) < _BATCH and entries[0].at > now - _AGE_US:
            break
        newest = await _add(database, check, _sealed(newest, entries, now))
    return None if newest is before else newest


async def _add(database: Database, check: Check, made: Seal) -> Seal:
    async def work(transaction: Transaction) -> Seal:
        await check(transaction)
        await audit.add_seal(transaction, made)
        return made

    return await database.write(work, reserve=True)


def _end_of(seal: Seal | None) -> int:
    return 0 if seal is None else seal.last_id


async def verify(
    database: Database,
    *,
    keep_s: int,
    known: Mapping[int, bytes] | None = None,
    told: Callable[[int], None] = lambda count: None,
) -> Verified:
    """Compare the log with its seals. It may be written to meanwhile.

    Args:
        keep_s: for how long entries are kept: what was removed sooner is a problem.
        known: hashes of seals that were kept elsewhere, by the ids of their last entries.
        told: called with the number of entries looked at.
    """
    found = Verified()
    expected = dict(known or {})
    now = await jobs.clock(database)
    before: Seal | None = None
    emptied = True  # nothing but seals whose entries are gone has come
    async for one in _seals(database):
        _check_link(found, before, one, expected.pop(one.last_id, None))
        after = _end_of(before)
        digest, count = await _digest(database, after, one.last_id)
        if count < one.entries:  # retention may have removed the batch while it was read
            digest, count = await _digest(database, after, one.last_id)
        if not count and emptied and one.entries:
            found.forgotten += one.entries
            if one.sealed_at > now - keep_s * 1_000_000:
                found.problems.append(f"{_batch(after, one)} were removed, sooner than audit.keep says")
        else:
            emptied = False
            _check_content(found, after, one, digest, count)
        found.entries += count
        found.seals += 1
        found.head = before = one
        told(found.entries)
    found.problems += [
        f"there is no seal that ends with entry {last_id}, and one was known: seals were removed or made anew"
        for last_id in expected
    ]
    _, found.unsealed = await _digest(database, _end_of(before), 2**62)
    return found


def _check_link(found: Verified, before: Seal | None, seal: Seal, known: bytes | None) -> None:
    after = _end_of(before)
    if seal.hash != _hash(before, seal.last_id, seal.entries, seal.digest, seal.sealed_at):
        found.problems.append(
            f"the seal over {_batch(after, seal)} does not follow from the one before: one of them was changed, or "
            "seals between them were removed"
        )
    if known is not None and known != seal.hash:
        found.problems.append(f"the seal over {_batch(after, seal)} is not the one that was known: it was made anew")


def _check_content(found: Verified, after: int, seal: Seal, digest: bytes, count: int) -> None:
    if count < seal.entries:
        found.problems.append(f"{seal.entries - count} of {_batch(after, seal)} were removed")
    elif count > seal.entries:
        found.problems.append(f"{count - seal.entries} entries were put among {_batch(after, seal)}")
    elif digest != seal.digest:
        found.problems.append(f"{_batch(after, seal)} are not what was sealed: some were changed")


def _batch(after: int, seal: Seal) -> str:
    return f"the {seal.entries} entries {after + 1} to {seal.last_id}"


def _sealed(before: Seal | None, entries: list[Entry], now: int) -> Seal:
    hasher = hashlib.sha256()
    for entry in entries:
        hasher.update(_line(entry))
    digest, last_id = hasher.digest(), entries[-1].id
    return Seal(last_id, len(entries), digest, _hash(before, last_id, len(entries), digest, now), now)


def _line(entry: Entry) -> bytes:
    return json.dumps(_values(entry), separators=(",", ":")).encode() + b"\n"


def _hash(before: Seal | None, last_id: int, entries: int, digest: bytes, sealed_at: int) -> bytes:
    previous = _FIRST if before is None else before.hash
    own = json.dumps([last_id, entries, sealed_at], separators=(",", ":")).encode()
    return hashlib.sha256(b"\n".join((previous, own, digest))).digest()


async def _seals(reader: Reader) -> AsyncIterator[Seal]:
    after = -1
    while page := await audit.seals(reader, after=after, limit=_PAGE):
        for one in page:
            yield one
        after = page[-1].last_id


async def _digest(reader: Reader, after: int, last: int) -> tuple[bytes, int]:
    """Return the digest of entries, and how many there are."""
    hasher, count = hashlib.sha256(), 0
    while page := await audit.batch(reader, after=after, last=last, limit=_PAGE):
        for entry in page:
            hasher.update(_line(entry))
        count += len(page)
        after = page[-1].id
        await asyncio.sleep(0)  # reading a file never waits, and others are to be served meanwhile
    return hasher.digest(), count
