"""An endpoint: where events are sent, which of them, and how."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from auth.grants import matches, project_of
from registry.event import (
    CREATE,
    DELETE,
    PULL,
    PURGE,
    PUSH,
    QUARANTINE,
    QUOTA,
    RECOVER,
    TAG,
    UNDELETE,
    UNTAG,
    Event,
)

Format = Literal["distribution", "cloudevents", "slack"]
Mode = Literal["structured", "binary"]
DEFAULT_EVENTS = (PUSH, DELETE, TAG, UNTAG, CREATE, QUOTA, QUARANTINE, RECOVER, UNDELETE, PURGE)
"""What an endpoint is told of that does not say: all but pulls and mounts."""
_OF_CONTENT = frozenset({PUSH, PULL, DELETE, PURGE})
MOST_TIMEOUT_S = 60
MOST_CONCURRENCY = 64
MOST_ATTEMPTS = 1000
LONGEST_S = 30 * 86400


@dataclass(frozen=True, slots=True)
class Options:
    """What is no secret of an endpoint. Times in seconds.

    Attributes:
        mode: of CloudEvents.
        events: the actions that it is told of.
        repositories: patterns, doublestar, of which one has to match; any repository where there are none.
        tags: patterns likewise; an event without a tag matches none.
        media_types: patterns likewise, of the manifest's media type.
        blobs: whether it is told of pushes, pulls and deletions of blobs, which come with each image.
        timeout: from the beginning of a try to the whole answer.
        concurrency: how many messages are under way at a time, each of another repository.
        max_attempts: tries after which an event is given up; 0 sets no bound.
        give_up: age, since its first try, at which it is.
        backoff: the pause after the first failure; it doubles with each further one.
        backoff_cap: the longest pause.
        ca: certificates, in PEM, to trust in place of the system's; "" for those.
    """

    mode: Mode = "structured"
    events: tuple[str, ...] = DEFAULT_EVENTS
    repositories: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    media_types: tuple[str, ...] = ()
    blobs: bool = False
    timeout: float = 10
    concurrency: int = 4
    max_attempts: int = 20
    give_up: float = 3 * 86400
    backoff: float = 1
    backoff_cap: float = 600
    ca: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return them as a JSON object has them."""
        return asdict(self)

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Self:
        """Return what a JSON object says; what a newer version wrote beside is left out."""
        known: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in said.items()
            if name in cls.__slots__
        }
        return cls(**known)

    def passes(self, event: Event) -> bool:
        """Say whether an endpoint is told of an event."""
        if event.action not in self.events:
            return False
        if not self.blobs and event.media_type is None and event.action in _OF_CONTENT:
            return False
        if self.repositories and not _any_matches(self.repositories, [event.repository]):
            return False
        if self.tags and not _any_matches(self.tags, event.tags or ([event.tag] if event.tag else [])):
            return False
        return not self.media_types or _any_matches(self.media_types, [event.media_type] if event.media_type else [])


@dataclass(frozen=True, slots=True)
class Secrets:
    """What must not be seen of an endpoint again, once it was said.

    Attributes:
        secret: signs, `whsec_…` or any other text; "" for no signature.
        headers: sent with each message.
        bearer: a token, "" for none.
        basic: NAME:PASSWORD, "" for none.
    """

    secret: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    bearer: str = ""
    basic: str = ""

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.secret or self.headers or self.bearer or self.basic)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint, as it is delivered to.

    Attributes:
        id: of its row.
        project: the only one that it is told of; "" for the whole registry.
        private: whether it may be at an address within this network, in plain `http` too.
        ca_file: PEM file with whom to trust.
        is_file: it is in the settings.
    """

    id: int
    name: str
    project: str
    url: str
    format: Format
    options: Options
    secrets: Secrets
    private: bool = False
    ca_file: Path | None = None
    is_file: bool = False

    def wants(self, event: Event) -> bool:
        """Say whether it is told of an event."""
        return (not self.project or project_of(event.repository) == self.project) and self.options.passes(event)

    def __str__(self) -> str:
        """Its name, with its project's."""
        return f"{self.project}/{self.name}" if self.project else self.name


def _any_matches(patterns: Iterable[str], names: Iterable[str]) -> bool:
    return any(matches(pattern, name) for name in names for pattern in patterns)
