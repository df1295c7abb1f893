"""The secret under which what must not lie open in the database is sealed: `auth.secret`, or a file made once."""

import os
import secrets
from pathlib import Path

from registry.errors import Unavailable
from registry.settings import Settings

_BYTES = 32


def secret_of(settings: Settings) -> bytes:
    """Return the secret.

    Raises:
        Unavailable: its file can't be read, or is empty.
    """
    given = settings.auth.secret
    if given is not None:
        return given.get_secret_value().encode()
    if _is_missing(settings):
        raise Unavailable("auth.secret: expected at least 32 characters, the same for all replicas, to seal under")
    file = secret_file(settings)
    try:
        content = file.read_bytes().strip()
    except OSError as error:
        raise Unavailable(f"the secret in {file} can't be read: {error.strerror}") from error
    if len(content) < _BYTES:
        raise Unavailable(f"there is no secret in {file}: restore it, or remove the file to have one made")
    return content


def have_secret(settings: Settings) -> bytes:
    """Return the secret, which is made where it is missing.

    Raises:
        Unavailable: it can't be read, or not be made.
    """
    if settings.auth.secret is None and settings.database.is_postgresql:
        raise Unavailable(
            "auth.secret: expected at least 32 characters, the same for all replicas, to seal secrets under"
        )
    provide_secret(settings)
    return secret_of(settings)


def provide_secret(settings: Settings) -> None:
    """Make the secret's file, readable for this user alone, unless it is there or not needed.

    Raises:
        Unavailable: it can't be made.
    """
    if settings.auth.secret is not None:
        return
    file = secret_file(settings)
    made = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
    try:
        if file.exists():
            return
        descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "w") as opened:
                opened.write(f"{secrets.token_urlsafe(_BYTES)}\n")
                opened.flush()
                os.fsync(descriptor)
            _link(made, file)
        finally:
            made.unlink()
    except OSError as error:
        raise Unavailable(f"the secret's file {file} can't be made: {error.strerror}: set auth.secret") from error


def secret_file(settings: Settings) -> Path:
    """Return where the secret is, if it is not in the settings: beside the SQLite database."""
    return settings.sqlite_path.with_name(f"{settings.sqlite_path.name}.secret")


def _is_missing(settings: Settings) -> bool:
    """Say whether there is none, and none can be made: replicas have no file in common."""
    return settings.auth.secret is None and settings.database.is_postgresql


def _link(made: Path, file: Path) -> None:
    """Give the file its name, whole or not at all, and leave one that is there by now."""
    try:
        os.link(made, file)
    except FileExistsError:
        return
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
