"""Where a server may be sent by a URL that it was told of: guarded against being sent elsewhere (CWE-918).

So: `https` alone, each address that a name has is looked at, and the connection goes to one of these and to nothing
that the name may mean a moment later.
"""

import asyncio
import functools
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from auth.addresses import Address, Network, is_in, may_reach, parse
from auth.errors import FetchRefused, SourceUnavailable

PORTS = {"https": 443, "http": 80}
_MOST_ADDRESSES = 16
_HOST = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?|[0-9a-f.]*:[0-9a-f:.]*")
"""A name, or an address; `urlsplit` has made it lower-case and taken the brackets away."""

Found = tuple[Any, ...]
"""What getaddrinfo(3) says of one address."""
LookUp = Callable[[str, int], Awaitable[Sequence[Found]]]


@dataclass(frozen=True, slots=True)
class Guard:
    """What may be asked.

    Attributes:
        private: addresses within this network, and this machine, are all right, and so is plain `http`.
        networks: addresses in these are all right, in plain `http` too, private or not.
        ca: PEM file with whom to trust beside nobody else, or its content; the system's when not given.
    """

    private: bool = False
    networks: tuple[Network, ...] = ()
    ca: Path | str | None = None

    def parts(self, url: str) -> SplitResult:
        """Return the parts of a URL that may be asked, as far as it says. Raises FetchRefused."""
        return checked_url(url, plain=self.private or bool(self.networks))

    async def addresses(self, parts: SplitResult, look_up: LookUp | None = None) -> list[Address]:
        """Return the addresses that a URL leads to now.

        Args:
            look_up: asks for the addresses of a host and a port; the event loop if not given.

        Raises:
            FetchRefused: one of them is not to be asked.
            SourceUnavailable: there are none.
            OSError: the name can't be looked up.
        """
        host, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
        found = await (look_up or _look_up)(host, port)
        addresses = list(dict.fromkeys(parse(str(one[4][0])) for one in found))[:_MOST_ADDRESSES]
        if not addresses:
            raise SourceUnavailable(f"{host} has no address")
        for address in addresses:  # one that is wrong is enough: nobody has both on purpose
            if not self._may_reach(address, plain=parts.scheme == "http"):
                raise FetchRefused(f"{host} has the address {address}, which is not for everybody: see allow_private")
        return addresses

    def _may_reach(self, address: Address, *, plain: bool) -> bool:
        if is_in(address, self.networks):
            return may_reach(address, private=True)
        return (self.private or not plain) and may_reach(address, private=self.private)

    def trusting(self) -> ssl.SSLContext:
        """Return who is trusted. A file that changed is read again. It may block: for a thread. Raises OSError."""
        return _trusting_as_of(self.ca, self.ca.stat().st_mtime_ns if isinstance(self.ca, Path) else 0)


async def _look_up(host: str, port: int) -> Sequence[Found]:
    return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)


def checked_url(url: str, *, plain: bool) -> SplitResult:
    """Return the parts of a URL that may be asked. `plain`: `http` is all right. Raises FetchRefused."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise FetchRefused(f"{url[:200]!r} is not a URL") from None
    schemes = ("https", "http") if plain else ("https",)
    if parts.scheme not in schemes or not parts.hostname or port == 0:
        raise FetchRefused(f"{url[:200]!r} is not a URL with {' or '.join(schemes)}, and a host")
    if _HOST.fullmatch(parts.hostname) is None:
        raise FetchRefused(f"{parts.hostname[:200]!r} is not a host")
    if parts.username is not None or parts.password is not None or not url.isascii() or not url.isprintable():
        raise FetchRefused("a URL with a user, or with characters that no URL has, is not asked")
    return parts


@functools.lru_cache(32)
def _trusting_as_of(ca: Path | str | None, changed: int) -> ssl.SSLContext:
    file, content = (ca, None) if isinstance(ca, Path) else (None, ca)
    context = ssl.create_default_context(cafile=file, cadata=content)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
