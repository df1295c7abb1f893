"""What `fsck` can find, each with a fixed name, what it means and what --repair does about it."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum


class Problem(StrEnum):
    """A kind of finding. Names stay the same between versions."""

    OBJECT_MISSING = "object-missing"
    OBJECT_SIZE = "object-size"
    OBJECT_UNREADABLE = "object-unreadable"
    OBJECT_ORPHANED = "object-orphaned"
    STORE_UNAVAILABLE = "store-unavailable"
    BLOB_UNLINKED = "blob-unlinked"
    KEY_DOOMED = "key-doomed"
    LINK_DANGLING = "link-dangling"
    LINK_FORGOTTEN = "link-forgotten"
    MANIFEST_CONTENT = "manifest-content"
    MANIFEST_DANGLING = "manifest-dangling"
    MANIFEST_EDGES = "manifest-edges"
    MANIFEST_FORGOTTEN = "manifest-forgotten"
    TAG_DELETED = "tag-deleted"
    TAG_DANGLING = "tag-dangling"
    REPOSITORY_FORGOTTEN = "repository-forgotten"
    SESSION_EMPTY = "session-empty"
    UPLOAD_ORPHANED = "upload-orphaned"
    QUOTA_SUM = "quota-sum"


REPAIRS = {
    Problem.OBJECT_MISSING: "quarantines the blob: a push brings it back",
    Problem.OBJECT_SIZE: "quarantines the blob: a push brings it back",
    Problem.OBJECT_UNREADABLE: "",
    Problem.OBJECT_ORPHANED: "deletes the object",
    Problem.STORE_UNAVAILABLE: "",
    Problem.BLOB_UNLINKED: "removes the row, and has collection delete the object",
    Problem.KEY_DOOMED: "takes the key from those that collection deletes",
    Problem.LINK_DANGLING: "removes the link",
    Problem.LINK_FORGOTTEN: "queues it for collection, which looks whether anything keeps it",
    Problem.MANIFEST_CONTENT: "removes the manifest and its tags: a push brings it back",
    Problem.MANIFEST_DANGLING: "removes the manifest and its tags",
    Problem.MANIFEST_EDGES: "records anew what the manifest refers to",
    Problem.MANIFEST_FORGOTTEN: "queues it for collection, which looks whether anything keeps it",
    Problem.TAG_DELETED: "has the manifest seen again",
    Problem.TAG_DANGLING: "removes the tag",
    Problem.REPOSITORY_FORGOTTEN: "queues it for collection, which looks whether anything keeps it",
    Problem.SESSION_EMPTY: "ends the upload session: its client begins anew",
    Problem.UPLOAD_ORPHANED: "removes the bytes",
    Problem.QUOTA_SUM: "counts again what the project uses",
}
"""What --repair does; "" where nothing can be done from here."""


@dataclass(frozen=True, slots=True)
class Found:
    """Something that is not as it should be. `subject`: what, by name; `message`: a sentence about it."""

    problem: Problem
    subject: str
    message: str
    repaired: bool


@dataclass(slots=True)
class Report:
    """How far a check has come, and what it found.

    Args:
        told: called with each finding.

    Attributes:
        doing: what is looked at now.
        looked_at: how many things were, of each kind.
    """

    told: Callable[[Found], None]
    doing: str = ""
    looked_at: Counter[str] = field(default_factory=Counter)
    problems: Counter[Problem] = field(default_factory=Counter)
    repaired: int = 0

    @property
    def found(self) -> int:
        """How many findings there are."""
        return self.problems.total()

    def add(self, problem: Problem, subject: str, message: str, *, repaired: bool) -> None:
        """Take in a finding."""
        self.problems[problem] += 1
        self.repaired += repaired
        self.told(Found(problem, subject, message, repaired))
