"""What may be done to a tag that is there: the one place that decides, inside the transaction that does it.

Whoever moves or deletes a tag asks here, whether it came as a request or is done by a command or a job.
"""

from auth.grants import TagRule, denying, project_of
from auth.roles import Action
from registry.db import grants
from registry.db.connection import Reader, Transaction
from registry.errors import TagFixed
from registry.oci.names import RepositoryName, Tag

_DONE = {Action.OVERWRITE: "moved", Action.DELETE: "deleted"}

NOBODY: frozenset[str] = frozenset()
"""The subjects of commands and jobs: no rule makes an exception for them."""


class TagGuard:
    """Asks the rules of one repository, which are read when the first tag is asked about.

    Args:
        subjects: whom a rule may make an exception for.
    """

    def __init__(self, repository: RepositoryName, subjects: frozenset[str] = NOBODY) -> None:
        self._repository = repository
        self._subjects = subjects
        self._rules: tuple[TagRule, ...] | None = None

    async def forbidding(self, reader: Reader, action: Action, tag: Tag) -> TagRule | None:
        """Return a rule that forbids to move (OVERWRITE) or delete a tag, or None.

        In a transaction that holds the repository, a rule that was made before counts, and nobody makes one until it
        ends.
        """
        if self._rules is None:
            self._rules = await grants.tag_rules_about(reader, project_of(self._repository))
        return denying(self._subjects, action, self._repository, tag, self._rules)

    async def check(self, transaction: Transaction, action: Action, tag: Tag) -> None:
        """Return if no rule forbids it. Raises TagFixed, naming the rule."""
        rule = await self.forbidding(transaction, action, tag)
        if rule is not None:
            raise TagFixed(f"{self._repository}:{tag} can't be {_DONE[action]}: {rule}", tag=tag, rule=rule.number)
