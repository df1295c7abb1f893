"""What the API's handlers work with, built once in `registry.identity`. Imports nothing that takes long."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from auth.principal import Principal
from registry.db.connection import Database
from registry.http.observer import ROUTE
from registry.http.proxies import ORIGIN
from registry.http.request import Request
from registry.services import audit
from registry.services.accounts import Accounts, Hash
from registry.services.audit import Auditor
from registry.services.credentials import Credentials
from registry.services.explaining import Explaining
from registry.services.feed import Feed
from registry.services.granting import Granting
from registry.services.permissions import GrantPolicy
from registry.services.projects import Projects
from registry.services.service_accounts import ServiceAccounts
from registry.settings import Settings


def _uncounted(action: str, result: str) -> None:
    """Count nothing: where there are no metrics."""


async def _as_before(request: Request) -> Principal:
    return request.principal


@dataclass(frozen=True, slots=True)
class Api:
    """The services.

    Attributes:
        whose: says what grants call somebody, by name, password and address; raises Unauthenticated, TooManyAttempts.
        hash_password: somewhere else than in the event loop.
        still: says who asks, now: of a request that goes on. Raises AuthError: nobody any more; Unavailable.
        feed: what is followed; None where nobody follows.
        undone: counts rollbacks, undeletions and purges, by what became of them (`stowage_undo_requests`).
        under_way: what takes long and is being done now, in words.
    """

    settings: Settings
    database: Database
    policy: GrantPolicy
    whose: Callable[[str, str, str], Awaitable[str]]
    hash_password: Hash
    auditor: Auditor
    still: Callable[[Request], Awaitable[Principal]] = _as_before
    feed: Feed | None = None
    undone: Callable[[str, str], None] = _uncounted
    under_way: set[str] = field(default_factory=set)

    @property
    def accounts(self) -> Accounts:
        """Users and groups."""
        return self.accounts_in(self.database)

    @property
    def projects(self) -> Projects:
        """Projects."""
        return Projects(self.database)

    @property
    def service_accounts(self) -> ServiceAccounts:
        """Service accounts."""
        return ServiceAccounts(self.database)

    @property
    def credentials(self) -> Credentials:
        """Tokens."""
        return Credentials(self.database)

    @property
    def granting(self) -> Granting:
        """Grants, roles and rules."""
        return Granting(self.database)

    @property
    def explaining(self) -> Explaining:
        """Why somebody may or may not."""
        return Explaining(self.database, self.policy, admins=self.settings.auth.admins)

    def accounts_in(self, database: Database) -> Accounts:
        """Users and groups, as part of a transaction (`conditions.Joined`)."""
        return Accounts(database, self.hash_password)

    def note_denial(self, request: Request) -> None:
        """Have the audit log tell, some time, that whoever asks was refused something."""
        _, _, _, resource, *rest = f"{request.path}/".split("/")
        self.auditor.note(
            str(request.scope[ROUTE]),
            audit.DENIED,
            request.principal.name,
            audit.origin(),
            repository=rest[0] if resource == "projects" and rest else "",
            detail={"method": request.method, "path": request.path},
        )

    def location(self, request: Request, path: str) -> str:
        """Return a path as Location and Link have it: absolute where it is known how the registry is reached."""
        return f"{self.settings.http.public_url or request.scope.get(ORIGIN, '')}{path}"
