"""What `stowage check` found, as conditions like those of Kubernetes: `Available`, `Progressing`, `Degraded`."""

from dataclasses import dataclass

from registry.cli.diagnosis import Diagnosis
from registry.cli.maintenance import told
from registry.cli.problems import Problem
from registry.cli.running import Holder
from registry.db.migrate import REVISION


@dataclass(frozen=True, slots=True)
class Condition:
    """One of the three.

    Attributes:
        type: `Available`: a server answers. `Progressing`: the next start has something to do first. `Degraded`:
            something keeps it from starting or from serving.
        status: `True`, `False` or `Unknown`.
        reason: one word in CamelCase, which stays the same between versions.
        message: a sentence for people.
    """

    type: str
    status: str
    reason: str
    message: str


def conditions_of(diagnosis: Diagnosis) -> list[Condition]:
    """Return the three, in this order."""
    return [_available(diagnosis), _progressing(diagnosis), degraded(diagnosis.problems)]


def conditions_without_settings(problems: list[Problem]) -> list[Condition]:
    """Return the three where the configuration can't be used, so that nothing could be looked at."""
    why = "the configuration can't be used"
    return [
        Condition("Available", "Unknown", "ConfigurationInvalid", why),
        Condition("Progressing", "Unknown", "ConfigurationInvalid", why),
        degraded(problems),
    ]


def degraded(problems: list[Problem]) -> Condition:
    """Return the condition that sums the problems up: `True` if one of them is an error."""
    errors = [problem for problem in problems if problem.severity == "error"]
    reasons = {problem.reason for problem in errors}
    if errors:
        reason = reasons.pop() if len(reasons) == 1 else "SeveralProblems"
        return Condition("Degraded", "True", reason, "; ".join(problem.message for problem in errors))
    if problems:
        text = "; ".join(problem.message for problem in problems)
        return Condition("Degraded", "False", "Warnings", text)
    return Condition("Degraded", "False", "AsExpected", "nothing is wrong or missing")


def _available(diagnosis: Diagnosis) -> Condition:
    address = diagnosis.address
    if address.holder is Holder.UNKNOWN:
        return Condition("Available", "Unknown", "CannotAsk", address.message)
    if address.holder is not Holder.STOWAGE:
        reason = {Holder.NOBODY: "NotRunning", Holder.SILENT: "NotAnswering"}.get(address.holder, "AddressTaken")
        return Condition("Available", "False", reason, f"no Stowage listens on {address.text}")
    who = f"the server on {address.text}, instance {address.readiness['instance']},"
    if any(problem.reason == "OtherData" for problem in diagnosis.problems):
        return Condition("Available", "False", "OtherData", f"{who} serves other data")
    if address.readiness["ready"] is not True:
        return Condition("Available", "False", "NotReady", f"{who} answers, and is not ready")
    if diagnosis.database is not None and diagnosis.database.maintenance is not None:
        return Condition("Available", "True", "ReadOnly", f"{who} is ready; {told(diagnosis.database.maintenance)}")
    return Condition("Available", "True", "Ready", f"{who} is ready")


def _progressing(diagnosis: Diagnosis) -> Condition:
    found = diagnosis.database
    if found is None:
        return Condition("Progressing", "Unknown", "DatabaseUnreadable", "the database can't be read")
    if found.revision is None:
        return Condition("Progressing", "True", "FirstStart", "the first start makes the database")
    if found.is_older:
        text = f"the next start, or `stowage migrate`, brings the schema from {found.revision} to {REVISION}"
        return Condition("Progressing", "True", "SchemaBehind", text)
    return Condition("Progressing", "False", "AsConfigured", "nothing is left to be done")
