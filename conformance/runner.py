"""Runs checks one after the other."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from conformance import (
    discovery,
    errors,
    management,
    pull,
    push,
    push_chunks,
    push_manifests,
    push_tags,
    referrers,
    subjects,
)
from conformance.check import Check, Level, Outcome, registered
from conformance.client import Client, ClientError
from conformance.expect import Failed, Lacking, NotApplicable
from conformance.progress import Progress
from conformance.result import Result
from conformance.trial import Names, Trial

MODULES = (
    pull,
    push,
    push_chunks,
    push_manifests,
    push_tags,
    subjects,
    discovery,
    referrers,
    management,
    errors,
)
"""Where the checks are: importing a module registers them."""

SILENT_CHECKS = 5
"""After so many checks in a row whose every request got no answer, the registry is taken for dead."""
LONGEST_TEXT = 2000
"""Characters of a message."""


def select(patterns: Sequence[str]) -> list[Check]:
    """The checks whose name matches one of the patterns; all of them when there is none.

    A pattern with `*`, `?` or `[` is compared with the whole name, another one is looked for in it.
    """
    checks = registered()
    if not patterns:
        return checks
    return [one for one in checks if any(_matches(one.name, pattern) for pattern in patterns)]


def run(checks: Iterable[Check], client: Client, names: Names, progress: Progress) -> list[Result]:
    """Run the checks in their order. When the registry answers no more, what is left fails without being tried."""
    everything = list(checks)
    results = []
    silent = 0
    for number, check in enumerate(everything, 1):
        progress.bar(number - 1, len(everything), check.name)
        if silent < SILENT_CHECKS:
            result = run_one(check, client, names)
            answered = any(one.status is not None for one in client.exchanges)
            silent = 0 if answered else silent + 1
        else:
            message = f"not tried: there was no answer in the {SILENT_CHECKS} checks before"
            result = Result(check, Outcome.FAIL, message, found=message)
        progress.result(result, number, len(everything))
        results.append(result)
    progress.passing("")
    return results


def run_one(check: Check, client: Client, names: Names) -> Result:
    """Run one check in repositories of its own."""
    client.forget()
    begun = time.monotonic()
    trial = Trial(client, names, check.name.rpartition("/")[2])
    result = replace(_try(check, trial), seconds=time.monotonic() - begun, note=trial.note)
    return replace(
        result,
        message=client.secrets.line(result.message, LONGEST_TEXT),
        found=client.secrets.line(result.found, LONGEST_TEXT),
        expected=client.secrets.line(result.expected, LONGEST_TEXT),
        exchanges=() if result.outcome is Outcome.PASS else tuple(client.exchanges),
    )


def _try(check: Check, trial: Trial) -> Result:
    try:
        check.function(trial)
    except NotApplicable as nothing:
        return Result(check, Outcome.NOT_APPLICABLE, str(nothing), see=nothing.see)
    except Lacking as declined:
        # What binds more than MAY can't be left out.
        outcome = Outcome.LACKS if check.level is Level.MAY else Outcome.FAIL
        return Result(check, outcome, str(declined), found=str(declined))
    except Failed as failure:
        return Result(
            check,
            Outcome.FAIL,
            str(failure),
            found=failure.found,
            expected=failure.expected,
            shown=failure.exchange,
        )
    except ClientError as failure:
        return Result(check, Outcome.FAIL, str(failure), found=str(failure))
    except Exception as error:  # noqa: BLE001 # an answer that nobody thought of is the registry's failure, not the end
        message = f"an answer that could not be understood: {type(error).__name__}: {error}"
        return Result(check, Outcome.FAIL, message, found=message)
    return Result(check, Outcome.PASS)


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) if any(one in pattern for one in "*?[") else pattern in name
