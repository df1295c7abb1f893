"""The paths of `/api/v1`, and which module answers at which: known without importing any of them."""

from collections.abc import Mapping
from urllib.parse import quote

PREFIX = "/api/v1"
DOCUMENT = f"{PREFIX}/openapi.json"
ASKED = "stowage.asked"
"""Where the request, with its principal, stands in the ASGI scope that the application gets."""

EVERYWHERE = ""
"""In place of a project's name: the whole registry."""

_DOCUMENT = "openapi.json"
_RESOURCES: Mapping[str, str] = {
    "audit": "audit",
    "can-i": "can_i",
    "events": "events",
    "grants": "grants",
    "groups": "groups",
    "history": "history",
    "locks": "locks",
    "me": "me",
    "projects": "projects",
    "purges": "undo",
    "quotas": "quotas",
    "retention": "retention",
    "roles": "roles",
    "rollbacks": "undo",
    "rules": "rules",
    "session": "me",
    "tokens": "tokens",
    "undeletions": "undo",
    "users": "users",
    "watch": "watch",
    "webhooks": "webhooks",
}
"""Modules of `registry.api`, by the first components of their paths."""
_BELOW_PROJECTS: Mapping[str, str] = {
    "grants": "grants",
    "quota": "quotas",
    "retention": "retention",
    "rules": "rules",
    "service-accounts": "service_accounts",
    "webhooks": "webhooks",
}
"""The same by what follows a project's name, where that is another than the project's own."""
MODULES = tuple(dict.fromkeys((*_RESOURCES.values(), *_BELOW_PROJECTS.values())))
OPEN = ("events", "history", "watch")
"""Those that are there although nobody is asked who they are (`auth.mode: open`)."""

_OTHER = "other"
ROUTES = tuple(f"api.{name}" for name in (*sorted((*_RESOURCES, _DOCUMENT)), _OTHER))
"""What figures and logs know the API's routes by: the first components of their paths."""


def is_below(path: str) -> bool:
    """Say whether a path is one of the API's."""
    return f"{path}/".startswith(f"{PREFIX}/")


def collection(name: str, project: str = EVERYWHERE) -> str:
    """Return the path of what there is of something in a project, or in the whole registry."""
    return f"{PREFIX}/projects/{quote(project, safe='')}/{name}" if project else f"{PREFIX}/{name}"


def module_of(path: str) -> str:
    """Return the name of the module that answers at a path, which begins after the PREFIX. Raises KeyError: none."""
    first, *rest = path.strip("/").split("/")
    below = rest[1] if len(rest) > 1 else ""
    return _BELOW_PROJECTS[below] if first == "projects" and below else _RESOURCES[first]


def route_of(path: str) -> str:
    """Return what figures and logs know a path below the PREFIX by."""
    first = path.removeprefix(PREFIX).strip("/").partition("/")[0]
    return f"api.{first if first in _RESOURCES or first == _DOCUMENT else _OTHER}"
