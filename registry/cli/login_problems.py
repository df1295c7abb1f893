"""Whether people can log in with these settings, and whether others could listen to it."""

from collections.abc import Iterator

from auth import htpasswd
from registry.cli.problems import Problem, error, warning
from registry.cli.serve import is_loopback
from registry.errors import Unavailable
from registry.secret_file import secret_file, secret_of
from registry.settings import Settings

_OTHERS = 0o077


def login_problems(settings: Settings) -> Iterator[Problem]:
    """Look at what `auth.mode: users` needs. Nothing is made."""
    if settings.auth.mode == "open":
        return
    file = settings.auth.htpasswd
    if file is not None:
        try:
            htpasswd.read(file)
        except (OSError, ValueError) as unreadable:
            yield error("HtpasswdUnreadable", f"auth.htpasswd: {file} can't be read: {unreadable}")
    yield from _secret_problems(settings)
    if not is_loopback(settings.http.host) and not _is_encrypted(settings):
        text = (
            f"http.host is {settings.http.host}, and nothing says that there is TLS: passwords can be read on the way"
        )
        yield warning("LoginUnencrypted", f"{text}: set http.tls, or http.public_url to the https:// of a proxy")


def _secret_problems(settings: Settings) -> Iterator[Problem]:
    file = secret_file(settings)
    if settings.auth.secret is not None or not file.exists():
        return
    try:
        secret_of(settings)
    except Unavailable as unusable:
        yield error("SecretUnusable", str(unusable))
        return
    if file.stat().st_mode & _OTHERS:
        yield warning("SecretReadable", f"others than its owner may read {file}, which seals keys: chmod 600 {file}")


def _is_encrypted(settings: Settings) -> bool:
    http = settings.http
    return http.tls.certificate is not None or (http.public_url or "").startswith("https://")
