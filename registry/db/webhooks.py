"""Endpoints of webhooks: what was set, and how far each has come in the stream of events."""

from typing import NamedTuple

from sqlalchemy import BigInteger, LargeBinary, Text, and_, bindparam, cast, delete, func, literal, or_, select, update
from sqlalchemy.dialects import postgresql

from registry.db.connection import Reader, Transaction
from registry.db.projects import EVERYWHERE
from registry.db.statements import Statement, now, one_of, parameter
from registry.db.tables import event_stream, projects, webhooks


class Webhook(NamedTuple):
    """An endpoint. Times in microseconds since the epoch; `project` "" for the whole registry.

    `address`: scheme and host of its URL. `options`: JSON. `sealed`: what is secret, None for those of the settings.
    `missed`: how many events were dropped before it came to them. `paused_for`: why it is paused.
    """

    id: int
    project_id: int
    project: str
    name: str
    is_file: bool
    address: str
    format: str
    options: str
    sealed: bytes | None
    position: int
    missed: int
    paused_at: int | None
    paused_for: str
    absent_since: int | None
    created_at: int
    created_by: str
    revision: int


_T = webhooks
_COLUMNS = [projects.c.name if name == "project" else _T.c[name] for name in Webhook._fields]
_SELECT = select(*_COLUMNS).select_from(_T.outerjoin(projects, projects.c.id == _T.c.project_id))
_EVERY = Statement(_SELECT.order_by(_T.c.id))
_PRESENT = _SELECT.where(_T.c.project_id == parameter("project_id"), _T.c.absent_since.is_(None))
_PAGE = Statement(_PRESENT.where(_T.c.name > parameter("after")).order_by(_T.c.name).limit(parameter("most")))
_FIND = Statement(_PRESENT.where(_T.c.name == parameter("name")))
_COUNT = Statement(select(func.count()).where(_T.c.project_id == parameter("project_id"), _T.c.is_file == literal(0)))
_REVISIONS = Statement(select(_T.c.id, _T.c.revision).order_by(_T.c.id))
_ADD = Statement(
    postgresql.insert(_T)
    .from_select(
        [
            *("project_id", "is_file", "name", "address", "format", "options", "sealed", "position"),
            *("created_at", "created_by"),
        ],
        select(
            *(cast(parameter(name), BigInteger) for name in ("project_id", "is_file")),
            *(cast(parameter(name), Text) for name in ("name", "address", "format", "options")),
            bindparam("sealed", type_=LargeBinary()),
            event_stream.c.position,
            now(),
            cast(parameter("actor"), Text),
        ).where(event_stream.c.id == literal(1)),
    )
    .on_conflict_do_nothing()
)
_CHANGE = Statement(
    update(_T)
    .where(_T.c.id == parameter("webhook_id"))
    .values(
        is_file=parameter("is_file"),
        address=parameter("address"),
        format=parameter("format"),
        options=parameter("options"),
        sealed=parameter("sealed"),
        absent_since=None,
        revision=_T.c.revision + literal(1),
    )
)
_PAUSE = Statement(
    update(_T)
    .where(_T.c.id == parameter("webhook_id"), _T.c.paused_at.is_(None))
    .values(paused_at=now(), paused_for=parameter("why"), revision=_T.c.revision + literal(1))
)
_RESUME = Statement(
    update(_T)
    .where(_T.c.id == parameter("webhook_id"), _T.c.paused_at.is_not(None))
    .values(paused_at=None, paused_for=parameter("why"), revision=_T.c.revision + literal(1))
)
_TOUCH = Statement(update(_T).where(_T.c.id == parameter("webhook_id")).values(revision=_T.c.revision + literal(1)))
_ABSENT = Statement(
    update(_T)
    .where(_T.c.id == parameter("webhook_id"), _T.c.absent_since.is_(None))
    .values(absent_since=now(), revision=_T.c.revision + literal(1))
)
_REMOVE = Statement(delete(_T).where(_T.c.id == parameter("webhook_id")))
_REMOVE_OF_PROJECT = Statement(delete(_T).where(_T.c.project_id == parameter("project_id")))
_REMOVE_ABSENT = Statement(
    delete(_T).where(
        or_(
            _T.c.absent_since < now() - parameter("age"),
            and_(_T.c.project_id != literal(EVERYWHERE), _T.c.project_id.not_in(select(projects.c.id))),
        )
    )
)
_HOLD = Statement(
    select(_T.c.id).where(one_of(_T.c.id, "ids")).order_by(_T.c.id).with_for_update(read=True, key_share=True)
)
_ADVANCE = Statement(
    update(_T)
    .where(
        _T.c.id == parameter("webhook_id"), or_(_T.c.position < parameter("reached"), parameter("more") > literal(0))
    )
    .values(position=parameter("reached"), missed=_T.c.missed + parameter("more"))
)


