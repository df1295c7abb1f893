"""Sending one message to an endpoint: signed, with its headers, and what came of it in words."""

import base64
import time
from collections.abc import Sequence
from dataclasses import dataclass

from auth.addresses import Network
from auth.errors import FetchRefused, SourceUnavailable
from auth.guard import Guard
from auth.posting import Poster, Unreached
from registry.setting_types import SECRET
from registry.webhooks import signature
from registry.webhooks.endpoint import Endpoint, Secrets
from registry.webhooks.message import Message

_GONE = 410
_AWAY = frozenset({429, 502, 503, 504})
_LONGEST_ERROR = 300
_SHORTEST_SECRET = 4


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of a try.

    Attributes:
        status: of the answer, None if there was none.
        error: what was wrong; None if it was delivered.
        took_ms: from the beginning to the answer.
        retry_after_s: when it is to be tried again, as the endpoint says.
        is_fault: it may be because of what was sent: the endpoint was reached, and does not say that it is away.
        gone: the endpoint wants no more messages, ever.
        overloaded: it wants none for a while.
    """

    status: int | None
    error: str | None
    took_ms: int
    retry_after_s: int | None = None
    is_fault: bool = False
    gone: bool = False
    overloaded: bool = False

    @property
    def delivered(self) -> bool:
        """Whether the endpoint took it."""
        return self.error is None


class Sender:
    """Sends to one endpoint.

    Args:
        networks: where it may be beside the internet, unless it may be anywhere.
    """

    def __init__(self, endpoint: Endpoint, networks: Sequence[Network]) -> None:
        secrets, options = endpoint.secrets, endpoint.options
        guard = Guard(
            endpoint.private,
            networks=() if endpoint.is_file else tuple(networks),
            ca=endpoint.ca_file or options.ca or None,
        )
        self._poster = Poster(endpoint.url, guard, timeout_s=options.timeout)
        self._key = signature.key_of(secrets.secret) if secrets.secret else None
        self._secrets = _parts(secrets)
        self._headers = {name.lower(): value for name, value in secrets.headers.items()}
        if secrets.bearer:
            self._headers["authorization"] = f"Bearer {secrets.bearer}"
        elif secrets.basic:
            self._headers["authorization"] = f"Basic {base64.b64encode(secrets.basic.encode()).decode()}"

    async def send(self, message_id: str, message: Message) -> Sent:
        """Try once. `message_id`: the same on each try."""
        signed = signature.headers(self._key, message_id, int(time.time()), message.body)
        began = time.monotonic()
        try:
            answer = await self._poster.post(message.body, {**self._headers, **message.headers, **signed})
        except (FetchRefused, SourceUnavailable) as error:
            is_fault = not isinstance(error, FetchRefused | Unreached)
            return Sent(None, self._plain(str(error)), _since(began), is_fault=is_fault)
        status, took_ms = answer.status, _since(began)
        if 200 <= status < 300:
            return Sent(status, None, took_ms)
        if status < 400:
            redirected = f"it answered {status}: redirects are not followed, name where it leads"
            return Sent(status, redirected, took_ms, is_fault=True)
        said = f": {answer.said}" if answer.said else ""
        return Sent(
            status,
            self._plain(f"it answered {status}{said}"),
            took_ms,
            answer.retry_after_s,
            is_fault=status not in _AWAY,
            gone=status == _GONE,
            overloaded=status in {429, 503} and answer.retry_after_s is not None,
        )

    def _plain(self, text: str) -> str:
        """Return what may be shown: what an endpoint answers may be what it was sent."""
        for secret in self._secrets:
            text = text.replace(secret, SECRET)
        return text[:_LONGEST_ERROR]

    async def close(self) -> None:
        """Close its connections."""
        await self._poster.close()


def _parts(secrets: Secrets) -> list[str]:
    """Return what must not be shown, the longest first; what is very short would be found anywhere."""
    _, _, password = secrets.basic.partition(":")
    basic = base64.b64encode(secrets.basic.encode()).decode()
    known = {secrets.secret, secrets.bearer, password, basic, *secrets.headers.values()}
    return sorted((one for one in known if len(one) >= _SHORTEST_SECRET), key=len, reverse=True)


def _since(began: float) -> int:
    return int((time.monotonic() - began) * 1000)
