"""What proxies say, and how little of it is believed."""

from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.http.proxies import ORIGIN, Hop, TrustedProxies, parse_address, parse_forwarded, parse_x_forwarded

pytestmark = pytest.mark.anyio

TRUSTED = [ip_network("10.0.0.0/8"), ip_network("fd00::/8"), ip_network("192.0.2.7")]
CLIENT = "203.0.113.9"


async def seen(headers: dict[str, str], peer: str | None = "10.0.0.1") -> tuple[str | None, str | None]:
    """The client's address and the origin that an application behind these proxies sees."""
    found: dict[str, Any] = {}

    async def application(scope: Any, receive: Any, send: Any) -> None:
        found.update(scope)

    async def unused(*_: Any) -> Any:
        raise AssertionError

    scope = {
        "type": "http",
        "client": None if peer is None else (peer, 4711),
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()],
    }
    await TrustedProxies(application, TRUSTED)(scope, unused, unused)
    return found["client"] and found["client"][0], found.get(ORIGIN)


@pytest.mark.parametrize(
    ("headers", "client", "origin"),
    [
        ({}, "10.0.0.1", None),
        ({"X-Forwarded-For": CLIENT}, CLIENT, None),
        ({"X-Forwarded-For": CLIENT, "X-Forwarded-Proto": "https"}, CLIENT, None),
        ({"X-Forwarded-Host": "a.example", "X-Forwarded-Proto": "https"}, "10.0.0.1", "https://a.example"),
        (
            {"X-Forwarded-For": CLIENT, "X-Forwarded-Host": "a.example:8443", "X-Forwarded-Proto": "HTTPS"},
            CLIENT,
            "https://a.example:8443",
        ),
        # The client's own lies stand to the left of what the proxy added.
        (
            {
                "X-Forwarded-For": f"10.9.9.9, 1.1.1.1, {CLIENT}",
                "X-Forwarded-Host": "evil.example, a.example",
                "X-Forwarded-Proto": "http,https",
            },
            CLIENT,
            "https://a.example",
        ),
        # Two proxies of ours: the outer one knows what the client asked for.
        (
            {
                "X-Forwarded-For": f"1.1.1.1, {CLIENT}, 10.2.0.1",
                "X-Forwarded-Host": "evil.example, a.example, inner.example",
                "X-Forwarded-Proto": "gopher, https, http",
            },
            CLIENT,
            "https://a.example",
        ),
        # The inner one handed host and scheme on as they were.
        (
            {"X-Forwarded-For": f"{CLIENT}, 10.2.0.1", "X-Forwarded-Host": "a.example", "X-Forwarded-Proto": "https"},
            CLIENT,
            "https://a.example",
        ),
        # All of them are ours.
        ({"X-Forwarded-For": "10.3.0.1, 10.2.0.1"}, "10.3.0.1", None),
        # Beyond a name that is no address nothing is known.
        ({"X-Forwarded-For": f"{CLIENT}, unknown, 10.2.0.1"}, "10.2.0.1", None),
        ({"X-Forwarded-For": "not an address"}, "10.0.0.1", None),
        ({"X-Forwarded-For": f"{CLIENT}:4711"}, CLIENT, None),
        ({"X-Forwarded-For": "[2001:db8::1]:4711"}, "2001:db8::1", None),
        ({"X-Forwarded-For": "2001:db8::1"}, "2001:db8::1", None),
        ({"X-Forwarded-For": "::ffff:10.2.0.1"}, "10.2.0.1", None),
        ({"X-Forwarded-For": ",".join(["1.1.1.1"] * 9999)}, "1.1.1.1", None),
        ({"Forwarded": f"for={CLIENT};proto=https;host=a.example"}, CLIENT, "https://a.example"),
        ({"Forwarded": f'For="{CLIENT}:80" ; x=y'}, "10.0.0.1", None),  # a blank where none may be
        ({"Forwarded": f'For="{CLIENT}:80";Proto=http;HOST="a.example:80"'}, CLIENT, "http://a.example:80"),
        ({"Forwarded": 'for="[2001:db8::1]:80"'}, "2001:db8::1", None),
        (
            {"Forwarded": f"for=1.1.1.1;host=evil.example;proto=http, for={CLIENT};host=a.example;proto=https"},
            CLIENT,
            "https://a.example",
        ),
        (
            {"Forwarded": f"for=1.1.1.1;host=e, for={CLIENT};host=a.example;proto=https, for=10.2.0.1;host=i"},
            CLIENT,
            "https://a.example",
        ),
        ({"Forwarded": "for=_hidden;host=a.example;proto=https"}, "10.0.0.1", "https://a.example"),
        ({"Forwarded": 'host="a.example\\"";proto=https'}, "10.0.0.1", None),
        ({"Forwarded": 'host="a.exa\\mple";proto=https'}, "10.0.0.1", "https://a.example"),
        ({"Forwarded": 'host="a.example;proto=https'}, "10.0.0.1", None),
        ({"Forwarded": "host=a.example;host=b.example;proto=https"}, "10.0.0.1", None),
        ({"Forwarded": "," * 5}, "10.0.0.1", None),
        ({"Forwarded": "for=1.1.1.1," * 999}, "10.0.0.1", None),
        # Both forms: a proxy knows one of them, and lets the client's lies in the other pass.
        (
            {"Forwarded": "for=1.1.1.1;host=evil.example;proto=https", "X-Forwarded-For": CLIENT},
            "10.0.0.1",
            None,
        ),
        (
            {
                "Forwarded": f"for={CLIENT};host=evil.example;proto=https",
                "X-Forwarded-For": CLIENT,
                "X-Forwarded-Proto": "https",
                "X-Forwarded-Host": "a.example",
            },
            CLIENT,
            None,
        ),
        (
            {
                "Forwarded": f"for={CLIENT};host=a.example;proto=https",
                "X-Forwarded-For": CLIENT,
                "X-Forwarded-Proto": "https",
                "X-Forwarded-Host": "a.example",
            },
            CLIENT,
            "https://a.example",
        ),
        ({"Forwarded": "nonsense", "X-Forwarded-For": CLIENT}, "10.0.0.1", None),
    ],
)
async def test_what_a_trusted_proxy_says(headers: dict[str, str], client: str, origin: str | None) -> None:
    assert await seen(headers) == (client, origin)


