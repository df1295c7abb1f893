"""`/token`: the token server (CNCF distribution, "Token Authentication Specification", and OAuth 2.0 for it)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import parse_qsl

from auth.errors import ScopeInvalid, Unauthenticated
from auth.principal import ANONYMOUS, ANYBODY, Principal
from auth.scopes import parse_scopes
from registry.errors import EndpointUnknown, QueryInvalid
from registry.http.access_log import PRINCIPAL
from registry.http.authentication import Authenticator, address_of
from registry.http.context import Context
from registry.http.replies import Answer, Reply, json_reply
from registry.http.request import Request
from registry.services import audit
from registry.services.subjects import REFUSED, Known, way_of
from registry.services.token_server import Issued, TokenServer

_LARGEST_FORM = 64 * 1024
_MOST_FIELDS = 200
_FORM = "application/x-www-form-urlencoded"
_SECRET = [(b"cache-control", b"no-store"), (b"pragma", b"no-cache")]  # RFC 6749, section 5.1
_KEYS_KEPT = [(b"cache-control", b"public, max-age=300")]


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a client wants a token for."""

    service: str | None
    scopes: Sequence[str] = field(default_factory=list)
    offline: bool = False
    client: str = ""


async def get_token(context: Context, request: Request) -> Answer:
    """Give a token for Basic credentials, or for nobody: 200; 401 if they are wrong."""
    authenticator, _ = _server(context)
    header = request.raw_header(b"authorization")
    principal, known = ANONYMOUS, Known(ANYBODY)
    if header is not None:
        principal, known = await _shown(authenticator, request, header)
    asked = _Asked(
        request.query("service"),
        request.queries("scope"),
        request.query("offline_token") in {"true", "1"},
        request.query("client_id") or "",
    )
    issued = await _issue(context, request, principal, known, asked)
    return _answer({"token": issued.token, "access_token": issued.token}, issued)


async def post_token(context: Context, request: Request) -> Answer:
    """Give a token for a name and a password, or for a refresh token: 200; 401 if they are wrong."""
    authenticator, server = _server(context)
    form = await _form(request)
    kind = form.get("grant_type")
    if kind == "password":
        name, password = form.get("username", ""), form.get("password", "")
        shown = await authenticator.login(name, password, address_of(request))
        principal, known = shown.principal, shown.known
    elif kind == "refresh_token":
        try:
            known, principal = await server.redeem(form.get("refresh_token", ""))
        except Unauthenticated:
            context.auditor.note(audit.LOGIN, audit.FAILED, ANYBODY, audit.origin(), detail={"by": "refresh token"})
            raise
    else:
        raise QueryInvalid("grant_type is password or refresh_token")
    offline = form.get("access_type") == "offline"
    asked = _Asked(form.get("service"), [form.get("scope", "")], offline, form.get("client_id", ""))
    issued = await _issue(context, request, principal, known, asked)
    scope = " ".join(map(str, issued.scopes))
    told = {"access_token": issued.token, "token_type": "Bearer", "scope": scope}
    if kind == "refresh_token":
        told["refresh_token"] = form["refresh_token"]
    return _answer(told, issued)


async def get_keys(context: Context, request: Request) -> Answer:
    """Show the keys by which tokens are verified: 200, a JSON Web Key Set (RFC 7517, section 5)."""
    _, server = _server(context)
    return json_reply(200, {"keys": await server.keys.published()}, _KEYS_KEPT)


def _server(context: Context) -> tuple[Authenticator, TokenServer]:
    login = context.login
    if login is None or login.server is None or not isinstance(login.authenticator, Authenticator):
        raise EndpointUnknown("there is no such endpoint")
    return login.authenticator, login.server


async def _shown(authenticator: Authenticator, request: Request, header: bytes) -> tuple[Principal, Known]:
    """Return whom credentials speak for. A token of the server's own is none: it would renew itself for ever."""
    shown = await authenticator.look(header, address_of(request))
    if shown.known.scopes is not None:
        raise Unauthenticated(REFUSED)
    return shown.principal, shown.known


async def _issue(context: Context, request: Request, principal: Principal, known: Known, asked: _Asked) -> Issued:
    _, server = _server(context)
    if asked.service not in {None, "", server.service}:
        raise QueryInvalid(f"the service is {server.service}")
    try:
        scopes = parse_scopes(asked.scopes)
    except ScopeInvalid as error:
        raise QueryInvalid(str(error)) from None
    request.principal = principal
    request.scope[PRINCIPAL] = principal.name
    issued = await server.issue(principal, known, scopes, offline=asked.offline, client=asked.client)
    if not principal.is_anonymous:
        context.auditor.going_on(audit.ISSUE, principal.name, audit.origin(), way_of(known.credential))
    return issued


def _answer(told: dict[str, str], issued: Issued) -> Reply:
    moment = datetime.fromtimestamp(issued.issued_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    content: dict[str, object] = {**told, "expires_in": issued.expires_in, "issued_at": moment}
    if issued.refresh is not None:
        content["refresh_token"] = issued.refresh
    return json_reply(200, content, _SECRET)


async def _form(request: Request) -> dict[str, str]:
    """Return the fields of the body. Raises QueryInvalid."""
    kind = (request.header(b"content-type") or "").partition(";")[0].strip().lower()
    if kind != _FORM:
        raise QueryInvalid(f"the body is to be {_FORM}")
    content = bytearray()
    async for data in request.body():
        content += data
        if len(content) > _LARGEST_FORM:
            raise QueryInvalid(f"the body has more than {_LARGEST_FORM} bytes")
    try:
        return dict(parse_qsl(content.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError:
        raise QueryInvalid("the body can't be read") from None
