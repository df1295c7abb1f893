"""What can go wrong between a request and its principal."""


class AuthError(Exception):
    """Base of everything this package raises on purpose."""


class Denied(AuthError):
    """The principal may not do this, and no other credential of its own would help."""
