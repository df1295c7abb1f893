"""Who a command says that it is to a server: by the environment, standard input, or what docker and podman keep."""

import base64
import json
from pathlib import Path
from typing import Any, NamedTuple

from auth import secret_tokens
from registry.cli.options import fail
from registry.settings import CLIENT_LOGIN, ClientEnvironment

_MOST_READ = 1024 * 1024


class Login(NamedTuple):
    """What is shown: the value of the header Authorization. `source`: where it is from, for people."""

    header: str
    source: str


def login_for(host: str, environment: ClientEnvironment, said: str | None) -> Login | None:
    """Return what to show to a server; None if nothing is known for it: it may ask nobody who they are.

    What can't be used ends the command.

    Args:
        host: HOST or HOST:PORT, as the names of images begin.
        said: what was read from standard input, if that was asked for.
    """
    if said is not None:
        return _parsed(said, "standard input")
    if environment.login:
        return _parsed(environment.login, f"${CLIENT_LOGIN}")
    for file in environment.login_files:
        if (found := _in_file(file, host)) is not None:
            return found
    return None


def unknown_to(host: str) -> str:
    """Return what to say where a server asks for a login, and nothing is known for it."""
    return (
        f"nothing says who you are to {host}: `podman login {host}` or `docker login {host}` first, or set "
        f"{CLIENT_LOGIN} to NAME:PASSWORD or a token, or write that to standard input and say --login-stdin"
    )


def _parsed(text: str, source: str) -> Login:
    """Return a login that somebody wrote as NAME:PASSWORD, or as a token alone."""
    text = text.removesuffix("\n").removesuffix("\r")
    if secret_tokens.is_one(text):
        return Login(f"Bearer {text}", source)
    name, colon, password = text.partition(":")
    if not (name and colon and password):
        fail(f"{source}: expected NAME:PASSWORD, or a token ({secret_tokens.PREFIX}...)")
    return _basic(name, password, source)


def _basic(name: str, password: str, source: str) -> Login:
    return Login(f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}", source)


def _in_file(file: Path, host: str) -> Login | None:
    """Return what docker's config.json or podman's auth.json has for a host. Neither has what a helper keeps.

    Source: containers-auth.json(5); docker's documentation of `docker login`, "Credential stores".
    """
    content = _read(file)
    if content is None:
        return None
    auths = content.get("auths")
    entries = auths if isinstance(auths, dict) else {}
    for key in (host, f"https://{host}", f"https://{host}/", f"http://{host}"):
        entry = entries.get(key)
        if isinstance(entry, dict) and (found := _of_entry(entry, file, host)) is not None:
            return found
    helpers = content.get("credHelpers")
    if (isinstance(helpers, dict) and host in helpers) or (content.get("credsStore") and host in entries):
        fail(f"{file}: a helper keeps the login for {host}, which commands do not ask: set {CLIENT_LOGIN} instead")
    return None


def _of_entry(entry: dict[str, Any], file: Path, host: str) -> Login | None:
    if entry.get("identitytoken"):
        fail(
            f"{file}: docker keeps a token for pushing and pulling in place of the password for {host}, which is no "
            f"good here: set {CLIENT_LOGIN} to NAME:PASSWORD or a token of your own (`stowage token create`)"
        )
    auth = entry.get("auth")
    if isinstance(auth, str) and auth:
        try:
            name, _, password = base64.b64decode(auth, validate=True).decode().partition(":")
        except ValueError:
            fail(f"{file}: what it has for {host} can't be read")
        return _basic(name, password, str(file))
    name, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    return _basic(name, password, str(file)) if name and password else None


def _read(file: Path) -> dict[str, Any] | None:
    try:
        with file.open("rb") as opened:
            content = json.loads(opened.read(_MOST_READ))
    except FileNotFoundError:
        return None
    except OSError as error:
        fail(f"{file}: can't be read: {error.strerror}")
    except ValueError:
        fail(f"{file}: not JSON")
    return content if isinstance(content, dict) else None
