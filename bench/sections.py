"""What a part of the benchmark looks like to the command."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from bench.servers import Server

Figures: TypeAlias = dict[str, object]
"""What was measured under one name, as JSON takes it."""


@dataclass(frozen=True, slots=True)
class Setting:
    """How to measure: an empty folder for data, seconds of a round, which registries stand beside Stowage."""

    folder: Path
    seconds: float
    peers: tuple[type[Server], ...] = ()


class Section(ABC):
    """A part of the benchmark with a table of its own.

    Attributes:
        key: what its figures are called in the JSON file.
        names: what it measures, as `--only` selects it.
    """

    key: str
    names: tuple[str, ...]

    @abstractmethod
    def programs(self, peers: Sequence[type[Server]]) -> Sequence[type[Server]]:
        """Return which servers it runs, where `peers` are asked for."""

    @abstractmethod
    def measure(self, chosen: Sequence[str], setting: Setting) -> list[Figures]:
        """Measure those of `names` that are in `chosen`, print the table row by row, return the figures.

        Raises:
            MissingPeer, ServerFailed, UnexpectedAnswer: as in `bench.servers` and `bench.load`.
        """
