"""Principals: who a request speaks for."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody, by the name that grants, history and events use: `user:NAME`, `system:anonymous` and so on."""

    name: str


ANONYMOUS = Principal("system:anonymous")
"""Whoever shows no credentials."""
