"""What is secret of webhooks in the database: sealed under the secret that is not in it."""

import functools
import importlib
import json
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

from registry.secret_file import have_secret, secret_of
from registry.settings import Settings
from registry.webhooks.endpoint import Secrets

if TYPE_CHECKING:
    from auth.sealing import Box

_PURPOSE = "stowage webhooks"


class Vault:
    """Seals and opens.

    Args:
        secret: returns what all replicas have in common, or raises Unavailable.
        provide: the same, and makes it where it is not there.
    """

    def __init__(self, secret: Callable[[], bytes], provide: Callable[[], bytes]) -> None:
        self._secret = secret
        self._provide = provide

    def seal(self, owner: str, url: str, secrets: Secrets) -> bytes:
        """Return a URL and secrets, sealed for an owner. Raises Unavailable: there is no secret to seal them under."""
        content = json.dumps({"url": url, **asdict(secrets)}).encode()
        return _box(self._provide()).seal(content, owner)

    def open(self, owner: str, sealed: bytes) -> tuple[str, Secrets] | None:
        """Return what was sealed for an owner; None if it was under another secret. Raises Unavailable."""
        content = _box(self._secret()).open(sealed, owner)
        if content is None:
            return None
        said = json.loads(content)
        return said.pop("url"), Secrets(**said)


def vault_of(settings: Settings) -> Vault:
    """Return the vault of a registry, under `auth.secret`, or what stands for it."""
    return Vault(functools.partial(secret_of, settings), functools.partial(have_secret, settings))


@functools.lru_cache(4)
def _box(secret: bytes) -> "Box":
    """Import what seals, where there is something sealed: it takes longer than a start should."""
    made: Box = importlib.import_module("auth.sealing").Box(secret, _PURPOSE)
    return made
