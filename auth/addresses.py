"""Which addresses a server may be sent to by somebody else's word. Pure.

Sources: IANA's registries of special-purpose addresses (RFC 6890), RFC 6052 (NAT64), RFC 4291 section 2.5.5.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NEVER = IPv4Network("0.0.0.0/8"), IPv4Network("224.0.0.0/4"), IPv4Network("255.255.255.255/32")
_INSIDE = tuple(
    IPv4Network(text)
    for text in (
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "240.0.0.0/4",
    )
)
_GLOBAL6 = IPv6Network("2000::/3")
_NOT_GLOBAL6 = tuple(IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "3fff::/20"))
_6TO4 = IPv6Network("2002::/16")
_NAT64 = IPv6Network("64:ff9b::/96")
_MULTICAST6 = IPv6Network("ff00::/8")


def may_reach(address: Address, *, private: bool) -> bool:
    """Say whether a connection to an address is right.

    Everything that is not an address of one host in the internet is wrong, unless `private`: then only what is no
    host's address at all is (unspecified, "this network", multicast, broadcast). Of an IPv6 address that stands for one
    of IPv4, by mapping, NAT64 or 6to4, that one decides.
    """
    if isinstance(address, IPv4Address):
        if any(address in network for network in _NEVER):
            return False
        return private or not any(address in network for network in _INSIDE)
    inner = _inner(address)
    if inner is not None:
        return may_reach(inner, private=private)
    if address in _MULTICAST6 or address == IPv6Address("::"):
        return False
    return private or (address in _GLOBAL6 and not any(address in network for network in _NOT_GLOBAL6))


def is_in(address: Address, networks: Iterable[Network]) -> bool:
    """Say whether an address is in one of some networks. Of one that stands for one of IPv4, that one is, too."""
    inner = None if isinstance(address, IPv4Address) else _inner(address)
    return any(address in network or (inner is not None and inner in network) for network in networks)


def parse(text: str) -> Address:
    """Return an address as getaddrinfo(3) gives it: that of a link may have its name after `%`. Raises ValueError."""
    return ip_address(text.partition("%")[0])


def _inner(address: IPv6Address) -> IPv4Address | None:
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    number = int(address)
    if address in _NAT64:
        return IPv4Address(number & 0xFFFFFFFF)
    if address in _6TO4:
        return IPv4Address(number >> 80 & 0xFFFFFFFF)
    return None
