"""Actions, and roles as sets of them."""

from collections.abc import Mapping
from enum import StrEnum


class Action(StrEnum):
    """What can be asked of a repository or a project, or, with neither, of the registry as a whole."""

    PULL = "pull"
    PUSH = "push"
    OVERWRITE = "overwrite"  # move a tag that is there
    DELETE = "delete"
    GRANT = "grant"
    SETTINGS = "settings"
    AUDIT = "audit"
    CATALOG = "catalog"
    ENTER = "enter"  # be known here at all: `GET /v2/`


VIEWER = "registry-viewer"
EDITOR = "registry-editor"
ADMIN = "registry-admin"
AUDITOR = "registry-auditor"

_EDITS = frozenset({Action.PULL, Action.PUSH, Action.OVERWRITE})

BUILT_IN: Mapping[str, frozenset[Action]] = {
    VIEWER: frozenset({Action.PULL}),
    EDITOR: _EDITS,
    ADMIN: _EDITS | {Action.DELETE, Action.GRANT, Action.SETTINGS, Action.AUDIT},
    AUDITOR: frozenset({Action.AUDIT}),
}
"""Roles that are there without a row, by name."""

GRANTABLE = frozenset(Action) - {Action.CATALOG, Action.ENTER}
"""Actions that an own role may have. The catalog is for everybody: it shows what they may pull. So is entering."""
