"""The keys that sign the registry's tokens: read when rights have changed, rotated without logging anybody out."""

import json
import logging
import secrets
import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

from auth import signing
from auth.errors import ScopeInvalid, TokenInvalid
from auth.principal import ANYBODY
from auth.scopes import Scope, parse_scopes
from auth.signing import ALGORITHM, NewKey, Seal
from auth.tokens import Claims
from registry.db import authority, signing_keys
from registry.db.connection import Database, Transaction
from registry.db.signing_keys import Key
from registry.errors import Unavailable
from registry.services.revision import Revision

_SECOND = 1_000_000
NOTICE_S = 600
"""A new key is published for so long before it signs: whoever keeps the published keys has time to ask again."""

_logger = logging.getLogger("stowage.tokens")


class SigningKeys:
    """The keys as one process knows them. A TokenVerifier for the tokens that it signs."""

    def __init__(self, database: Database, revision: Revision, seal: Seal, *, issuer: str, service: str) -> None:
        self._database = database
        self._revision = revision
        self._seal = seal
        self._issuer = issuer
        self._service = service
        self._read_at = -1
        self._keys: dict[str, Key] = {}
        self._public: dict[str, EllipticCurvePublicKey] = {}
        self._private: dict[str, EllipticCurvePrivateKey | None] = {}

    async def sign(self, subject: str, access: list[Scope], credential: str, lifetime_s: int) -> str:
        """Return a token for a principal's name.

        Raises:
            Unavailable: the database can't be asked, or has no key that was sealed under this secret.
        """
        kid, key = await self._signing()
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": self._issuer,
            "sub": "" if subject == ANYBODY else subject,
            "aud": self._service,
            "exp": now + lifetime_s,
            "nbf": now,
            "iat": now,
            "jti": secrets.token_urlsafe(12),
            "access": [scope.as_access() for scope in access],
            "cred": credential,
        }
        return signing.sign(claims, kid, key)

    async def verify(self, token: str) -> Claims:
        """Return what a token says. Raises TokenInvalid, Unavailable."""
        await self._read()
        kid = signing.key_id(token)
        if kid not in self._public:  # another replica may just have made it
            await self._revision.look_again()
            await self._read()
        key = self._public.get(kid)
        if key is None:
            raise TokenInvalid("the token is not valid")
        claims = signing.verified(token, key, issuer=self._issuer, audience=self._service)
        subject, credential = claims["sub"], claims.get("cred", "")
        if not isinstance(subject, str) or not isinstance(credential, str):
            raise TokenInvalid("the token is not valid")
        ends_at = float(claims["exp"]) + signing.LEEWAY_S
        return Claims(subject or ANYBODY, ends_at, tuple(_scopes(claims.get("access"))), credential)

    async def published(self) -> list[dict[str, Any]]:
        """Return the public keys as JSON Web Keys (RFC 7517), those included that will sign soon."""
        await self._read()
        names = {"use": "sig", "alg": ALGORITHM}
        return [{**json.loads(key.public), "kid": key.kid, **names} for key in self._keys.values()]

    async def _signing(self) -> tuple[str, EllipticCurvePrivateKey]:
        """Return the newest key whose time has come."""
        await self._read()
        now = time.time() * _SECOND
        for kid, key in self._keys.items():
            if key.signs_from > now:
                continue
            private = self._private.get(kid)
            if private is None and kid not in self._private:
                private = self._private[kid] = self._seal.open(kid, key.sealed)
            if private is not None:
                return kid, private
        raise Unavailable("no key signs tokens: auth.secret is not what it was when the keys were made")

    async def _read(self) -> None:
        revision = await self._revision.now()
        if revision == self._read_at:
            return
        keys = {key.kid: key for key in await signing_keys.every(self._database)}
        self._public = {kid: self._public.get(kid) or signing.public_key(key.public) for kid, key in keys.items()}
        self._private = {kid: private for kid, private in self._private.items() if kid in keys}
        self._keys = keys
        self._read_at = revision


async def provide_key(database: Database, seal: Seal) -> None:
    """See that there is a key that can sign: at the first start, and when the secret has changed."""
    now = await signing_keys.clock(database)
    for key in await signing_keys.every(database):
        if key.signs_from <= now and seal.open(key.kid, key.sealed) is not None:
            return
    made = seal.new_key()
    await database.write(lambda tx: _add(tx, made, signs_from=now), reserve=True)
    _logger.info("made the key %s, which signs tokens from now on", made.kid)


async def rotate(transaction: Transaction, *, seal: Seal, every_s: int, lifetime_s: int) -> str:
    """Have a new key follow the newest one, if that is old enough, and remove what has ended. Return what was done.

    Args:
        every_s: how old the newest may become.
        lifetime_s: of tokens: so long those that it signed last are good.
    """
    now = await signing_keys.clock(transaction)
    keys = await signing_keys.every(transaction)
    done = []
    newest, signs_from = (keys[0].kid, keys[0].signs_from) if keys else ("", 0)
    if not keys or now - keys[0].created_at >= every_s * _SECOND:
        made = seal.new_key()
        newest, signs_from = made.kid, now + NOTICE_S * _SECOND
        await _add(transaction, made, signs_from=signs_from)
        done.append(f"the key {newest} will sign")
    ends_at = max(now, signs_from) + (lifetime_s + NOTICE_S) * _SECOND
    await signing_keys.end_others(transaction, newest, ends_at)
    if gone := await signing_keys.forget(transaction):
        await authority.change(transaction)
        done.append(f"{gone} keys removed")
    return ", ".join(done)


async def _add(transaction: Transaction, made: NewKey, *, signs_from: int) -> None:
    await signing_keys.add(
        transaction,
        kid=made.kid,
        algorithm=ALGORITHM,
        public=made.public,
        sealed=made.sealed,
        signs_from=signs_from,
    )
    await authority.change(transaction)


def _scopes(access: object) -> list[Scope]:
    """Return what a token is for. Raises TokenInvalid."""
    if not isinstance(access, list):
        return []
    try:
        return parse_scopes(f"{one['type']}:{one['name']}:{','.join(one['actions'])}" for one in access)
    except (KeyError, TypeError, ScopeInvalid):
        raise TokenInvalid("the token's access can't be read") from None
