"""Runs checks one after the other and tells how far it is."""

import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TextIO

from conformance import discovery, errors, management, pull, push, push_chunks, push_manifests, referrers
from conformance.check import Check, Level, Outcome, registered
from conformance.client import Client, ClientError
from conformance.expect import Failed, Unsupported
from conformance.trial import Names, Trial

MODULES = (pull, push, push_chunks, push_manifests, discovery, referrers, management, errors)
"""Where the checks are: importing a module registers them."""


@dataclass(frozen=True)
class Result:
    """How a check ended.

    Attributes:
        message: why it failed or is unsupported; empty when it passed.
        exchanges: the requests that were made with their status, one a line; fit to be shown.
        seconds: how long it took.
    """

    check: Check
    outcome: Outcome
    message: str
    exchanges: tuple[str, ...]
    seconds: float

    @property
    def violation(self) -> bool:
        """Whether this alone makes the registry not conforming: a MUST that failed."""
        return self.outcome is Outcome.FAIL and self.check.level is Level.MUST


class Progress:
    """Tells what happens: on a terminal one line that changes and the failures, elsewhere a line each."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._terminal = self._stream.isatty()

    def line(self, text: str = "") -> None:
        """A line that stays."""
        self._stream.write(f"\r\x1b[K{text}\n" if self._terminal else f"{text}\n")
        self._stream.flush()

    def passing(self, text: str, plain: str = "") -> None:
        """What is being done; on a terminal the next line replaces it, elsewhere only `plain` is shown, if given."""
        if self._terminal:
            self._stream.write(f"\r\x1b[K{text[:100]}")
            self._stream.flush()
        elif plain:
            self.line(plain)

    def result(self, result: Result, number: int, total: int) -> None:
        """A check that has ended."""
        text = describe(result)
        if self._terminal and result.outcome is not Outcome.FAIL:
            self.passing(f"[{number}/{total}] {text}")
        else:
            self.line(text)


def describe(result: Result) -> str:
    """The result on one line."""
    check = result.check
    words = f"{result.outcome.value.upper():<11} {check.level.value:<6} {check.name}"
    return f"{words}: {result.message}" if result.message else words


def select(patterns: Sequence[str]) -> list[Check]:
    """The checks whose name matches one of the patterns; all of them when there is none.

    A pattern with `*`, `?` or `[` is compared with the whole name, another one is looked for in it.
    """
    checks = registered()
    if not patterns:
        return checks
    return [one for one in checks if any(_matches(one.name, pattern) for pattern in patterns)]


def run(checks: Iterable[Check], client: Client, names: Names, progress: Progress) -> list[Result]:
    """Run the checks in their order."""
    everything = list(checks)
    results = []
    for number, check in enumerate(everything, 1):
        progress.passing(f"[{number}/{len(everything)}] {check.name}")
        result = run_one(check, client, names)
        progress.result(result, number, len(everything))
        results.append(result)
    progress.passing("")
    return results


def run_one(check: Check, client: Client, names: Names) -> Result:
    """Run one check in repositories of its own."""
    client.forget()
    begun = time.monotonic()
    outcome, message = _try(check, Trial(client, names, check.name.rpartition("/")[2]))
    return Result(
        check, outcome, clean(message), tuple(clean(one) for one in client.exchanges), time.monotonic() - begun
    )


def clean(text: str) -> str:
    """Text that XML and YAML can hold: what a registry sent may hold control characters."""
    return "".join(one if one.isprintable() or one in "\n\t" else "\ufffd" for one in text)


def _try(check: Check, trial: Trial) -> tuple[Outcome, str]:
    try:
        check.function(trial)
    except Unsupported as declined:
        return Outcome.UNSUPPORTED, str(declined)
    except (Failed, ClientError) as failure:
        return Outcome.FAIL, str(failure)
    except Exception as error:  # noqa: BLE001 # an answer that nobody thought of is the registry's failure, not the end
        return Outcome.FAIL, f"an answer that could not be understood: {type(error).__name__}: {error}"
    return Outcome.PASS, ""


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) if any(one in pattern for one in "*?[") else pattern in name
