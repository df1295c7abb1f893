"""What trusted proxies say of a request: who asks, and by which address the server was reached.

Only a peer in `http.trusted_proxies` is believed. Sources: RFC 7239 (`Forwarded`), and the `X-Forwarded-For`,
`-Proto` and `-Host` that came before it: lists, to which each proxy adds at the right.
"""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from starlette.types import ASGIApp, Receive, Scope, Send

ORIGIN = "stowage.origin"
"""Where the origin by which a trusted proxy was reached stands in an ASGI scope, such as `https://example.org`."""

_LONGEST_HEADER = 4096
_MOST_HOPS = 32
Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_FORMS = {b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"}
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - RFC 9110, section 5.6.2
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_PAIR = rf"({_TOKEN})=({_TOKEN}|{_QUOTED})"
_ELEMENT = re.compile(rf"[ \t]*(?:{_PAIR}(?:;{_PAIR})*)?[ \t]*(?:,|\Z)")
_PAIRS = re.compile(_PAIR)
_HOST = re.compile(
    r"(?:[0-9A-Za-z](?:[0-9A-Za-z_.-]{0,251}[0-9A-Za-z])?\.?|\[(?P<address>[0-9A-Fa-f:.]{2,45})\])(?::(?P<port>[0-9]{1,5}))?"
).fullmatch
_NODE = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::[0-9]{1,5})?|([0-9A-Fa-f:.]+)").fullmatch


@dataclass(frozen=True, slots=True)
class Hop:
    """What one proxy says of whom it got the request from. What makes no sense is None."""

    address: Address | None
    proto: str | None
    host: str | None


class TrustedProxies:
    """Wraps an application: puts the client's address and the origin into the scope where trusted proxies tell them.

    Args:
        networks: whose word counts.
    """

    def __init__(self, app: ASGIApp, networks: Sequence[Network]) -> None:
        self._app = app
        self._networks = tuple(networks)
        self._is_trusted_peer = functools.lru_cache(1024)(self._is_trusted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        client = scope.get("client")
        if scope["type"] == "http" and client is not None and self._is_trusted_peer(client[0]):
            self._apply(scope)
        await self._app(scope, receive, send)

    def _apply(self, scope: Scope) -> None:
        found: dict[bytes, list[str]] = {}
        for name, value in scope["headers"]:
            if name in _FORMS:
                found.setdefault(name, []).append(value.decode("latin-1"))
        if not found:
            return
        address, hop = self._agreed({name: ",".join(values) for name, values in found.items()})
        if address is not None:
            scope["client"] = (str(address), 0)
        if hop.proto is not None and hop.host is not None:
            scope[ORIGIN] = f"{hop.proto}://{hop.host}"

    def _agreed(self, headers: dict[bytes, str]) -> tuple[Address | None, Hop]:
        """Return the client's address and its hop. Where both forms are there, what they agree on.

        A proxy that knows one form passes the other on as the client sent it.
        """
        standard = headers.pop(b"forwarded", None)
        found = self._walk(parse_forwarded(standard)) if standard is not None else None
        if headers:
            older = self._walk(parse_x_forwarded(headers))
            found = older if found is None else _common(found, older)
        return found or (None, _NOTHING)

    def _walk(self, hops: Sequence[Hop]) -> tuple[Address | None, Hop]:
        """Go from the nearest hop to the first that came from no trusted proxy; return the last known address too."""
        address: Address | None = None
        hop = _NOTHING
        for hop in reversed(hops):
            if hop.address is None:
                break
            address = hop.address
            if not self._is_trusted(str(address)):
                break
        return address, hop

    def _is_trusted(self, text: str) -> bool:
        address = parse_address(text)
        return address is not None and any(address in network for network in self._networks)


_NOTHING = Hop(None, None, None)


def parse_forwarded(header: str) -> list[Hop]:
    """Return the hops of a `Forwarded` header, the nearest last; none if it is too long or makes no sense."""
    if len(header) > _LONGEST_HEADER:
        return []
    hops: list[Hop] = []
    position = 0
    while position < len(header):
        element = _ELEMENT.match(header, position)
        if element is None:
            return []
        position = element.end()
        pairs = _PAIRS.findall(element[0])
        said = {name.lower(): _unquoted(value) for name, value in pairs}
        if len(said) != len(pairs):
            return []  # a name twice (RFC 7239, section 4)
        if said:
            hops.append(Hop(_node(said.get("for", "")), _proto(said.get("proto")), _host(said.get("host"))))
    return hops


def parse_x_forwarded(headers: dict[bytes, str]) -> list[Hop]:
    """Return the hops of the `X-Forwarded-` headers, the nearest last.

    The lists are matched from the right. A proxy that replaces one of them instead of adding to it leaves it shorter:
    its first entry then counts for all hops before. More than 32 hops are not looked at.
    """
    nodes, protos, hosts = (
        [entry.strip() for entry in headers.get(name, "").rsplit(",", _MOST_HOPS)[-_MOST_HOPS:]]
        for name in (b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host")
    )
    return [
        Hop(_node(nodes[-back]), _proto(protos[-min(back, len(protos))]), _host(hosts[-min(back, len(hosts))]))
        for back in range(len(nodes), 0, -1)
    ]


def parse_address(text: str) -> Address | None:
    """Return an IP address, None if it is none. An IPv4 address in IPv6's clothes is an IPv4 address."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _common(one: tuple[Address | None, Hop], other: tuple[Address | None, Hop]) -> tuple[Address | None, Hop]:
    hop = Hop(
        None,
        one[1].proto if one[1].proto == other[1].proto else None,
        one[1].host if one[1].host == other[1].host else None,
    )
    return one[0] if one[0] == other[0] else None, hop


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value


def _node(text: str) -> Address | None:
    """Read an address, with or without a port; `unknown` and made-up names are none (RFC 7239, section 6)."""
    match = _NODE(text)
    return None if match is None else parse_address(match[1] or match[2] or match[3])


def _proto(text: str | None) -> str | None:
    return text.lower() if text is not None and text.lower() in {"http", "https"} else None


def _host(text: str | None) -> str | None:
    """Read a host as it stands in a URL, with or without a port (RFC 3986, section 3.2.2)."""
    match = None if text is None else _HOST(text)
    if match is None or (match["port"] is not None and not 0 < int(match["port"]) < 65536):
        return None
    if match["address"] is not None and not isinstance(parse_address(match["address"]), IPv6Address):
        return None
    return text
