"""What the API's models have in common, and the values that several of them have."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar, Generic, TypeVar

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

T = TypeVar("T")

_PLAIN = r"^[^\x00-\x1f\x7f]*$"
"""No control characters. What may be called how is said by `auth.names`, and refused with its words."""

Text = Annotated[str, StringConstraints(max_length=300, pattern=_PLAIN)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=300, pattern=_PLAIN)]
NameInPath = Annotated[str, Path(min_length=1, max_length=300, pattern=_PLAIN)]
Number = Annotated[int, Path(ge=1, le=2**53)]
Secret = Annotated[str, StringConstraints(max_length=1024), Field(json_schema_extra={"format": "password"})]
Expiry = Annotated[int, Field(ge=1, le=100 * 365 * 86400)]


class Said(BaseModel):
    """What a request says. Strict: "yes" is no boolean, and what nobody knows is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Shown(BaseModel):
    """What an answer shows."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    BY_USE: ClassVar[Mapping[str, Any]] = {}
    """What changes by mere use, and is not in the entity tag: True for all of a field, or the same for its parts."""


class Page(Shown, Generic[T]):
    """Part of a listing. `next`: what to say as `after` for what follows; null at the end."""

    items: list[T]
    next: str | None


def time_of(microseconds: int) -> datetime:
    """Return a time since the epoch, in whole seconds."""
    return datetime.fromtimestamp(microseconds // 1_000_000, UTC)


def precise_time_of(microseconds: int) -> str:
    """Return a time since the epoch as text, to the microsecond."""
    moment = datetime.fromtimestamp(microseconds // 1_000_000, UTC).replace(microsecond=microseconds % 1_000_000)
    return f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z"


def exact_time_of(microseconds: int) -> datetime:
    """Return a time since the epoch, to the microsecond."""
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=microseconds)


def time_or_none(microseconds: int | None) -> datetime | None:
    """Return a time, None for none."""
    return None if microseconds is None else time_of(microseconds)
