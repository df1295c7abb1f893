"""The audit log: all of it for who may `audit` the whole registry, a project's part for who may there."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import Field

from auth.grants import project_of
from registry.api.asked import MOST, After, Caller, Limit, after_number, page
from registry.api.models import Page, Shown
from registry.db import audit, jobs
from registry.db.audit import Filter
from registry.errors import ValueInvalid
from registry.moments import EXPECTED, moment_at, parse_moment
from registry.services import audit_chain
from registry.services.audit_lines import described, described_seal

router = APIRouter(prefix="/audit", tags=["audit"])

_EVERYTHING = 2**62
_MOST_PROBLEMS = 100

Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]


def _exactly(description: str) -> Any:
    return Query(max_length=512, pattern=r"^[^\x00-\x1f\x7f]*$", description=description)


Moment = Annotated[
    str | None, Query(min_length=1, max_length=40, pattern=r"^[0-9A-Za-z:.+ -]*$", description=f"{EXPECTED}.")
]


class Entry(Shown):
    """What was done, or refused. What happened again and again is one entry: `count`, and the time of the last."""

    id: int
    at: Time
    action: str
    outcome: str
    principal: str
    project: str
    repository: str
    address: str
    request_id: str
    count: int
    detail: Any


class Seal(Shown):
    """Proof of all entries up to the last: whoever keeps it elsewhere can say later that nothing before was changed."""

    last_id: int
    hash: str
    at: Time


class Verification(Shown):
    """Whether the log is as it was sealed. `forgotten`: entries that retention removed; `unsealed`: too new ones."""

    right: bool
    problems: list[str]
    entries: int
    seals: int
    forgotten: int
    unsealed: int
    seal: Seal | None


@router.get("")
async def list_entries(
    asked: Caller,
    response: Response,
    principal: Annotated[str, _exactly("Who did it.")] = "",
    project: Annotated[str, _exactly("In this project.")] = "",
    repository: Annotated[str, _exactly("In this repository.")] = "",
    action: Annotated[str, _exactly("What was done.")] = "",
    outcome: Annotated[str, _exactly("done, denied or failed.")] = "",
    since: Moment = None,
    until: Moment = None,
    limit: Limit = MOST,
    after: After = "",
) -> Page[Entry]:
    """List what was done, or refused, the newest first.

    Who may audit a project, and not the whole registry, says which project, and sees what was since it was made.
    """
    where = project or project_of(repository)
    await asked.be_able_to_audit(where or None)
    now = await jobs.clock(asked.api.database)
    first, end = _moment("since", since, now), _moment("until", until, now)
    if not (await asked.audits_everything()).allowed:
        first = max(first, (await asked.api.projects.find(where)).created_at)
    wanted = Filter(principal, where, repository, action, outcome, first, end)
    before = after_number(after) or _EVERYTHING
    found = await audit.page(asked.api.database, wanted, before=before, limit=limit + 1)
    entries = [Entry.model_validate(described(one)) for one in found]
    return page(asked, response, entries, limit, lambda one: str(one.id))


@router.get("/verification")
async def verify(
    asked: Caller,
    seal: Annotated[
        list[Annotated[str, Field(pattern="^[0-9]{1,18}:[0-9a-f]{64}$", max_length=100)]],
        Query(max_length=100, description="Seals that were kept elsewhere, as ENTRY:HASH."),
    ] = [],  # noqa: B006 - the framework copies it
) -> Verification:
    """Compare the whole log with its seals, and find what was changed, removed or put there. May take long."""
    await asked.be_able_to_audit(None)
    known = {int(number): bytes.fromhex(text) for number, _, text in (one.partition(":") for one in seal)}
    async with asked.alone("the audit log is verified"):
        found = await audit_chain.verify(asked.api.database, keep_s=asked.api.settings.audit.keep, known=known)
    problems = found.problems[:_MOST_PROBLEMS]
    if len(found.problems) > len(problems):
        problems.append(f"{len(found.problems) - len(problems)} more are wrong")
    return Verification(
        right=not problems,
        problems=problems,
        entries=found.entries,
        seals=found.seals,
        forgotten=found.forgotten,
        unsealed=found.unsealed,
        seal=None if found.head is None else Seal.model_validate(described_seal(found.head)["seal"]),
    )


def _moment(name: str, text: str | None, now: int) -> int:
    """Return a moment in microseconds since the epoch, 0 for none. Raises ValueInvalid."""
    if text is None:
        return 0
    try:
        return moment_at(parse_moment(text), now)
    except ValueError as error:
        raise ValueInvalid(f"{name}: {error}") from None
