"""The header Authorization: who asks (RFC 7617, Basic; RFC 6750, Bearer).

What was verified is remembered for a minute by a MAC of the header, under a key that this process made up: a push of
fifty requests hashes one password. What is remembered says who, never what they may: whether the credential still
counts is asked again when the revision of rights has changed. A wrong password is remembered too: whoever shows it
again and again, as a program does whose user has another one by now, guesses nothing and costs nothing.
"""

import asyncio
import base64
import binascii
import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from auth import secret_tokens
from auth.errors import TokenInvalid, Unauthenticated
from auth.principal import ANYBODY, Principal
from auth.tokens import TokenVerifier, is_jwt
from registry.db import credentials
from registry.db.connection import Database
from registry.db.credentials import Kind
from registry.http.request import Request
from registry.logs import request_id
from registry.services import audit
from registry.services.audit import Auditor, Origin
from registry.services.logins import Logins
from registry.services.revision import Revision
from registry.services.subjects import REFUSED, Known, Subjects, by_token, way_of

_REMEMBERED_S = 60.0
_MOST_REMEMBERED = 10_000
_LONGEST = 32 * 1024
_BASIC = "basic"
_BEARER = "bearer"


@dataclass(slots=True)
class Shown:
    """What a header showed: whom it speaks for, and what that was as of `revision`. Times: seconds since the epoch."""

    known: Known
    verified_until: float
    revision: int
    principal: Principal
    until: float


