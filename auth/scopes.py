"""Scopes of tokens: `type:name:action,action` (CNCF distribution, "Token Scope Documentation")."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from auth.errors import ScopeInvalid

REPOSITORY = "repository"
REGISTRY = "registry"
CATALOG = "catalog"
ALL = "*"

_MOST = 100
_LONGEST = 4096
# "repository(plugin)" names a class of resources that is nobody's business any more.
_SCOPE = re.compile(r"(?P<type>[a-z0-9]+)(?:\([a-z0-9]+\))?:(?P<name>.+):(?P<actions>[a-z*]*(?:,[a-z*]+)*)", re.DOTALL)
_NAME = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class Scope:
    """One resource and what is asked for it. `type`: "repository" or "registry", others are never granted."""

    type: str
    name: str
    actions: frozenset[str]

    def __str__(self) -> str:
        """Return it as it is written."""
        return f"{self.type}:{self.name}:{','.join(sorted(self.actions))}"

    def as_access(self) -> dict[str, object]:
        """Return it as a token's `access` has it."""
        return {"type": self.type, "name": self.name, "actions": sorted(self.actions)}


def parse_scopes(texts: Iterable[str]) -> list[Scope]:
    """Return the scopes of parameters that may each hold several with spaces between, those of one resource joined.

    The name may hold colons (`host:port/name`): it ends at the last one.

    Raises:
        ScopeInvalid: one is malformed, or there are too many.
    """
    found: dict[tuple[str, str], frozenset[str]] = {}
    for text in texts:
        if len(text) > _LONGEST * _MOST:
            raise ScopeInvalid("the scopes are too long")
        for one in text.split(" "):
            if one:
                scope = parse_scope(one)
                key = (scope.type, scope.name)
                found[key] = found.get(key, frozenset()) | scope.actions
        if len(found) > _MOST:
            raise ScopeInvalid(f"there are more than {_MOST} scopes")
    return [Scope(kind, name, actions) for (kind, name), actions in found.items()]


def parse_scope(text: str) -> Scope:
    """Return one scope. Raises ScopeInvalid."""
    match = _SCOPE.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None or _NAME.fullmatch(match["name"]) is None:
        raise ScopeInvalid(f"the scope {text[:100]!r} is not of the form type:name:action,action")
    return Scope(match["type"], match["name"], frozenset(filter(None, match["actions"].split(","))))


class Bound:
    """What a credential may be used for at most."""

    __slots__ = ("_actions",)

    def __init__(self, scopes: Iterable[Scope]) -> None:
        self._actions: Mapping[tuple[str, str], frozenset[str]] = {
            (scope.type, scope.name): scope.actions for scope in scopes
        }

    def covers(self, action: str, repository: str | None) -> bool:
        """Say whether an action is within it. No repository: the registry's catalog."""
        key = (REGISTRY, CATALOG) if repository is None else (REPOSITORY, repository)
        actions = self._actions.get(key, frozenset())
        return action in actions or ALL in actions

    def scopes(self) -> list[Scope]:
        """Return the scopes that it is made of."""
        return [Scope(kind, name, actions) for (kind, name), actions in self._actions.items()]
