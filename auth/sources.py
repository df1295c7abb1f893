"""Sources of identities: what knows people's passwords."""

from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody whose password was right.

    Attributes:
        name: what grants call them, without `user:`.
        groups: names of groups that the source says they are in.
        source: name of the source.
        subject: what the source calls them, for ever; None where that is the name.
        proof: a mark of what the password was compared with, which changes when the password does; "" where the
            source keeps that to itself.
    """

    name: str
    groups: frozenset[str] = frozenset()
    source: str = "local"
    subject: str | None = None
    proof: str = ""


class PasswordSource(Protocol):
    """Knows the passwords of some people.

    Attributes:
        name: as it is called in logs, and in the column `source` of users that it knows.
    """

    name: str

    async def check(self, name: str, password: str) -> Identity | Literal[False] | None:
        """Say whose password this is; False if it is wrong, None if nobody here has that name.

        It takes as long for a name that nobody has, and never accepts an empty password.

        Raises:
            SourceUnavailable: it can't be asked now.
            TooManyAttempts: too many wait to be asked.
        """

    async def proof(self, name: str) -> str | None:
        """Return the mark of what somebody's password would be compared with now; None if nobody has that name.

        Where the source can't be asked without a password, "". It costs next to nothing.
        """
