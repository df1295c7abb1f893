"""What a check is, and the list of all of them.

A check is a function that takes a `Trial`. It returns when the registry did what the specification says. It raises
`expect.Failed` when the registry did not, `expect.Lacking` when the registry does not offer what it MAY offer, and
`expect.NotApplicable` when there is nothing to try, because the registry lacks what another check names. Its docstring
is the requirement, its name the section's followed by the function's.

A level is the specification's own word where it has one. What RFC 9110 requires beyond it is a SHOULD
("implementations SHOULD follow the HTTP semantics defined in RFC 9110"), and so is a status or an error code that the
specification's tables list for a case without saying MUST.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, StrEnum

from conformance.trial import Trial

SPECIFICATION = "https://github.com/opencontainers/distribution-spec/blob/main/spec.md"


class Level(StrEnum):
    """How binding a requirement is (RFC 2119). Only a failed MUST makes a registry not conforming."""

    MUST = "MUST"
    SHOULD = "SHOULD"
    MAY = "MAY"

    def covers(self, other: "Level") -> bool:
        """Whether the other is at least as binding as this one."""
        order = list(Level)
        return order.index(other) <= order.index(self)


class Outcome(StrEnum):
    """How a check ended."""

    PASS = "pass"
    FAIL = "fail"
    LACKS = "lacks"
    """The registry does not offer what it MAY offer."""
    NOT_APPLICABLE = "not applicable"
    """There was nothing to try: the registry lacks what another check names."""


class Section(Enum):
    """Sections of distribution-spec's `spec.md`, by their titles."""

    PULLING_MANIFESTS = "Pulling manifests"
    PULLING_BLOBS = "Pulling blobs"
    CHECKING = "Checking if content exists in the registry"
    PUSHING_BLOBS = "Pushing blobs"
    POST_THEN_PUT = "POST then PUT"
    SINGLE_POST = "Single POST"
    CHUNKS = "Pushing a blob in chunks"
    CANCEL = "Cancel a blob upload"
    MOUNTING = "Mounting a blob from another repository"
    PUSH = "Push"
    PUSHING_MANIFESTS = "Pushing Manifests"
    SUBJECT = "Pushing Manifests with Subject"
    LISTING_TAGS = "Listing Tags"
    LISTING_REFERRERS = "Listing Referrers"
    DELETING_TAGS = "Deleting tags"
    DELETING_MANIFESTS = "Deleting Manifests"
    DELETING_BLOBS = "Deleting Blobs"
    TAG_SCHEMA = "Referrers Tag Schema"
    LEGACY_HEADERS = "Legacy Docker support HTTP headers"
    SUPPORT = "Determining Support"
    API = "API"
    DOCKER_API = "Appendix"
    """Docker Registry HTTP API V2, which the appendix names as the original of the specification."""
    ERROR_CODES = "Error Codes"
    WARNINGS = "Warnings"
    """The last: its check looks at the answers of the whole run."""

    @property
    def slug(self) -> str:
        """The title as the anchor of its heading."""
        return self.value.lower().replace(" ", "-")

    @property
    def link(self) -> str:
        """Where the section can be read."""
        return f"{SPECIFICATION}#{self.slug}"


@dataclass(frozen=True)
class Check:
    """One requirement and the function that tries it."""

    name: str
    section: Section
    level: Level
    title: str
    function: Callable[[Trial], None]


_checks: dict[str, Check] = {}


def check(section: Section, level: Level) -> Callable[[Callable[[Trial], None]], Callable[[Trial], None]]:
    """Register a function as a check of a section. Its docstring's first paragraph becomes the check's title.

    Raises:
        ValueError: when it decorates a function without a docstring, or the second one of a name.
    """

    def register(function: Callable[[Trial], None]) -> Callable[[Trial], None]:
        add(section, level, function.__name__, function.__doc__ or "", function)
        return function

    return register


def add(section: Section, level: Level, name: str, title: str, function: Callable[[Trial], None]) -> None:
    """Register a check that was made in a loop; `name` is written as a function's."""
    title = " ".join(title.partition("\n\n")[0].split())
    full = f"{section.slug}/{name.replace('_', '-')}"
    if not title:
        raise ValueError(f"the check {full} does not say what it requires")
    if full in _checks:
        raise ValueError(f"there are two checks {full}")
    _checks[full] = Check(full, section, level, title, function)


def registered() -> list[Check]:
    """All checks of the modules imported so far, in the order of the specification's sections."""
    order = list(Section)
    return sorted(_checks.values(), key=lambda one: order.index(one.section))
