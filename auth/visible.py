"""What of the catalog somebody sees, and where in the order of names it lies."""

from bisect import bisect_left
from collections.abc import Iterable
from functools import cached_property

from auth.grants import Grant, matches, project_of


class Visible:
    """The repositories that some grants let somebody pull.

    Args:
        grants: those that give `pull`, each in a project.
    """

    def __init__(self, grants: Iterable[Grant]) -> None:
        # None: all of the project.
        self._patterns: dict[str, set[str] | None] = {}
        for grant in grants:
            patterns = self._patterns.setdefault(grant.project, set())
            if not grant.pattern:
                self._patterns[grant.project] = None
            elif patterns is not None:
                patterns.add(grant.pattern)

    def __bool__(self) -> bool:
        """Whether there may be something to be seen."""
        return bool(self._patterns)

    def shows(self, repository: str) -> bool:
        """Say whether a repository is to be seen."""
        patterns = self._patterns.get(project_of(repository), set())
        return patterns is None or any(matches(pattern, repository) for pattern in patterns)

    def knows(self, repository: str) -> bool:
        """Say whether something of the repository's project may be to be seen."""
        return project_of(repository) in self._patterns

    def next(self, after: str) -> str | None:
        """Return a place in the order of names, after that one, beyond which the next visible project begins. Or None.

        Names between are of other projects. A project has two places: `team` and `team/app` are of one project, and
        `team-b/app` of another lies between them.
        """
        at = bisect_left(self._places, after)
        return self._places[at] if at < len(self._places) else None

    @cached_property
    def _places(self) -> list[str]:
        return sorted([*map(_before, self._patterns), *(f"{project}/" for project in self._patterns)])


def _before(name: str) -> str:
    """Return a text that is greater than every name that is less than this one, and less than this one."""
    return f"{name[:-1]}{chr(ord(name[-1]) - 1)}\x7f"
