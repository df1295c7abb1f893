"""How a check ended."""

from dataclasses import dataclass

from conformance.check import Check, Level, Outcome
from conformance.exchange import Exchange


@dataclass(frozen=True)
class Result:
    """How a check ended; all texts are fit to be shown.

    Attributes:
        message: why it did not pass, on one line; empty when it did.
        seconds: how long it took.
        found: what the registry did, when the check failed.
        expected: what it had to do, where the requirement alone does not say so.
        see: the name of the check that reports what is lacking, when this one is not applicable.
        note: what is to be said beside the outcome.
        exchanges: what was asked and answered, none when it passed.
        shown: the number in `exchanges` of the one that shows the failure.
    """

    check: Check
    outcome: Outcome
    message: str = ""
    seconds: float = 0.0
    found: str = ""
    expected: str = ""
    see: str = ""
    note: str = ""
    exchanges: tuple[Exchange, ...] = ()
    shown: int | None = None

    @property
    def finding(self) -> bool:
        """Whether the requirement is not met, however binding it is."""
        return self.outcome in (Outcome.FAIL, Outcome.LACKS)

    @property
    def violation(self) -> bool:
        """Whether this alone makes the registry not conforming: a MUST that failed."""
        return self.breaks(Level.MUST)

    def breaks(self, level: Level) -> bool:
        """Whether a requirement that is at least as binding as `level` is not met."""
        return self.finding and level.covers(self.check.level)
