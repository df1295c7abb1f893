"""What `stowage check` finds wrong, each with a word for programs and a sentence for people."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong or missing.

    Attributes:
        severity: `error` keeps the server from starting or from serving; `warning` does not, or not yet.
        reason: one word in CamelCase, which stays the same between versions.
        message: one line: what, why, and the way out.
    """

    severity: str
    reason: str
    message: str


def error(reason: str, message: str) -> Problem:
    """Return an error."""
    return Problem("error", reason, message)


def warning(reason: str, message: str) -> Problem:
    """Return a warning."""
    return Problem("warning", reason, message)
