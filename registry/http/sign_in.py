"""`/auth/login` and `/auth/callback`: people log in at an identity provider, and get a token for command lines."""

import html
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.requests import Request as PageRequest
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from auth.errors import AuthError, Denied, FetchRefused, SourceUnavailable, TooManyAttempts
from auth.fetch import Fetcher
from auth.openid import LOGIN_S, OpenId, Provider
from auth.principal import ANYBODY
from registry.errors import RecordUnknown, Unavailable
from registry.http.authentication import address_of
from registry.http.rates import Rates
from registry.http.request import Request
from registry.outside_settings import OidcSettings
from registry.services import audit
from registry.services.arrivals import Arrivals
from registry.services.audit import Auditor
from registry.services.credentials import Credentials, Made

LOGIN_PATH = "/auth/login"
CALLBACK_PATH = "/auth/callback"

_WAY = "provider"
"""What the audit log says that people log in by here."""

_logger = logging.getLogger("stowage.auth")

_SECURITY: Mapping[str, str] = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'none'",
    "referrer-policy": "no-referrer",  # the page's own address holds the provider's code
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 sans-serif; max-width: 48rem; margin: 3rem auto; padding: 0 1rem; }}
pre {{ background: #eee; color: #111; padding: 1rem; overflow-x: auto; user-select: all; }}
</style>
</head>
<body>
<h1>{title}</h1>
{content}
</body>
</html>
"""
_SHOWN_PAGE = """<p>This token is shown once. It lasts {lasts}, and can do what you may do here.</p>
<pre>{secret}</pre>
<h2>Log in with docker, podman or skopeo</h2>
<pre>docker login --username {user} --password-stdin {host} &lt;&lt;'END'
{secret}
END</pre>
<p><a href="{login}">Another token</a></p>"""
_REFUSAL_PAGE = """<p>{reason}</p>
<p><a href="{login}">Log in again</a></p>"""


@dataclass(frozen=True, slots=True)
class SignIn:
    """The pages.

    Args:
        public_url: how people reach the registry; the one that the provider sends them back to.
        session_s: how long a token lasts.
        auditor: told of logins, and of whoever is not logged in.
        rates: how often one may ask; None without bounds.
    """

    openid: OpenId
    arrivals: Arrivals
    credentials: Credentials
    auditor: Auditor
    public_url: str
    session_s: int
    rates: Rates | None = None

    def routes(self) -> list[Route]:
        """Return the pages' routes."""
        return [Route(LOGIN_PATH, self.begin), Route(CALLBACK_PATH, self.finish)]

    async def begin(self, request: PageRequest) -> Response:
        """Send somebody to the provider: 303. Where to is said by the provider alone, and nothing in the request."""
        try:
            self._meet(request)
            begun = await self.openid.begin()
        except AuthError as error:
            return self._refusal(error)
        answer = RedirectResponse(begun.url, status_code=303, headers=_SECURITY)
        answer.set_cookie(
            self._cookie,
            begun.cookie,
            max_age=LOGIN_S,
            path="/",
            secure=self._is_secure,
            httponly=True,
            samesite="lax",  # the provider sends people back from another site
        )
        return answer

    async def finish(self, request: PageRequest) -> Response:
        """Show a token to somebody who comes back from the provider: 200; 400, 403 or 503 and why not."""
        try:
            self._meet(request)
            identity = await self.openid.finish(dict(request.query_params), request.cookies.get(self._cookie, ""))
            user = await self.arrivals.let_in(identity)
            actor = f"user:{user.name}"
            session = await self.credentials.make_session(
                user, expires_s=self.session_s, label="logged in by browser", actor=actor
            )
        except (AuthError, RecordUnknown, Unavailable) as error:
            self._tell_of_failure(error)
            return self._refusal(error)
        self.auditor.going_on(audit.LOGIN, actor, audit.origin(), _WAY)
        return self._page(200, f"Logged in as {user.name}", self._token(user.name, session))

    def _meet(self, request: PageRequest) -> None:
        """Write down from where somebody asks. Raises TooManyAttempts: they ask too often."""
        address = address_of(Request(request.scope, request.receive))
        audit.client.set(address)
        if self.rates is not None:
            self.rates.admit_address(address)

    def _tell_of_failure(self, error: Exception) -> None:
        """Have the audit log tell of a login that failed: nothing is known of who it was that counts."""
        if not isinstance(error, SourceUnavailable | TooManyAttempts | Unavailable):
            outcome = audit.DENIED if isinstance(error, Denied) else audit.FAILED
            self.auditor.note(audit.LOGIN, outcome, ANYBODY, audit.origin(), detail={"by": _WAY, "why": str(error)})

    @property
    def _is_secure(self) -> bool:
        return self.public_url.startswith("https://")

    @property
    def _cookie(self) -> str:
        """The cookie's name: its beginning has browsers keep it to this host, and to TLS (RFC 6265bis, 4.1.3)."""
        return "__Host-stowage-login" if self._is_secure else "stowage-login"

    def _token(self, user: str, session: Made) -> str:
        return _SHOWN_PAGE.format(
            secret=html.escape(session.secret),
            user=html.escape(user),
            host=html.escape(urlsplit(self.public_url).netloc),
            lasts=_duration(self.session_s),
            login=LOGIN_PATH,
        )

    def _refusal(self, error: AuthError | RecordUnknown | Unavailable) -> Response:
        if isinstance(error, SourceUnavailable | FetchRefused | Unavailable):
            status = 503
        elif isinstance(error, TooManyAttempts):
            status = 429
        else:
            status = 403 if isinstance(error, Denied | RecordUnknown) else 400
        _logger.warning("somebody is not logged in: %s", error)
        reason = str(error)
        content = _REFUSAL_PAGE.format(reason=html.escape(f"{reason[:1].upper()}{reason[1:]}."), login=LOGIN_PATH)
        return self._page(status, "Not logged in", content)

    def _page(self, status: int, title: str, content: str) -> Response:
        page = _PAGE.format(title=html.escape(title), content=content)
        answer = HTMLResponse(page, status_code=status, headers=_SECURITY)
        # What was kept for this login counts once.
        answer.delete_cookie(self._cookie, path="/", secure=self._is_secure, httponly=True, samesite="lax")
        return answer


def _duration(seconds: int) -> str:
    for unit, length in (("hours", 3600), ("minutes", 60)):
        if seconds % length == 0 and seconds > length:
            return f"{seconds // length} {unit}"
    return f"{seconds} seconds"


def build_sign_in(
    settings: OidcSettings,
    public_url: str,
    secret: bytes,
    arrivals: Arrivals,
    credentials: Credentials,
    auditor: Auditor,
    rates: Rates | None,
) -> SignIn:
    """Return the pages that `auth.oidc` asks for. `secret`: what replicas have in common."""
    kept = settings.client_secret
    provider = Provider(
        settings.issuer or "",
        settings.client_id,
        "" if kept is None else kept.get_secret_value(),
        f"{public_url}{CALLBACK_PATH}",
        tuple(settings.scopes.split()),
        settings.name_claim,
        settings.groups_claim,
    )
    openid = OpenId(provider, Fetcher(private=settings.allow_private, ca=settings.ca), secret)
    return SignIn(openid, arrivals, credentials, auditor, public_url, settings.session, rates)
