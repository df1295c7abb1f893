"""What `/api/v1` says of retention policies, and is told of them."""

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from registry.api.models import Name, Said, Shown, Text
from registry.services.tag_policy import MOST_COUNT, MOST_DAYS, MOST_RULES

_Patterns = str | list[str]


class TagSelector(Said):
    """Chooses names: by patterns (`*` within a component, `**` across), or by a regular expression as RE2 has them."""

    matches: _Patterns | None = None
    excludes: _Patterns | None = None
    regex: Annotated[str, Field(max_length=256)] | None = None
    inverted: bool | None = None


class RetentionRule(Said):
    """Keeps some of the tags that it is about. `count` goes with templates of the latest, `days` with those of age."""

    template: Literal[
        "always", "latestPushedK", "latestPulledN", "lastXDays", "nDaysSinceLastPush", "nDaysSinceLastPull"
    ]
    count: Annotated[int, Field(ge=1, le=MOST_COUNT)] | None = None
    days: Annotated[int | float, Field(gt=0, le=MOST_DAYS)] | None = None
    repositories: TagSelector | None = None
    tags: TagSelector | None = None


Rules = Annotated[list[RetentionRule], Field(min_length=1, max_length=MOST_RULES)]


class RetentionPolicy(Shown):
    """Which tags stay. `project` null: in the whole registry. `schedule`: cron in UTC; "" for never by itself."""

    BY_USE: ClassVar[dict[str, Any]] = {"due_at": True}

    project: str | None
    name: str
    rules: list[RetentionRule]
    schedule: str
    enabled: bool
    due_at: datetime | None
    created_at: datetime
    created_by: str


class NewRetentionPolicy(Said):
    """A policy to be made."""

    name: Name
    rules: Rules
    schedule: Text = ""
    enabled: bool = True


class RetentionPolicyChange(Said):
    """What is to be changed of a policy; what is left out stays as it is."""

    rules: Rules | None = None
    schedule: Text | None = None
    enabled: bool | None = None


class DroppedTag(Shown):
    """A tag that went, and what it named."""

    repository: str
    tag: str
    digest: str


class RetentionRun(Shown):
    """A run of a policy. `kept`, `dropped`: of the tags that it is about. `examples`: some of those that went.

    `state`: running, done, failed, or interrupted, when the server that did it was stopped.
    """

    id: int
    state: Literal["running", "done", "failed", "interrupted"]
    by: str
    began_at: datetime
    ended_at: datetime | None
    repositories: int
    kept: int
    dropped: int
    examples: list[DroppedTag]
    error: str | None


class TagDecision(Shown):
    """What a policy says of a tag, and why."""

    repository: str
    tag: str
    digest: str
    stays: bool
    reason: str
