"""Events: one row in the outbox for each change, written in the transaction of the change. `registry.event`."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple
from itertools import islice
from typing import Any

from registry.db import outbox, repositories
from registry.db.connection import Transaction
from registry.event import (
    ACTIONS,
    CREATE,
    DELETE,
    MOUNT,
    PULL,
    PURGE,
    PUSH,
    QUARANTINE,
    QUOTA,
    RECOVER,
    TAG,
    UNDELETE,
    UNTAG,
    Asker,
    Event,
    Part,
    QuotaShare,
)
from registry.oci.manifests import Reference
from registry.oci.names import RepositoryName
from registry.services import audit
from registry.services.audit import Origin

__all__ = [
    "ACTIONS",
    "CREATE",
    "DELETE",
    "MOUNT",
    "PULL",
    "PURGE",
    "PUSH",
    "QUARANTINE",
    "QUOTA",
    "RECOVER",
    "TAG",
    "UNDELETE",
    "UNTAG",
    "Asker",
    "Event",
    "Part",
    "QuotaShare",
    "asker_of",
    "enter",
    "record",
    "record_many",
    "warn",
]


_MOST_REFERENCES = 100
_LONGEST = 256
_QUOTAS = "quotas"
"""Who warns of quotas."""


async def record(
    transaction: Transaction,
    repository: RepositoryName,
    action: str,
    *,
    actor: str,
    origin: Origin | None = None,
    references: Iterable[Reference] = (),
    tags: Sequence[str] = (),
    **facts: str | int | None,
) -> None:
    """Write down what happened, also in the audit log, if that is asked to tell of it.

    Args:
        origin: the request that did it; None where there was none.
        references: what a pushed manifest refers to.
        tags: all tags of a push, if there are several.
        facts: what else `Event` has. Those that are None are left out.
    """
    known = {name: value for name, value in facts.items() if value is not None}
    said: dict[str, Any] = {"actor": actor, **known}
    if tags:
        said["tags"] = tags
    if references:
        said["references"] = [(one.digest, one.media_type, one.size) for one in islice(references, _MOST_REFERENCES)]
    if origin is not None:
        said["request"] = asker_of(origin)
    await outbox.record(transaction, repository, action, _json(said))
    if origin is not None and origin.audited:
        await audit.record(
            transaction,
            action,
            audit.DONE,
            actor,
            repository=repository,
            address=origin.address,
            request_id=origin.request_id,
            detail=known,
        )


async def record_many(
    transaction: Transaction,
    repository: RepositoryName,
    action: str,
    several: Iterable[Mapping[str, str | int | None]],
    *,
    actor: str,
    origin: Origin | None = None,
) -> None:
    """Write down what happened several times, as `record` does, with two statements for all. `several`: the facts."""
    known = [{name: value for name, value in facts.items() if value is not None} for facts in several]
    if not known:
        return
    rest = {} if origin is None else {"request": asker_of(origin)}
    said = [(str(repository), _json({"actor": actor, **facts, **rest})) for facts in known]
    await outbox.record_many(transaction, action, said)
    if origin is not None and origin.audited:
        await audit.record_many(transaction, action, actor, known, repository=repository, origin=origin)


async def enter(
    transaction: Transaction,
    repository: RepositoryName,
    *,
    actor: str,
    origin: Origin | None,
    in_project: bool = False,
) -> int:
    """Return the id of a repository that is pushed to, locked as by `repositories.lock`; make it if it is not there.

    `in_project`, and what it raises: as for `repositories.create`.
    """
    found = await repositories.lock(transaction, repository)
    if found is not None:
        return found
    made, is_new = await repositories.create(transaction, repository, in_project=in_project)
    if is_new:
        await outbox.record(
            transaction, repository, CREATE, _json({"actor": actor} | ({"request": asker_of(origin)} if origin else {}))
        )
    return made


async def warn(transaction: Transaction, repository: str, share: QuotaShare) -> None:
    """Write down that a push brought its project to a share of its quota."""
    said = {"actor": _QUOTAS, "quota": astuple(share)}
    await outbox.record(transaction, RepositoryName(repository), QUOTA, _json(said))


def asker_of(origin: Origin) -> list[str]:
    """Return what a payload says of a request: the fields of `Asker`."""
    return [origin.request_id, origin.address, origin.host[:_LONGEST], origin.method, origin.agent[:_LONGEST]]


_json = json.JSONEncoder(separators=(",", ":")).encode
