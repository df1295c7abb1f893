"""An event: what happened to a repository, as everybody who is told of it has it. `docs/events.md`.

The rest of the registry writes events (`registry.services.events`), places them in one order (`registry.jobs.sequence`)
and reads them in it (`registry.db.events`). Formats of notifications are functions of this.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

ActionName = Literal[
    "push",
    "pull",
    "mount",
    "delete",
    "tag",
    "untag",
    "create",
    "quota",
    "quarantine",
    "recover",
    "undelete",
    "purge",
]
PUSH = "push"
"""A manifest or a blob was pushed."""
PULL = "pull"
"""A manifest was pulled. Written by setting only (`events.pulls`)."""
MOUNT = "mount"
"""A blob of another repository, `source`, was linked."""
DELETE = "delete"
"""A manifest or a blob was deleted."""
TAG = "tag"
"""A tag was made, or moved: then `previous` says what it named."""
UNTAG = "untag"
"""A tag was removed: `digest` says what it named."""
CREATE = "create"
"""A repository came to be."""
QUOTA = "quota"
"""A push brought the project to a share of its quota that somebody should know of: `quota`."""
QUARANTINE = "quarantine"
"""A blob was found to be missing or damaged: `fault`. It is served no more."""
RECOVER = "recover"
"""It is whole again."""
UNDELETE = "undelete"
"""A manifest that was deleted is there again."""
PURGE = "purge"
"""A manifest or a blob was removed for good, before its time."""

ACTIONS: tuple[str, ...] = get_args(ActionName)


@dataclass(frozen=True, slots=True)
class Asker:
    """The request that something came of, as it came: whatever a client says is cut where it is too long.

    Attributes:
        id: the id that the log of requests and the audit log have for it.
        address: IP address of the client.
        host: the header Host.
        method: of HTTP.
        agent: the header User-Agent.
    """

    id: str
    address: str
    host: str
    method: str
    agent: str


@dataclass(frozen=True, slots=True)
class Part:
    """What a manifest refers to: config, layers, blobs, or an index's manifests. `size` in bytes, if it is said."""

    digest: str
    media_type: str
    size: int | None


@dataclass(frozen=True, slots=True)
class QuotaShare:
    """How far a quota is used. `what`: bytes or tags. `percent`: the share that was reached, 80 or 100."""

    what: str
    percent: int
    used: int
    limit: int


@dataclass(frozen=True, slots=True)
class Event:
    """One event, in its place in the stream. What does not apply is None, or empty.

    Attributes:
        id: of its row. It grows with time, but is not what readers go by.
        position: its place, given after it was committed; never given twice within an epoch.
        epoch: of the stream: another after a copy of the database was brought back.
        at: when it happened, in microseconds since the epoch (1970), by the database's clock.
        action: one of ACTIONS; a newer version may have more.
        actor: name of the principal who did it.
        digest: of the manifest or blob, or of what the tag names (`untag`: named).
        media_type: of the manifest; None for blobs.
        size: in bytes.
        tag: the tag; of a push with several the first.
        tags: all tags of a push.
        previous: what the tag named before.
        subject: the digest that a pushed manifest refers to as its subject.
        artifact_type: of a pushed manifest.
        source: the repository that a blob was mounted from.
        references: what a pushed manifest refers to, the first hundred.
        fault: what is wrong with a blob.
        cause: what it is part of, if it is no plain push or delete: a word of the history of tags, such as rollback.
        quota: how far a quota is used.
        asker: the request; None where there was none, as for jobs and commands.
    """

    id: int
    position: int
    epoch: str
    at: int
    action: str
    repository: str
    actor: str = ""
    digest: str | None = None
    media_type: str | None = None
    size: int | None = None
    tag: str | None = None
    tags: tuple[str, ...] = ()
    previous: str | None = None
    subject: str | None = None
    artifact_type: str | None = None
    source: str | None = None
    references: tuple[Part, ...] = ()
    fault: str | None = None
    cause: str | None = None
    quota: QuotaShare | None = None
    asker: Asker | None = None

    @property
    def cursor(self) -> str:
        """What everybody knows the event by, and what a reader says to go on after it: `EPOCH-POSITION`.

        It is the same on each delivery.
        """
        return f"{self.epoch}-{self.position}"


_PLAIN = frozenset(
    {"actor", "digest", "media_type", "size", "tag", "previous", "subject", "artifact_type", "source", "fault", "cause"}
)


def parse_event(
    *,
    id: int,  # noqa: A002 - its name
    position: int,
    epoch: str,
    at: int,
    action: str,
    repository: str,
    payload: str,
) -> Event:
    """Return an event from its row. What a newer version wrote beside is left out."""
    said: Mapping[str, Any] = json.loads(payload)
    quota, asker = said.get("quota"), said.get("request")
    return Event(
        id=id,
        position=position,
        epoch=epoch,
        at=at,
        action=action,
        repository=repository,
        tags=tuple(said.get("tags", ())),
        references=tuple(Part(*one[:3]) for one in said.get("references", ())),
        quota=None if quota is None else QuotaShare(*quota[:4]),
        asker=None if asker is None else Asker(*asker[:5]),
        **{name: value for name, value in said.items() if name in _PLAIN},
    )
