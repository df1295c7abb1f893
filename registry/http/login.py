"""What the registry's front door has where people log in: who asks, how often, and how others are told to log in."""

from dataclasses import dataclass
from typing import Protocol

from auth.errors import Unauthenticated
from auth.principal import Principal
from registry.http.authentication import address_of
from registry.http.challenges import TOKEN_PATH, Challenges
from registry.http.rates import Rates
from registry.http.request import Request
from registry.services import audit
from registry.services.token_server import TokenServer


class Identifier(Protocol):
    """Says who asks."""

    async def identify(self, request: Request, header: bytes) -> Principal:
        """Say who asks, by the header Authorization. `Authenticator.identify` has the errors."""

    def forget(self) -> None:
        """Have everything verified anew."""


@dataclass(frozen=True, slots=True)
class Login:
    """The parts of `auth.mode: users` that requests meet. `server`: gives tokens; None where another server does.

    `rates`: how much one may ask for; None without bounds.
    """

    authenticator: Identifier
    challenges: Challenges
    server: TokenServer | None = None
    rates: Rates | None = None

    async def meet(self, request: Request) -> None:
        """Find out who asks. Credentials that do not count are refused when the handler asks what they may do.

        By then it is known what a token would have to be for.

        Raises:
            TooManyAttempts, SourceUnavailable, Unavailable: it can't be found out now.
        """
        address = address_of(request)
        audit.client.set(address)
        if self.rates is not None:
            self.rates.admit_address(address)
        header = request.raw_header(b"authorization")
        if header is None or request.path.startswith(TOKEN_PATH):  # which looks at them in its own way
            return
        try:
            request.principal = await self.authenticator.identify(request, header)
        except Unauthenticated as refusal:
            request.refusal = refusal
        else:
            if self.rates is not None:
                self.rates.admit_principal(request.principal)
