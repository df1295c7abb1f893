"""The kinds of values that settings have, and what every section of the configuration is."""

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_settings import NoDecode

_UNITS_OF_TIME = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_UNITS_OF_SIZE = {"": 1, "b": 1, "kib": 1024, "mib": 1024**2, "gib": 1024**3, "kb": 1000, "mb": 1000**2, "gb": 1000**3}


def _seconds(value: object) -> object:
    match = re.fullmatch(r"(\d{1,9})\s*([smhdw])", value) if isinstance(value, str) else None
    if match:
        return int(match[1]) * _UNITS_OF_TIME[match[2]]
    if isinstance(value, str):
        raise ValueError("expected a duration like 90s, 15m, 24h, 14d or 4w")
    return value


def _bytes(value: object) -> object:
    match = re.fullmatch(r"(\d{1,15})\s*([a-zA-Z]*)", value) if isinstance(value, str) else None
    if match and match[2].lower() in _UNITS_OF_SIZE:
        return int(match[1]) * _UNITS_OF_SIZE[match[2].lower()]
    if isinstance(value, str):
        raise ValueError("expected a size like 4194304, 512KiB, 4MiB or 1GiB")
    return value


def _networks(value: object) -> object:
    given = value.split(",") if isinstance(value, str) else value
    if not isinstance(given, list | tuple):
        return value
    try:
        return tuple(ip_network(str(one).strip()) for one in given if str(one).strip())
    except ValueError as error:
        raise ValueError(f"expected addresses and networks like 127.0.0.1, 10.0.0.0/8: {error}") from None


_PASSWORD = re.compile(r"(://[^:/@\s]*):\S*@|((?:^|[?&])password=)[^&\s]+")
SECRET = "***"  # noqa: S105 - what stands in place of one


def masked(text: str) -> str:
    """Return a text that may be, or hold, a URL without the password in it."""
    return _PASSWORD.sub(lambda found: f"{found[1]}:{SECRET}@" if found[1] else f"{found[2]}{SECRET}", text)


Duration = Annotated[int, BeforeValidator(_seconds), Field(ge=1)]
"""Whole seconds, written `90s`, `15m`, `24h`, `14d`, `4w`."""

DurationOrNone = Annotated[int, BeforeValidator(_seconds), Field(ge=0)]
"""The same, and `0s` for none."""

Size = Annotated[int, BeforeValidator(_bytes), Field(ge=0)]
"""Bytes, written `4194304`, `512KiB`, `4MiB`."""

Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], BeforeValidator(_networks), NoDecode]
"""A list of addresses and networks, or one string of them with commas between."""


class Section(BaseModel):
    """A section: frozen, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")
