"""What came of a takeover: figures, what was left out and why, what was kept as it is here."""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

_LISTED = 10_000
"""So many of each list are told one by one; the rest is counted."""


class Reason(StrEnum):
    """Why something was left out, or kept. These words stay the same between versions."""

    NAME_INVALID = "name-invalid"
    UNREADABLE = "unreadable"
    LINK_DAMAGED = "link-damaged"
    MANIFEST_MISSING = "manifest-missing"
    MANIFEST_TOO_LARGE = "manifest-too-large"
    MANIFEST_DAMAGED = "manifest-damaged"
    MANIFEST_INVALID = "manifest-invalid"
    SCHEMA_1 = "schema-1"
    BLOB_MISSING = "blob-missing"
    BLOB_DAMAGED = "blob-damaged"
    CHILD_MISSING = "child-missing"
    TAG_TARGET_MISSING = "tag-target-missing"
    CHANGED_HERE = "changed-here"
    FIXED_HERE = "fixed-here"
    DELETED_HERE = "deleted-here"
    DELETED_THERE = "deleted-there"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing: the repository, what in it (a tag, a digest, a path), why, and a sentence."""

    reason: Reason
    repository: str
    item: str
    message: str


class Findings:
    """A list that does not grow without bound, and exact numbers."""

    def __init__(self) -> None:
        self.listed: list[Finding] = []
        self.counts: Counter[Reason] = Counter()

    def add(self, finding: Finding) -> None:
        """Count it, and list it if there is room."""
        self.counts[finding.reason] += 1
        if len(self.listed) < _LISTED:
            self.listed.append(finding)

    def __len__(self) -> int:
        return self.counts.total()


@dataclass(slots=True)
class Report:
    """Figures of a run. What was there before the run is not counted, but for `repositories`, which were looked at.

    Attributes:
        total: repositories to look at, if somebody counted them.
        tags, tags_moved: new here; moved from one manifest to another.
        history: what tags were before.
        blobs, bytes: recorded where they lie; `copied` and `bytes_copied` went into the registry's own storage.
        gone: links to layers that are not there and that nothing refers to: what collection leaves behind.
        left_out: what could not be taken over, or not whole. `kept`: what was left as it is here, on purpose.
    """

    total: int = 0
    repositories: int = 0
    tags: int = 0
    tags_moved: int = 0
    history: int = 0
    manifests: int = 0
    blobs: int = 0
    bytes: int = 0
    copied: int = 0
    bytes_copied: int = 0
    gone: int = 0
    left_out: Findings = field(default_factory=Findings)
    kept: Findings = field(default_factory=Findings)

    def leave_out(self, reason: Reason, repository: str, item: str, message: str) -> None:
        """Note what could not be taken over."""
        self.left_out.add(Finding(reason, repository, item, message))

    def keep(self, reason: Reason, repository: str, item: str, message: str) -> None:
        """Note what was left as it is here."""
        self.kept.add(Finding(reason, repository, item, message))
