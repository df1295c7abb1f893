"""People of an identity provider: OpenID Connect Core 1.0, authorization code flow with PKCE (RFC 7636)."""

import base64
import hashlib
import hmac
import json
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from auth.errors import AuthError, Denied, FetchRefused, LoginBroken, SourceUnavailable, TokenInvalid
from auth.fetch import Fetcher
from auth.foreign import verify
from auth.issuers import FRESH_S, IssuerKeys, discover, endpoint
from auth.keys import KeySet, parse_jwks
from auth.names import is_user
from auth.sources import Identity

OIDC = "oidc"
LOGIN_S = 600
"""How long somebody may take to log in at the provider."""

_NONCE_BYTES = 12
_MOST_GROUPS = 1000
_LONGEST = 255

_logger = logging.getLogger("stowage.auth")


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider, and what it calls the registry.

    Attributes:
        redirect_url: where it sends people back to.
        client_secret: "" for a client without.
        name_claim: what of somebody's claims is the name here.
        groups_claim: which of them lists the groups.
    """

    issuer: str
    client_id: str
    client_secret: str
    redirect_url: str
    scopes: tuple[str, ...] = ("openid", "profile")
    name_claim: str = "preferred_username"
    groups_claim: str = "groups"


@dataclass(frozen=True, slots=True)
class Begun:
    """A login that begins: where the browser goes, and what it is to keep meanwhile."""

    url: str
    cookie: str


class OpenId:
    """Lets people log in at a provider.

    What belongs to a login under way is with the browser, sealed: any replica can end what another began.

    Args:
        secret: what replicas have in common.
    """

    def __init__(
        self, provider: Provider, fetcher: Fetcher, secret: bytes, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._provider = provider
        self._fetcher = fetcher
        self._clock = clock
        key = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"stowage logins at a provider").derive(secret)
        self._cipher = AESGCM(key)
        self._document: dict[str, Any] | None = None
        self._read_at = 0.0
        self._keys = IssuerKeys(provider.issuer, self._ask_keys)

    async def begin(self) -> Begun:
        """Begin a login. Raises SourceUnavailable: the provider can't be asked."""
        document = await self._discovered()
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "response_type": "code",
            "client_id": self._provider.client_id,
            "redirect_uri": self._provider.redirect_url,
            "scope": " ".join(self._provider.scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        url = endpoint(document, "authorization_endpoint")
        cookie = self._sealed({"s": state, "n": nonce, "v": verifier, "e": int(self._clock()) + LOGIN_S})
        return Begun(f"{url}{'&' if '?' in url else '?'}{urlencode(asked)}", cookie)

    async def finish(self, answer: Mapping[str, str], cookie: str) -> Identity:
        """Return who came back from the provider.

        Args:
            answer: the query that the browser came back with.
            cookie: what it kept.

        Raises:
            LoginBroken: it is not an answer to what this browser asked.
            Denied: the provider, or what it says of somebody, lets them in nowhere.
            SourceUnavailable: the provider can't be asked.
        """
        kept = self._opened(cookie)
        if not hmac.compare_digest(answer.get("state", "").encode(), kept["s"].encode()):
            raise LoginBroken("this answer belongs to another login")
        document = await self._discovered()
        self._check_sender(answer, document)
        if "error" in answer:
            raise Denied(f"the identity provider refuses: {_harmless(answer['error'])}")
        if not answer.get("code"):
            raise LoginBroken("the identity provider sent no code")
        tokens = await self._exchange(document, answer["code"], kept["v"])
        try:
            return await self._identity(document, tokens, kept["n"])
        except TokenInvalid as error:
            _logger.warning("a login at %s is refused: %s", self._provider.issuer, error)
            raise LoginBroken(f"what the identity provider says does not count: {error}") from None

    async def probe(self) -> list[str]:
        """Ask the provider, and return what is wrong."""
        try:
            document = await discover(self._fetcher, self._provider.issuer)
            found = await self._fetcher.get(endpoint(document, "jwks_uri"))
            parse_jwks(found.document())
        except AuthError as error:
            return [str(error)]
        return []

    async def close(self) -> None:
        """Ask no more."""
        await self._keys.close()

    async def _discovered(self) -> dict[str, Any]:
        """Return the provider's discovery document; an old one where it can't be had anew."""
        if self._document is None or self._clock() - self._read_at > FRESH_S:
            try:
                document = await discover(self._fetcher, self._provider.issuer)
                self._fetcher.guard.parts(endpoint(document, "authorization_endpoint"))
                self._document, self._read_at = document, self._clock()
            except AuthError as error:
                _logger.error("the identity provider %s can't be used: %s", self._provider.issuer, error)
                if self._document is None:
                    raise SourceUnavailable("the identity provider can't be asked now") from None
        return self._document

    async def _ask_keys(self) -> KeySet:
        found = await self._fetcher.get(endpoint(await self._discovered(), "jwks_uri"))
        return parse_jwks(found.document())

    def _check_sender(self, answer: Mapping[str, str], document: Mapping[str, Any]) -> None:
        """An answer that another provider sent is none of ours (RFC 9207, section 2.4)."""
        sender = answer.get("iss")
        is_required = document.get("authorization_response_iss_parameter_supported") is True
        if (sender is None and is_required) or (sender is not None and sender != self._provider.issuer):
            raise LoginBroken("this answer is of another identity provider")

    async def _exchange(self, document: Mapping[str, Any], code: str, verifier: str) -> dict[str, Any]:
        """Return what the provider gives for a code (section 3.1.3)."""
        provider = self._provider
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": provider.redirect_url,
            "code_verifier": verifier,
        }
        headers: dict[str, str] = {}
        methods = document.get("token_endpoint_auth_methods_supported")
        by_form = isinstance(methods, list) and "client_secret_post" in methods and "client_secret_basic" not in methods
        if not provider.client_secret:
            form["client_id"] = provider.client_id
        elif not by_form:
            both = f"{quote(provider.client_id, safe='')}:{quote(provider.client_secret, safe='')}"
            headers["authorization"] = f"Basic {base64.b64encode(both.encode()).decode()}"
        else:
            form |= {"client_id": provider.client_id, "client_secret": provider.client_secret}
        try:
            answer = await self._fetcher.post(endpoint(document, "token_endpoint"), form, headers=headers)
            tokens = answer.document()
        except FetchRefused as error:
            _logger.error("the identity provider %s gives no token: %s", provider.issuer, error)
            raise SourceUnavailable("the identity provider gives no token") from None
        if answer.status != 200 or not isinstance(tokens.get("id_token"), str):
            said = _harmless(tokens.get("error", "no id_token"))
            _logger.warning("the identity provider %s gives no token: %s", provider.issuer, said)
            raise LoginBroken(f"the identity provider does not take the code: {said}")
        return tokens

    async def _identity(self, document: Mapping[str, Any], tokens: Mapping[str, Any], nonce: str) -> Identity:
        provider = self._provider
        claims = await verify(tokens["id_token"], self._keys, issuer=provider.issuer, audiences=[provider.client_id])
        if not hmac.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()):
            raise TokenInvalid("the token is of another login")
        several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
        if claims.get("azp", None if several else provider.client_id) != provider.client_id:  # section 3.1.3.7
            raise TokenInvalid("the token was given to somebody else")
        subject = claims.get("sub")
        if not isinstance(subject, str) or not 0 < len(subject) <= _LONGEST:
            raise TokenInvalid("the token names nobody")
        missing = {provider.name_claim, provider.groups_claim} - {*claims}
        if missing and isinstance(tokens.get("access_token"), str) and "userinfo_endpoint" in document:
            claims = {**await self._told(document, tokens["access_token"], subject), **claims}
        name = _name_in(claims, provider.name_claim)
        return Identity(name, _groups_in(claims.get(provider.groups_claim)), OIDC, f"{provider.issuer}#{subject}")

    async def _told(self, document: Mapping[str, Any], token: str, subject: str) -> dict[str, Any]:
        """Return what the provider says of somebody beside the token (section 5.3)."""
        try:
            url = endpoint(document, "userinfo_endpoint")
            found = await self._fetcher.get(url, headers={"authorization": f"Bearer {token}"})
            claims = found.document()
        except FetchRefused as error:
            _logger.warning("the identity provider %s says no more of somebody: %s", self._provider.issuer, error)
            return {}
        if claims.get("sub") != subject:  # section 5.3.2
            raise TokenInvalid("the provider speaks of somebody else")
        return claims

    def _sealed(self, kept: Mapping[str, str | int]) -> str:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return base64.urlsafe_b64encode(nonce + self._cipher.encrypt(nonce, json.dumps(kept).encode(), b"")).decode()

    def _opened(self, cookie: str) -> dict[str, Any]:
        try:
            content = base64.urlsafe_b64decode(cookie)
            text = self._cipher.decrypt(content[:_NONCE_BYTES], content[_NONCE_BYTES:], b"")
        except (InvalidTag, ValueError):
            raise LoginBroken("this browser has not begun to log in, or does not keep cookies") from None
        kept: dict[str, Any] = json.loads(text)
        if self._clock() > kept["e"]:
            raise LoginBroken("this login has taken too long")
        return kept


def _name_in(claims: Mapping[str, Any], claim: str) -> str:
    """Return somebody's name. Raises Denied: there is none that can be a name here."""
    name = claims.get(claim)
    if not isinstance(name, str) or not name:
        raise Denied(f"the identity provider does not say {claim} of you")
    if not is_user(name):
        raise Denied(f"nobody can be called {_harmless(name)} here")
    if claim == "email" and claims.get("email_verified") is not True:  # anybody could claim it
        raise Denied("the identity provider does not say that your address is verified")
    return name


def _groups_in(claim: object) -> frozenset[str]:
    """Return the groups that a claim lists; what can't be a group's name is left out."""
    names = [claim] if isinstance(claim, str) else claim
    if not isinstance(names, list):
        return frozenset()
    fitting = (name for name in names if isinstance(name, str) and 0 < len(name) <= _LONGEST and name.isprintable())
    return frozenset(sorted(fitting)[:_MOST_GROUPS])


def _harmless(said: object) -> str:
    """Return what somebody else said as a page or a log may show it."""
    return "".join(letter for letter in str(said)[:100] if letter.isprintable())
