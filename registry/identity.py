"""The composition of `auth.mode: users`: everything between a request and what whoever asks may do.

Imported only in that mode: what hashes and signs takes a while to import.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from starlette.routing import Route
from starlette.types import ASGIApp

from auth import htpasswd
from auth.htpasswd import Htpasswd
from auth.outside import AccessPolicy
from auth.passwords import Passwords, hashed
from auth.policy import Policy
from auth.principal import Principal
from auth.signing import Seal
from auth.sources import PasswordSource
from registry.api.context import Api
from registry.api.mounting import ApiMount
from registry.api.when_asked import Mounted
from registry.db.connection import Database
from registry.db.place import place_of
from registry.errors import Unavailable
from registry.http.authentication import Authenticator
from registry.http.challenges import Challenges
from registry.http.login import Login
from registry.http.outside_authentication import OutsideAuthenticator
from registry.http.rates import Rates
from registry.http.request import Request
from registry.jobs.old_logins import old_logins
from registry.jobs.runner import Job
from registry.jobs.signing_keys import signing_keys
from registry.outside import Outside, build_outside
from registry.secret_file import provide_secret, secret_of
from registry.services.audit import Auditor
from registry.services.feed import Feed
from registry.services.first_admin import provide_admin
from registry.services.founding import Founding
from registry.services.last_use import LastUse
from registry.services.local_source import LocalSource
from registry.services.logins import Logins
from registry.services.maintenance import Maintenance
from registry.services.permissions import GrantPolicy
from registry.services.projects import Projects
from registry.services.revision import Revision
from registry.services.signing_keys import SigningKeys, provide_key, rotate
from registry.services.subjects import Subjects
from registry.services.throttle import Throttle
from registry.services.token_server import TokenServer
from registry.settings import Settings, admin_password

_LOOK_S = 1.0


@dataclass(slots=True)
class Identities:
    """What the mode adds to the registry. `start` and `stop` belong to the application's lifespan."""

    policy: Policy
    revision: Revision
    login: Login
    jobs: list[Job]
    passwords: Passwords
    outside: Outside
    founding: Founding | None = None
    last_use: LastUse | None = None
    watched: Htpasswd | None = None
    api: Api | None = None
    _watching: asyncio.Task[None] | None = field(default=None, init=False)

    def start(self) -> None:
        """Begin to follow what changes elsewhere."""
        self.revision.start()
        if self.watched is not None:
            self._watching = asyncio.create_task(self._watch(self.watched), name="htpasswd")

    async def stop(self) -> None:
        """End that."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
            self._watching = None
        await self.revision.stop()
        self.passwords.close()
        await self.outside.close()

    def routes(self) -> list[Route]:
        """Return the pages of the mode."""
        return [] if self.outside.sign_in is None else self.outside.sign_in.routes()

    def around(self, app: ASGIApp, maintenance: Maintenance) -> ASGIApp:
        """Return an application that answers what belongs to the API, and leaves the rest to `app`."""
        return app if self.api is None else Mounted(app, ApiMount(self.api, self.login, maintenance))

    async def _watch(self, file: Htpasswd) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            if await asyncio.to_thread(file.refresh):
                self.login.authenticator.forget()


def build(
    settings: Settings, database: Database, auditor: Auditor, feed: Feed, undone: Callable[[str, str], None]
) -> Identities:
    """Return the parts. `prepare` must have been called before.

    Args:
        feed: what those follow who may.
        undone: counts what is undone.

    Raises:
        Unavailable: the secret or the htpasswd file can't be read.
    """
    auth, token = settings.auth, settings.auth.token
    revision = Revision(database, polled=settings.database.is_postgresql)
    if token.realm is not None:
        return _build_outside_server(settings, database, revision, auditor)
    secret = secret_of(settings)
    rates = _rates(settings)
    seal = Seal(secret)
    passwords = Passwords()
    watched = None if auth.htpasswd is None else _htpasswd(auth.htpasswd, passwords)
    sources: list[PasswordSource] = [LocalSource(database, passwords)]
    if watched is not None:
        sources.append(watched)
    outside = build_outside(settings, database, secret, auditor, rates=rates, sources=tuple(sources))
    if outside.directory is not None:
        sources.append(outside.directory)
    policy = GrantPolicy(database, revision, create_projects=auth.create_projects)
    last_use = LastUse(database)
    subjects = Subjects(database, {source.name: source for source in sources}, auth.admins)
    throttle = Throttle(database, secret, attempts=auth.logins.attempts, window_s=auth.logins.window)
    logins = Logins(database, subjects, sources, throttle, auditor)
    keys = SigningKeys(database, revision, seal, issuer=token.issuer, service=token.service)
    server = TokenServer(
        database,
        subjects,
        policy,
        keys,
        service=token.service,
        lifetime_s=token.lifetime,
        refresh_s=token.refresh,
    )
    login = Login(
        authenticator=Authenticator(
            database,
            revision,
            subjects,
            logins,
            bearer=keys,
            used=last_use.note,
            auditor=auditor,
            issued=outside.trust,
        ),
        challenges=Challenges(public_url=settings.http.public_url, service=token.service),
        server=server,
        rates=rates,
    )
    turn = partial(rotate, seal=seal, every_s=token.rotation, lifetime_s=token.lifetime)
    jobs = [signing_keys(database, turn), old_logins(database, window_s=auth.logins.window)]
    return Identities(
        policy,
        revision,
        login,
        jobs,
        passwords,
        outside,
        founding=Founding(policy, Projects(database)),
        last_use=last_use,
        watched=watched,
        api=Api(
            settings,
            database,
            policy,
            partial(_whose, logins),
            partial(_hash, passwords),
            auditor,
            partial(_still, login),
            feed,
            undone,
        ),
    )


async def _whose(logins: Logins, name: str, password: str, address: str) -> str:
    return (await logins.verified(name, password, address)).subject


async def _still(login: Login, request: Request) -> Principal:
    """Say who asks, now. Raises Unauthenticated: the credential does not count any more."""
    return await login.authenticator.identify(request, request.raw_header(b"authorization") or b"")


async def _hash(passwords: Passwords, password: str) -> str:
    return await passwords.run(lambda: hashed(password))


def _build_outside_server(settings: Settings, database: Database, revision: Revision, auditor: Auditor) -> Identities:
    """Return the parts where another token server decides who may do what: nobody here is asked."""
    outside, token = build_outside(settings, database, b"", auditor), settings.auth.token
    assert outside.token_server is not None  # noqa: S101 - its realm is set
    login = Login(
        authenticator=OutsideAuthenticator(outside.token_server),
        challenges=Challenges(public_url=settings.http.public_url, service=token.service, realm=token.realm),
        rates=_rates(settings),
    )
    return Identities(AccessPolicy(), revision, login, [], Passwords(), outside)


def prepare(settings: Settings) -> Path | None:
    """Make the secret, the first key and the first admin, where they are missing. The schema must be this version's.

    Returns:
        The file with the first admin's password, if one was made up.

    Raises:
        Unavailable: one of them can't be made, or a file that the settings name can't be read.
    """
    database = place_of(settings).open()
    outside = build_outside(settings, database, b"", Auditor(database, enabled=False))
    if outside.token_server is not None:
        return None
    provide_secret(settings)
    seal = Seal(secret_of(settings))
    if settings.auth.htpasswd is not None:
        _users_of(settings.auth.htpasswd)
    return asyncio.run(_prepare(settings, seal))


async def _prepare(settings: Settings, seal: Seal) -> Path | None:
    database = place_of(settings).open()
    try:
        await database.start()
        await provide_key(database, seal)
        if settings.auth.admins and settings.auth.htpasswd is not None and not admin_password():
            return None  # others are to be admins, and their passwords are elsewhere
        folder = settings.data if settings.database.is_postgresql else settings.sqlite_path.parent
        return await provide_admin(database, folder, admin_password(), hashed)
    finally:
        await database.stop()


def described(settings: Settings) -> str:
    """Say who is asked, for the log."""
    auth = settings.auth
    if auth.token.realm is not None:
        return f"tokens of {auth.token.realm} for {auth.token.service}"
    sources = ["database"]
    if auth.htpasswd is not None:
        sources.append(f"{htpasswd.NAME} {auth.htpasswd}")
    if auth.ldap.urls:
        sources.append(f"directory {' '.join(auth.ldap.urls)}")
    if auth.oidc.issuer is not None:
        sources.append(f"provider {auth.oidc.issuer}")
    trusted = f"; trusted issuers {', '.join(one.name for one in auth.trust)}" if auth.trust else ""
    return f"users of {', '.join(sources)}{trusted}; tokens for {auth.token.service}"


def _htpasswd(path: Path, passwords: Passwords) -> Htpasswd:
    try:
        return Htpasswd(path, passwords)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _users_of(path: Path) -> None:
    try:
        htpasswd.read(path)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> Unavailable:
    why = error.strerror if isinstance(error, OSError) else error
    return Unavailable(f"auth.htpasswd: {path} can't be read: {why}")


def _rates(settings: Settings) -> Rates | None:
    rates = settings.auth.rates
    if not rates.principal and not rates.address:
        return None
    return Rates(principal=rates.principal, address=rates.address)
