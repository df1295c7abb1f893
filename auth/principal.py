"""Principals: who a request speaks for."""

from dataclasses import dataclass

from auth.scopes import Bound

ANYBODY = "system:anonymous"
AUTHENTICATED = "system:authenticated"


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody, by the name that grants, history and events use: `user:NAME`, `system:anonymous` and so on.

    Attributes:
        groups: names of groups that it is in, without `group:`.
        is_admin: whether it may do everything (system admin).
        credential: id of the row that it came with; None for a password, and for nobody.
        bound: what its credential may be used for at most; None for no such limit.
    """

    name: str
    groups: frozenset[str] = frozenset()
    is_admin: bool = False
    credential: int | None = None
    bound: Bound | None = None

    @property
    def is_anonymous(self) -> bool:
        """Whether it showed no credentials."""
        return self.name == ANYBODY

    @property
    def subjects(self) -> frozenset[str]:
        """What grants may call it."""
        if self.is_anonymous:
            return frozenset({ANYBODY})
        return frozenset({self.name, ANYBODY, AUTHENTICATED, *(f"group:{group}" for group in self.groups)})


ANONYMOUS = Principal(ANYBODY)
"""Whoever shows no credentials."""
