"""Projects: seen by those whom a grant names there, made and removed by system admins."""

from collections.abc import Iterable
from datetime import datetime
from urllib.parse import quote

from fastapi import APIRouter, Response

from auth.errors import Denied
from auth.grants import Grant
from auth.principal import ANYBODY
from auth.roles import VIEWER, Action
from registry.api import conditions
from registry.api.asked import MOST, After, Asked, Caller, Limit, created, page
from registry.api.conditions import IfMatch, Represent, etag_of
from registry.api.models import Name, NameInPath, Page, Said, Shown, time_of
from registry.api.paths import collection
from registry.db import grants, projects, service_accounts
from registry.db.connection import Database, Reader
from registry.services.projects import Projects

router = APIRouter(prefix="/projects", tags=["projects"])


class Project(Shown):
    """A project. `public`: whoever reaches the registry may pull."""

    name: str
    public: bool
    created_at: datetime
    created_by: str


class ProjectWithAccounts(Project):
    """A project, and the names of its service accounts."""

    service_accounts: list[str]


class NewProject(Said):
    """A project to be made."""

    name: Name
    public: bool = False


class ProjectChange(Said):
    """What is to be changed of a project."""

    public: bool


@router.get("")
async def list_projects(asked: Caller, response: Response, limit: Limit = MOST, after: After = "") -> Page[Project]:
    """List the projects that whoever asks may know of."""
    asked.be_anybody()
    visible = await visible_projects(asked)
    if visible is None:
        found: Iterable[projects.Project] = await asked.api.projects.page(after=after, most=limit + 1)
    else:
        names = sorted(name for name in visible if name > after)[: limit + 1]
        each = [await projects.find(asked.api.database, name) for name in names]
        found = [one for one in each if one is not None]
    shown = [await _project(asked.api.database, one) for one in found]
    return page(asked, response, shown, limit, lambda one: one.name)


@router.post("", status_code=201)
async def add_project(asked: Caller, response: Response, new: NewProject) -> ProjectWithAccounts:
    """Make a project, with the service accounts builder, default and deployer.

    For system admins, and for those whose push would make it (`auth.create_projects`), who get registry-admin there.
    """
    admin = None
    if not asked.principal.is_admin:
        decision = await asked.api.policy.decide(asked.principal, Action.PUSH, new.name)
        if not decision.allowed:
            raise Denied(f"{asked.actor} may not make projects")
        admin = asked.actor
    await asked.api.projects.add(new.name, is_public=new.public, admin=admin, actor=asked.actor)
    created(asked, response, f"{collection('projects')}/{quote(new.name, safe='')}")
    return _tagged(response, await _shown(new.name)(asked.api.database))


@router.get("/{project}")
async def show_project(asked: Caller, response: Response, project: NameInPath) -> ProjectWithAccounts:
    """Show a project, and its service accounts."""
    await asked.see(project)
    return _tagged(response, await _shown(project)(asked.api.database))


@router.patch("/{project}")
async def change_project(
    asked: Caller, response: Response, project: NameInPath, new: ProjectChange, if_match: IfMatch = None
) -> ProjectWithAccounts:
    """Let whoever reaches the registry pull, or no longer. It takes `settings`, and what giving that grant takes."""
    await asked.have(Action.SETTINGS, project)
    await asked.be_able_to_give(Grant(VIEWER, ANYBODY, project))

    async def work(database: Database) -> None:
        await Projects(database).set_public(project, is_public=new.public, actor=asked.actor)

    return _tagged(response, await conditions.change(asked, _shown(project), work, takes_away=not new.public))


@router.delete("/{project}", status_code=204)
async def remove_project(asked: Caller, project: NameInPath, if_match: IfMatch = None) -> None:
    """Remove a project that has no repositories, with its service accounts, their tokens, and all grants in it."""
    await asked.see(project)
    asked.be_admin()

    async def work(database: Database) -> None:
        await Projects(database).remove(project, actor=asked.actor)

    await conditions.remove(asked, _shown(project), work)


async def visible_projects(asked: Asked) -> frozenset[str] | None:
    """Return the names of the projects that whoever asks may know of; None: of all.

    The same as `GrantPolicy.sees_project` says of each.
    """
    if asked.principal.is_admin:
        return None
    given = await grants.of_subjects(asked.api.database, asked.principal.subjects)
    if any(not one.project for one in given):
        return None
    return frozenset(one.project for one in given)


def _tagged(response: Response, shown: ProjectWithAccounts) -> ProjectWithAccounts:
    response.headers["etag"] = etag_of(shown)
    return shown


def _shown(name: str) -> Represent[ProjectWithAccounts]:
    async def represent(reader: Reader) -> ProjectWithAccounts:
        found = await projects.known(reader, name)
        accounts = await service_accounts.of_project(reader, found.id)
        project = await _project(reader, found)
        return ProjectWithAccounts(**project.model_dump(), service_accounts=[one.name for one in accounts])

    return represent


async def _project(reader: Reader, found: projects.Project) -> Project:
    given = await grants.of_project(reader, found.id)
    return Project(
        name=found.name,
        public=any((one.role, one.subject, one.pattern) == (VIEWER, ANYBODY, "") for one in given),
        created_at=time_of(found.created_at),
        created_by=found.created_by,
    )
