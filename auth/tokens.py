"""What tokens say, and who verifies them."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from auth.scopes import Scope

_LONGEST_HEADER = 32 * 1024


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says that was verified.

    Attributes:
        subject: a principal's name: `user:NAME`, `serviceaccount:PROJECT/NAME`, `system:anonymous`.
        ends_at: seconds since the epoch.
        scopes: what it is for at most; None for all that the subject may do.
        credential: what it was given for, as `registry.services.subjects` writes it; "" where only the subject counts.
    """

    subject: str
    ends_at: float
    scopes: Sequence[Scope] | None = None
    credential: str = ""


class TokenVerifier(Protocol):
    """Verifies tokens of one kind."""

    async def verify(self, token: str) -> Claims:
        """Return what a token says, once signature, issuer, audience and time have been checked.

        Raises:
            TokenInvalid: it is none of those, or does not count.
            SourceUnavailable: its issuer's keys can't be had now.
        """


def is_jwt(text: str) -> bool:
    """Say whether a text is a signed token, whoever signed it: no password is one by chance.

    Three parts with dots between, of which the first is an object that names an algorithm (RFC 7515, section 7.1).
    """
    first, _, rest = text.partition(".")
    if rest.count(".") != 1 or not first.startswith("eyJ") or len(first) > _LONGEST_HEADER:
        return False
    try:
        header = json.loads(base64.b64decode(first + "=" * (-len(first) % 4), altchars=b"-_", validate=True))
    except (ValueError, RecursionError):
        return False
    return isinstance(header, dict) and "alg" in header
