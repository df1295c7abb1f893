"""How to log in, as clients are told it (RFC 9110, section 11.6.1; CNCF distribution, "Token Authentication")."""

from auth.errors import InsufficientScope, Unauthenticated
from auth.roles import Action
from auth.scopes import REPOSITORY
from registry.errors import NameInvalid, QueryInvalid
from registry.http.proxies import ORIGIN
from registry.http.request import Request
from registry.oci.names import parse_repository

TOKEN_PATH = "/token"  # noqa: S105 - a path
BASIC = b'Basic realm="stowage", charset="UTF-8"'
"""Where the password itself is asked for: by the token server."""


class Challenges:
    """Makes them.

    Args:
        public_url: how clients reach the server; without it, what a trusted proxy says, or else the Host that the
            client itself sent.
        service: whom tokens are for.
        realm: URL of another token server that is trusted instead of the registry's own.
    """

    def __init__(self, *, public_url: str | None, service: str, realm: str | None = None) -> None:
        self._public_url = public_url
        self._service = service
        self._realm = realm

    def for_error(self, request: Request, error: Exception) -> bytes | None:
        """Return the challenge that goes with an error; None if none does."""
        if request.path.startswith(TOKEN_PATH):
            return BASIC
        if isinstance(error, InsufficientScope):
            return self._bearer(request, _with_source(request, error.scope), "insufficient_scope")
        if isinstance(error, Unauthenticated):
            what = "invalid_token" if error.bearer else ""
            return self._bearer(request, _with_source(request, error.scope), what)
        return None

    def _bearer(self, request: Request, scope: str, error: str) -> bytes:
        origin = self._origin(request)
        if self._realm is None and not origin:
            return BASIC  # HTTP/1.0 need not say how the server was reached
        realm = self._realm or f"{origin}{TOKEN_PATH}"
        parts = {"realm": realm, "service": self._service, "scope": scope, "error": error}
        told = ",".join(f'{name}="{_quoted(value)}"' for name, value in parts.items() if value)
        return f"Bearer {told}".encode("latin-1", "replace")

    def _origin(self, request: Request) -> str:
        found = self._public_url or request.scope.get(ORIGIN)
        if found:
            return str(found)
        host = request.header(b"host")
        return f"{request.scope.get('scheme', 'http')}://{host}" if host else ""


def _with_source(request: Request, scope: str) -> str:
    """Return a scope, and that of the repository from which the request mounts a blob, if it does."""
    if b"mount=" not in request.scope["query_string"]:
        return scope
    try:
        source = parse_repository(request.query("from") or "")
    except (NameInvalid, QueryInvalid):
        return scope
    pull = f"{REPOSITORY}:{source}:{Action.PULL}"
    return scope if pull in scope.split() else f"{scope} {pull}"


def _quoted(value: str) -> str:
    return value.replace("\\", "").replace('"', "").replace("\r", "").replace("\n", "")
