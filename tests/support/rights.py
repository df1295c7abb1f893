"""People, projects and rights in a database, made by the services that administrators use."""

from auth.grants import Grant
from auth.principal import Principal
from registry.db.connection import Database
from registry.services.accounts import Accounts
from registry.services.credentials import Credentials
from registry.services.granting import Granting
from registry.services.permissions import CreateProjects, GrantPolicy
from registry.services.projects import Projects
from registry.services.revision import Revision
from registry.services.service_accounts import ServiceAccounts

BY = "user:somebody"
PASSWORD = "correct horse"


async def _fast_hash(password: str) -> str:
    return f"hash of {len(password)}"  # what a hash is like is another test's business, and takes long


class People:
    """The services on one database, and short ways to what tests need."""

    def __init__(self, database: Database, create_projects: CreateProjects = "deny") -> None:
        self.database = database
        self.accounts = Accounts(database, _fast_hash)
        self.projects = Projects(database)
        self.service_accounts = ServiceAccounts(database)
        self.credentials = Credentials(database)
        self.granting = Granting(database)
        self.revision = Revision(database, polled=False)
        self.policy = GrantPolicy(database, self.revision, create_projects=create_projects)

    async def user(self, name: str, *, is_admin: bool = False) -> Principal:
        """Make a user, and return it as a request would come from it."""
        await self.accounts.add(name, PASSWORD, is_admin=is_admin, actor=BY)
        return Principal(f"user:{name}", is_admin=is_admin)

    async def grant(self, role: str, subject: str, project: str = "", pattern: str = "") -> None:
        """Give somebody a role."""
        assert await self.granting.grant(Grant(role, subject, project, pattern), actor=BY)
