"""Addresses that the registry may be sent to."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from auth.addresses import may_reach, parse

INSIDE = [
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "198.18.0.1",
    "240.0.0.1",
    "::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1%eth0",
    "fec0::1",
    "2001:db8::1",
    "2001::1",
    "100::1",
    "64:ff9b:1::1",
]
NEVER = ["0.0.0.0", "0.1.2.3", "224.0.0.1", "255.255.255.255", "::", "ff02::1", "::ffff:0.0.0.0", "::ffff:224.0.0.1"]
OUTSIDE = ["1.1.1.1", "8.8.8.8", "93.184.216.34", "172.32.0.1", "2606:4700::1111", "2a00:1450:4001:80b::200e"]

v4: SearchStrategy[IPv4Address] = st.ip_addresses(v=4).map(lambda found: IPv4Address(int(found)))


@pytest.mark.parametrize("text", INSIDE)
def test_what_is_inside_is_reached_only_where_that_is_allowed(text: str) -> None:
    assert not may_reach(parse(text), private=False)
    assert may_reach(parse(text), private=True)


@pytest.mark.parametrize("text", NEVER)
def test_what_is_no_hosts_address_is_never_reached(text: str) -> None:
    assert not may_reach(parse(text), private=False)
    assert not may_reach(parse(text), private=True)


@pytest.mark.parametrize("text", OUTSIDE)
def test_the_internet_is_reached(text: str) -> None:
    assert may_reach(parse(text), private=False)


@given(address=v4, private=st.booleans())
def test_an_address_of_ipv4_counts_the_same_however_it_is_written(address: IPv4Address, private: bool) -> None:
    expected = may_reach(address, private=private)
    number = int(address)
    for disguise in (
        IPv6Address((0xFFFF << 32) | number),
        IPv6Address(int(IPv6Address("64:ff9b::")) | number),
        IPv6Address((0x2002 << 112) | (number << 80) | 1),
    ):
        assert may_reach(disguise, private=private) == expected, disguise


@given(address=st.ip_addresses())
def test_nothing_that_python_calls_private_is_reached(address: IPv4Address | IPv6Address) -> None:
    if may_reach(address, private=False):
        assert not address.is_private
        assert not address.is_loopback
        assert not address.is_link_local
        assert not address.is_multicast
        assert not address.is_unspecified


@given(address=st.ip_addresses(v=6))
def test_only_global_unicast_of_ipv6_is_reached(address: IPv6Address) -> None:
    if may_reach(address, private=False):
        assert address in IPv6Network("2000::/3") or address.ipv4_mapped or address in IPv6Network("64:ff9b::/96")


@given(address=st.ip_addresses())
def test_whoever_may_go_outside_only_may_go_there_with_the_setting_too(address: IPv4Address | IPv6Address) -> None:
    assert may_reach(address, private=True) or not may_reach(address, private=False)