@pytest.mark.parametrize("peer", ["10.255.0.1", "::ffff:10.0.0.1", "fd00::1", "192.0.2.7"])
async def test_who_is_trusted(peer: str) -> None:
    assert await seen({"X-Forwarded-For": CLIENT}, peer) == (CLIENT, None)


@pytest.mark.parametrize("peer", ["11.0.0.1", "192.0.2.8", "::1", "::ffff:11.0.0.1", "", "unix", None])
@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded"])
async def test_who_is_not(peer: str | None, name: str) -> None:
    said = {name: CLIENT, "X-Forwarded-Host": "a.example", "X-Forwarded-Proto": "https"}
    assert await seen(said, peer) == (peer, None)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "a b",
        "a/b",
        "a@b",
        "a:b",
        "a:0",
        "a:65536",
        "a:",
        "-a",
        ".a",
        "[::1",
        "[1.2.3.4]",
        "[:::]",
        "a\r\nX: y",
        "é",
        "a" * 300,
        "a#",
        "a?",
        "a\\b",
        "a,b.",
        "'a'",
        "<a>",
    ],
)
async def test_a_host_that_is_none_is_ignored(host: str) -> None:
    quoted = host.replace("\\", "\\\\")
    assert (await seen({"Forwarded": f'for={CLIENT};proto=https;host="{quoted}"'}))[1] is None
    if "," not in host:
        assert (await seen({"X-Forwarded-Host": host, "X-Forwarded-Proto": "https"}))[1] is None


@pytest.mark.parametrize(
    "host", ["a", "A.example", "a_b.example.", "127.0.0.1:5000", "[::1]", "[2001:db8::1]:443", "a:65535"]
)
async def test_a_host_that_is_one(host: str) -> None:
    assert await seen({"X-Forwarded-Host": host, "X-Forwarded-Proto": "http"}) == ("10.0.0.1", f"http://{host}")


@pytest.mark.parametrize("proto", ["", "ftp", "javascript", "https:", "https://", "ws", "http s"])
async def test_a_scheme_that_is_neither_http_nor_https_is_ignored(proto: str) -> None:
    assert (await seen({"X-Forwarded-Host": "a.example", "X-Forwarded-Proto": proto}))[1] is None


@given(st.text(st.sampled_from('for=host;proto, "\\[]:.1aA_-\x00\xff\r\n'), max_size=200))
def test_any_text_can_be_read(text: str) -> None:
    names = (b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host")
    for hop in [*parse_forwarded(text), *parse_x_forwarded(dict.fromkeys(names, text))]:
        assert hop.proto in {None, "http", "https"}
        assert hop.host is None or not set(hop.host) & set(' ,;"\\\r\n\x00/@')


def test_the_order_of_hops() -> None:
    first, second = parse_forwarded("for=1.1.1.1;proto=http,for=2.2.2.2;host=b")
    assert first == Hop(parse_address("1.1.1.1"), "http", None)
    assert second == Hop(parse_address("2.2.2.2"), None, "b")
