"""Where the value of each setting comes from, for people and programs that want to know."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr

from registry.setting_types import SECRET, masked
from registry.settings import ENVIRONMENT_PREFIX, Layers, Settings


@dataclass(frozen=True, slots=True)
class Origin:
    """A setting, its value as JSON knows it, and where that comes from.

    Attributes:
        name: like `http.port`.
        value: a secret is `***`; durations are seconds, sizes bytes.
        source: `commandLine`, `environment`, `file` or `default`.
        place: the option, the variable or the file; empty for a default.
    """

    name: str
    value: Any
    source: str
    place: str


def origins(settings: Settings, layers: Layers) -> list[Origin]:
    """Return every setting, in the order of the documentation."""
    return [Origin(".".join(path), shown(value), *_source(path, layers)) for path, value in _leaves(settings, ())]


def shown(value: Any) -> Any:
    """Return a setting's value as JSON knows it, without what is secret."""
    if isinstance(value, SecretStr):
        return SECRET
    if isinstance(value, Path | IPv4Network | IPv6Network | str):
        return masked(str(value))
    if isinstance(value, Mapping):
        return {key: shown(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [shown(one) for one in value]
    if isinstance(value, BaseModel):  # one of a list: what is said of it
        return {
            name: shown(getattr(value, name)) for name in type(value).model_fields if name in value.model_fields_set
        }
    return value


def _leaves(section: BaseModel, above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from _leaves(value, (*above, name))
        else:
            yield (*above, name), value


def _source(path: tuple[str, ...], layers: Layers) -> tuple[str, str]:
    if layers.holds(layers.command_line, path):
        return "commandLine", f"--{path[-1].replace('_', '-')}"
    if layers.holds(layers.environment, path):
        return "environment", ENVIRONMENT_PREFIX + "__".join(path).upper()
    if layers.holds(layers.file, path):
        return "file", str(layers.path)
    return "default", ""
