"""What can go wrong between a request and its principal."""


class AuthError(Exception):
    """Base of everything this package raises on purpose."""


class Denied(AuthError):
    """The principal may not do this, and no other credential of its own would help."""


class Unauthenticated(AuthError):
    """Whoever asks must say who they are: nothing was shown, or what was shown does not count (any more).

    Attributes:
        scope: what a token would have to be for, as challenges name it; "" where that is not known.
        bearer: whether what was shown was a token.
    """

    def __init__(self, message: str, *, scope: str = "", bearer: bool = False) -> None:
        super().__init__(message)
        self.scope = scope
        self.bearer = bearer


class InsufficientScope(AuthError):
    """The token is not for this, and another for the same subject would be. `scope`: what it would have to be for."""

    def __init__(self, message: str, *, scope: str = "") -> None:
        super().__init__(message)
        self.scope = scope


class TooManyAttempts(AuthError):
    """Too many logins failed, or too many wait; or one takes more places than are theirs. `retry_after` in seconds."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ScopeInvalid(AuthError):
    """A scope is malformed."""


class TokenInvalid(AuthError):
    """A token is malformed, of somebody else, altered, or has ended. The message names no secret."""


class SourceUnavailable(AuthError):
    """Who knows the identity (a directory, an issuer) can't be asked now."""


class FetchRefused(AuthError):
    """An address that must not be asked, or an answer that must not be used. No secret is in the message."""


class LoginBroken(AuthError):
    """A login that did not begin in this browser, or not lately, or that came back otherwise than it should."""


class NameRefused(AuthError):
    """Somebody or something can't be called so, or a password breaks the rules."""