async def every(reader: Reader) -> list[Webhook]:
    """Return all endpoints, those that are in the settings no more too."""
    return [_webhook(row) for row in await reader.all(_EVERY)]


async def page(reader: Reader, project_id: int, *, after: str, most: int) -> list[Webhook]:
    """Return up to `most` endpoints of a project, or EVERYWHERE, in the order of their names."""
    return [_webhook(row) for row in await reader.all(_PAGE, project_id=project_id, after=after, most=most)]


async def find(reader: Reader, project_id: int, name: str) -> Webhook | None:
    """Return an endpoint, None if there is none of that name."""
    row = await reader.first(_FIND, project_id=project_id, name=name)
    return None if row is None else _webhook(row)


async def count(reader: Reader, project_id: int) -> int:
    """Return how many endpoints a project has, without those of the settings."""
    row = await reader.first(_COUNT, project_id=project_id)
    return 0 if row is None else int(row[0])


async def revisions(reader: Reader) -> dict[int, int]:
    """Return what changes with whatever is set of each endpoint, by its id."""
    return {row[0]: row[1] for row in await reader.all(_REVISIONS)}


async def add(
    transaction: Transaction,
    *,
    project_id: int,
    name: str,
    is_file: bool,
    address: str,
    format: str,  # noqa: A002 - the column
    options: str,
    sealed: bytes | None,
    actor: str,
) -> bool:
    """Make an endpoint, which is told of what happens from now on. False: there is one of that name."""
    added = await transaction.run(
        _ADD,
        project_id=project_id,
        name=name,
        is_file=int(is_file),
        address=address,
        format=format,
        options=options,
        sealed=sealed,
        actor=actor,
    )
    return added == 1


async def change(
    transaction: Transaction,
    webhook_id: int,
    *,
    is_file: bool,
    address: str,
    format: str,  # noqa: A002 - the column
    options: str,
    sealed: bytes | None,
) -> None:
    """Set what an endpoint is."""
    await transaction.run(
        _CHANGE,
        webhook_id=webhook_id,
        is_file=int(is_file),
        address=address,
        format=format,
        options=options,
        sealed=sealed,
    )


async def pause(transaction: Transaction, webhook_id: int, why: str) -> bool:
    """Let an endpoint rest. False if it does, or is not there."""
    return await transaction.run(_PAUSE, webhook_id=webhook_id, why=why) == 1


async def resume(transaction: Transaction, webhook_id: int) -> bool:
    """Let an endpoint go on. False if it does, or is not there."""
    return await transaction.run(_RESUME, webhook_id=webhook_id, why="") == 1


async def touch(transaction: Transaction, webhook_id: int) -> None:
    """Have whoever delivers look at an endpoint again."""
    await transaction.run(_TOUCH, webhook_id=webhook_id)


async def set_absent(transaction: Transaction, webhook_id: int) -> None:
    """Note that an endpoint is not in the settings any more."""
    await transaction.run(_ABSENT, webhook_id=webhook_id)


async def remove(transaction: Transaction, webhook_id: int) -> bool:
    """Remove an endpoint with its deliveries. False if it is not there."""
    return await transaction.run(_REMOVE, webhook_id=webhook_id) == 1


async def remove_of_project(transaction: Transaction, project_id: int) -> int:
    """Remove a project's endpoints with their deliveries, and return how many they were."""
    return await transaction.run(_REMOVE_OF_PROJECT, project_id=project_id)


async def remove_absent(transaction: Transaction, *, age_s: int) -> int:
    """Remove endpoints that have not been in the settings for `age_s` seconds, and return how many they were.

    Those of a project that is not there too, of which there should be none.
    """
    return await transaction.run(_REMOVE_ABSENT, age=age_s * 1_000_000)


async def hold(transaction: Transaction, ids: list[int]) -> set[int]:
    """Return which of these endpoints are there, and stay until the transaction ends."""
    return {row[0] for row in await transaction.all(_HOLD, ids=transaction.encode_list(ids))}


async def advance(transaction: Transaction, webhook_id: int, *, position: int, missed: int) -> None:
    """Record how far an endpoint has come. `missed`: how many events more it never saw."""
    await transaction.run(_ADVANCE, webhook_id=webhook_id, reached=position, more=missed)


def _webhook(row: tuple[object, ...]) -> Webhook:
    found = Webhook(*row)  # type: ignore[arg-type]  # the columns, in this order
    sealed = None if found.sealed is None else bytes(found.sealed)
    return found._replace(project=found.project or "", is_file=bool(found.is_file), sealed=sealed)
