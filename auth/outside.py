"""An outside token server that is trusted instead of ours, as CNCF distribution's `auth.token` has it."""

from auth.errors import ScopeInvalid, TokenInvalid
from auth.foreign import KeySource, verify
from auth.policy import Action, Decision
from auth.principal import ANYBODY, Principal
from auth.scopes import Bound, Scope
from auth.tokens import Claims
from auth.visible import Visible

_MOST = 500


class OutsideTokens:
    """A TokenVerifier of tokens that another server made: by its issuer, for this service."""

    def __init__(self, keys: KeySource, *, issuer: str, service: str) -> None:
        self._keys = keys
        self._issuer = issuer
        self._service = service

    async def verify(self, token: str) -> Claims:
        """Return what a token says. Raises TokenInvalid, SourceUnavailable."""
        claims = await verify(token, self._keys, issuer=self._issuer, audiences=[self._service])
        subject = claims.get("sub", "")
        if not isinstance(subject, str) or not subject.isprintable() or len(subject) > 1024:
            raise TokenInvalid("the token's subject is no name")
        name = f"user:{subject}" if subject else ANYBODY
        return Claims(name, float(claims["exp"]), _access(claims.get("access")))

    async def probe(self) -> list[str]:
        """Say what keeps it from verifying tokens now."""
        return await self._keys.probe()


class AccessPolicy:
    """The Policy that belongs to it: what a token's `access` names is allowed, and nothing else.

    Overwriting a tag is pushing, to other token servers; grants and settings are nothing that they know.
    """

    async def allows(
        self, principal: Principal, action: Action, repository: str | None, tag: str | None = None
    ) -> bool:
        """Say whether the token that `principal` came with is for this."""
        return _covers(principal.bound, action, repository)

    async def decide(
        self, principal: Principal, action: Action, repository: str | None, tag: str | None = None
    ) -> Decision:
        """Say so, and why."""
        if _covers(principal.bound, action, repository):
            return Decision(allowed=True, reason="the token is for that")
        is_known = principal.bound is not None
        reason = "the token is not for that" if is_known else "a token of the token server is needed"
        return Decision(allowed=False, reason=reason, unbound=is_known)

    async def visible(self, principal: Principal) -> Visible | None:
        """Return None: who has a token for the catalog sees all of it."""
        return None


def principal_of(claims: Claims) -> Principal:
    """Return who a token of an outside server speaks for. Its groups and rights here are none: `access` is all."""
    return Principal(claims.subject, bound=Bound(claims.scopes or ()))


def _covers(bound: Bound | None, action: Action, repository: str | None) -> bool:
    if bound is None:
        return False
    if action is Action.ENTER:
        return True
    if action is Action.CATALOG:
        return bound.covers("*", None)
    if repository is None or action in {Action.GRANT, Action.SETTINGS, Action.AUDIT}:
        return False
    return bound.covers(Action.PUSH if action is Action.OVERWRITE else action, repository)


def _access(entries: object) -> tuple[Scope, ...]:
    """Return the scopes of a token's `access`, those of one resource joined. Raises TokenInvalid."""
    if entries is None:
        return ()
    if not isinstance(entries, list) or len(entries) > _MOST:
        raise TokenInvalid("the token's access is no list")
    found: dict[tuple[str, str], frozenset[str]] = {}
    for entry in entries:
        try:
            scope = _scope(entry)
        except ScopeInvalid as error:
            raise TokenInvalid(str(error)) from None
        key = (scope.type, scope.name)
        found[key] = found.get(key, frozenset()) | scope.actions
    return tuple(Scope(kind, name, actions) for (kind, name), actions in found.items())


def _scope(entry: object) -> Scope:
    if isinstance(entry, dict):
        kind, name, actions = entry.get("type"), entry.get("name"), entry.get("actions") or []
        if isinstance(kind, str) and isinstance(name, str) and isinstance(actions, list):
            return Scope(kind.partition("(")[0], name, frozenset(one for one in actions if isinstance(one, str)))
    raise ScopeInvalid("the token's access has an entry without type, name and actions")
