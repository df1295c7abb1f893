"""What figures should be, and whether they are."""

from typing import NamedTuple


class Judgement(NamedTuple):
    """A figure beside its target. `text` is for the table."""

    text: str
    value: float
    met: bool


class Target(NamedTuple):
    """A bound of a figure.

    Attributes:
        bound: in `unit`, itself allowed.
        unit: written after the bound: `x`, ` s`, ` MiB`.
        at_most: the figure should not be above the bound; else it should not be below.
    """

    bound: float
    unit: str = "x"
    at_most: bool = False

    def judge(self, value: float, label: str = "") -> Judgement:
        """Compare. With a `label` the text names it and the value too, as no column shows them."""
        met = value <= self.bound if self.at_most else value >= self.bound
        named = f"{label} {value:.2f}{self.unit}, " if label else ""
        sign = "<=" if self.at_most else ">="
        return Judgement(f"{named}{sign} {self.bound:g}{self.unit} {'met' if met else 'missed'}", value, met)