class Authenticator:
    """Says who asks.

    Args:
        bearer: verifies tokens that are shown as such.
        used: told of each credential that is shown, by its id.
        auditor: told of logins, and of credentials that do not count.
        issued: verifies tokens of other issuers, which are shown in the place of a password; None without such.
    """

    def __init__(
        self,
        database: Database,
        revision: Revision,
        subjects: Subjects,
        logins: Logins,
        *,
        bearer: TokenVerifier,
        used: Callable[[int], None],
        auditor: Auditor,
        issued: TokenVerifier | None = None,
    ) -> None:
        self._database = database
        self._revision = revision
        self._subjects = subjects
        self._logins = logins
        self._bearer = bearer
        self._used = used
        self._auditor = auditor
        self._issued = issued
        self._key = secrets.token_bytes(32)
        self._shown: OrderedDict[bytes, Shown] = OrderedDict()
        self._wrong: OrderedDict[bytes, tuple[int, float]] = OrderedDict()  # as of a revision, and until when
        self._verifying: dict[bytes, asyncio.Task[Known]] = {}

    async def identify(self, request: Request, header: bytes) -> Principal:
        """Say who asks, by the header.

        Raises:
            Unauthenticated: nobody whose credentials count.
            TooManyAttempts, SourceUnavailable, Unavailable: it can't be said now.
        """
        key = self._mac(header)
        shown = self._shown.get(key)
        if shown is not None:  # as it nearly always is: the short way
            now = time.time()
            if shown.verified_until > now and shown.until > now and shown.revision == await self._revision.now():
                return self._noted(shown).principal
        return self._noted(await self._look(key, header, address_of(request))).principal

    async def look(self, header: bytes, address: str) -> Shown:
        """Say what a header shows. Raises as `identify` does."""
        return self._noted(await self._look(self._mac(header), header, address))

    def _noted(self, shown: Shown) -> Shown:
        if shown.principal.credential is not None:
            self._used(shown.principal.credential)
        return shown

    async def _look(self, key: bytes, header: bytes, address: str) -> Shown:
        shown = self._shown.get(key)
        now = time.time()
        if shown is None or shown.verified_until <= now:
            return await self._verify(key, header, address)
        if shown.revision != await self._revision.now() or shown.until <= now:
            self._shown.pop(key, None)
            try:
                return await self._keep(key, shown.known, shown.verified_until)
            except Unauthenticated:  # the same may count again by now: a password that was changed there and back
                return await self._verify(key, header, address)
        return shown

    def forget(self) -> None:
        """Have everything verified anew: a source has changed that no revision tells of."""
        self._shown.clear()
        self._wrong.clear()

    async def login(self, name: str, password: str, address: str) -> Shown:
        """Say what a name and a password show. Raises as `identify` does."""
        return await self.look(b"Basic " + base64.b64encode(f"{name}:{password}".encode()), address)

    def _mac(self, header: bytes) -> bytes:
        return hashlib.blake2b(header, key=self._key, digest_size=32).digest()  # RFC 7693: keyed, it is a MAC

    async def _verify(self, key: bytes, header: bytes, address: str) -> Shown:
        """Verify a header. Those that come meanwhile wait for the same answer: a client's requests come together."""
        revision = await self._revision.now()
        as_of, until = self._wrong.get(key, (revision, 0.0))
        if as_of == revision and until > time.time():
            raise Unauthenticated(REFUSED)
        task = self._verifying.get(key)
        if task is None:
            task = asyncio.create_task(self._known(header.decode("latin-1"), address), name="verify credentials")
            self._verifying[key] = task
            task.add_done_callback(lambda _: self._verifying.pop(key, None))
        try:
            known = await asyncio.shield(task)
        except Unauthenticated as refusal:
            if not refusal.bearer:
                self._wrong[key] = (revision, time.time() + _REMEMBERED_S)
                if len(self._wrong) > _MOST_REMEMBERED:
                    self._wrong.popitem(last=False)
            raise
        is_ours = known.scopes is not None
        try:
            shown = await self._keep(key, known, min(time.time() + _REMEMBERED_S, known.ends_at))
        except Unauthenticated as refusal:
            refusal.bearer = is_ours
            raise
        if not is_ours:  # a token of ours was written down when it was given
            self._auditor.going_on(
                audit.LOGIN, shown.principal.name, Origin(address, request_id.get()), way_of(known.credential)
            )
        return shown

    async def _keep(self, key: bytes, known: Known, verified_until: float) -> Shown:
        revision = await self._revision.now()  # before the rest: what changes meanwhile is asked again
        standing = await self._subjects.standing(known)
        shown = Shown(known, verified_until, revision, standing.principal, standing.until)
        if standing.until <= time.time():
            raise Unauthenticated(REFUSED)
        self._shown[key] = shown
        if len(self._shown) > _MOST_REMEMBERED:
            self._shown.popitem(last=False)
        return shown

    async def _known(self, header: str, address: str) -> Known:
        scheme, _, rest = header.partition(" ")
        rest = rest.strip()
        if len(header) <= _LONGEST and scheme.lower() == _BASIC:
            name, password = _basic(rest)
            return await self._by_password(name, password, address)
        if len(header) <= _LONGEST and scheme.lower() == _BEARER:
            return await self._by_bearer(rest, address)
        raise Unauthenticated("the Authorization header is neither Basic nor Bearer")

    async def _by_password(self, name: str, password: str, address: str) -> Known:
        secret = password.rpartition(":")[2]  # a name such as serviceaccount:team/builder was cut at its colon
        if secret_tokens.is_one(secret):
            return await self._by_secret(secret, address)
        if is_jwt(password):
            if self._issued is None:
                raise Unauthenticated(REFUSED)
            return await self._by_token(self._issued, password, address)
        return await self._logins.verified(name, password, address)

    async def _by_bearer(self, token: str, address: str) -> Known:
        if secret_tokens.is_one(token):
            return await self._by_secret(token, address)
        return await self._by_token(self._bearer, token, address)

    async def _by_token(self, verifier: TokenVerifier, token: str, address: str) -> Known:
        """Return whom a signed token speaks for. What is wrong with it is not remembered: its key may be known soon."""
        try:
            claims = await verifier.verify(token)
        except TokenInvalid as error:
            if verifier is self._issued:  # ours end all the time, and clients fetch others
                self._tell_of_failure(ANYBODY, address, "issuer")
            raise Unauthenticated(str(error), bearer=True) from None
        scopes = None if claims.scopes is None else tuple(claims.scopes)
        return Known(claims.subject, claims.credential, scopes, claims.ends_at)

    async def _by_secret(self, secret: str, address: str) -> Known:
        digest = secret_tokens.digest_of(secret)
        found = await credentials.find_by_hash(self._database, digest)
        if found is None or found.kind == Kind.REFRESH:  # which is for nothing but new tokens
            await self._tell_of_secret(digest, address)
            raise Unauthenticated(REFUSED)
        return Known(await self._subjects.owner(found), by_token(found.id))

    async def _tell_of_secret(self, digest: bytes, address: str) -> None:
        """Have the audit log tell of a secret that does not count: whose it was, if it ever was one."""
        ended = await credentials.find_ended(self._database, digest)
        if ended is None:
            self._tell_of_failure(ANYBODY, address, "token")
            return
        self._tell_of_failure(await self._subjects.owner(ended), address, way_of(by_token(ended.id)))

    def _tell_of_failure(self, who: str, address: str, way: str) -> None:
        self._auditor.note(audit.LOGIN, audit.FAILED, who, Origin(address, request_id.get()), detail={"by": way})


def _basic(encoded: str) -> tuple[str, str]:
    """Return name and password. Raises Unauthenticated."""
    try:
        text = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, ValueError):
        raise Unauthenticated("the Basic credentials can't be read") from None
    name, colon, password = text.partition(":")
    if not colon or "\0" in text:
        raise Unauthenticated("the Basic credentials can't be read")
    return name, password


def address_of(request: Request) -> str:
    """Return the address that a request came from; "" where that is not known."""
    client = request.scope.get("client")
    return "" if client is None else str(client[0])
