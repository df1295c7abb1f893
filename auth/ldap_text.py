"""How names are written in what a directory is asked, so that they are values and nothing else."""

import re
from collections.abc import Callable

from ldap3.core.exceptions import LDAPException
from ldap3.utils.dn import parse_dn

_HARMLESS = re.compile(rb"[A-Za-z0-9._@-]")


def filled(template: str, escape: Callable[[str], str], **values: str) -> str:
    """Return a template with what stands in braces replaced, once, by values as they must be written there."""
    return re.sub(r"\{(\w+)\}", lambda found: escape(values[found[1]]) if found[1] in values else found[0], template)


def escaped_filter(value: str) -> str:
    """Return a value as it is written in a filter (RFC 4515, section 3): all but harmless signs in hexadecimal."""
    return _escaped(value)


def escaped_dn(value: str) -> str:
    """Return a value as it is written in a DN (RFC 4514, section 2.4): all but harmless signs in hexadecimal."""
    return _escaped(value)


def first_component(dn: str) -> str:
    """Return the value of a DN's first component, "" if it has none: how a group is called that is named by DN."""
    try:
        components = parse_dn(dn)
    except LDAPException:
        return ""
    value = components[0][1].encode() if components else b""
    return re.sub(rb"\\(?:([0-9a-fA-F]{2})|(.))", _unescaped, value).decode("utf-8", "replace")


def _unescaped(found: re.Match[bytes]) -> bytes:
    return bytes.fromhex(found[1].decode()) if found[1] else found[2]


def _escaped(value: str) -> str:
    parts = (bytes([byte]) for byte in value.encode())
    return "".join(part.decode() if _HARMLESS.match(part) else f"\\{part[0]:02x}" for part in parts)
