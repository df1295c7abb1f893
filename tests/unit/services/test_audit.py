"""The audit log on both databases: what is recorded, how it is found again, and what its seals show."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from registry.db import audit as rows
from registry.db.audit import Filter
from registry.db.connection import Database, Transaction
from registry.errors import Unavailable
from registry.jobs.audit import look_after_audit
from registry.jobs.runner import JobRunner
from registry.services import audit
from registry.services.audit import DENIED, DONE, Auditor, Origin
from registry.services.audit_chain import Verified, seal, verify
from registry.services.audit_lines import Lines
from tests.support.databases import Place
from tests.unit.services.collected import anybody

pytestmark = pytest.mark.anyio

HERE = Origin("192.0.2.1", "request-1")
KEEP_S = 3600
EVERYTHING = 2**62


async def fill(database: Database, count: int = 3, *, principal: str = "user:alice") -> None:
    """Record some pushes, and seal them as one batch."""

    async def work(transaction: Transaction) -> None:
        for number in range(count):
            await audit.record(
                transaction, "push", DONE, principal, repository=f"team/{number}", detail={"digest": f"sha256:{number}"}
            )

    await database.write(work)
    await seal(database, anybody, everything=True)


async def problems(database: Database, **known: bytes) -> str:
    found = await verify(database, keep_s=KEEP_S, known={int(name[1:]): one for name, one in known.items()})
    return "\n".join(found.problems)


async def listed(database: Database, **wanted: Any) -> list[str]:
    return [one.repository for one in await rows.page(database, Filter(**wanted), before=EVERYTHING, limit=100)]


async def test_an_entry_comes_with_its_transaction_or_not_at_all(database: Database) -> None:
    async def refused(transaction: Transaction) -> None:
        await audit.record(transaction, "push", DONE, "user:alice", repository="team/app")
        raise KeyError

    with pytest.raises(KeyError):
        await database.write(refused)
    assert await listed(database) == []
    await database.write(
        lambda tx: audit.record(
            tx,
            "tag",
            DONE,
            "user:alice",
            repository="team/app/web",
            address="::1",
            request_id="r",
            detail={"tag": "x", "size": 5},
        )
    )
    [entry] = await rows.page(database, Filter(), before=EVERYTHING, limit=100)
    assert (entry.action, entry.outcome, entry.principal, entry.count) == ("tag", "done", "user:alice", 1)
    assert (entry.project, entry.repository) == ("team", "team/app/web")
    assert (entry.address, entry.request_id) == ("::1", "r")
    assert json.loads(entry.detail) == {"tag": "x", "size": 5}


async def test_what_a_client_chose_is_taken_whatever_it_is(database: Database) -> None:
    name = "a\0b\ud800" + "x" * 5000
    await database.write(
        lambda tx: audit.record(tx, "login", "failed", name, detail={"name": name, "more": "y" * 100_000})
    )
    [entry] = await rows.page(database, Filter(), before=EVERYTHING, limit=100)
    assert entry.principal.startswith("a\\0b\\ud800xxx") and len(entry.principal) < 1000
    assert len(entry.detail) < 10_000
    json.loads(entry.detail)
    await seal(database, anybody, everything=True)
    assert await problems(database) == ""


async def test_entries_are_found_by_who_what_where_and_when(database: Database) -> None:
    for principal, action, repository in (
        ("user:alice", "push", "team/a"),
        ("user:alice", "delete", "team/b"),
        ("user:bob", "push", "team/c"),
        ("user:bob", "push", "other/d"),
    ):

        async def work(
            transaction: Transaction, principal: str = principal, action: str = action, repository: str = repository
        ) -> None:
            await audit.record(transaction, action, DONE, principal, repository=repository)

        await database.write(work)
    assert await listed(database) == ["other/d", "team/c", "team/b", "team/a"]
    assert await listed(database, principal="user:alice") == ["team/b", "team/a"]
    assert await listed(database, principal="user:bob", project="team") == ["team/c"]
    assert await listed(database, project="team", action="push") == ["team/c", "team/a"]
    assert await listed(database, repository="team/b") == ["team/b"]
    assert await listed(database, action="push", outcome="denied") == []
    [*_, third, oldest] = await rows.page(database, Filter(), before=EVERYTHING, limit=100)
    assert [one.repository for one in await rows.page(database, Filter(), before=third.id, limit=1)] == ["team/a"]
    newer = await rows.page(database, Filter(since=oldest.at + 1), before=EVERYTHING, limit=100)
    assert oldest not in newer
    assert await rows.page(database, Filter(until=oldest.at), before=EVERYTHING, limit=100) == []
    assert await rows.page(database, Filter(since=2**60), before=EVERYTHING, limit=100) == []


async def test_noise_is_one_entry_with_a_count(database: Database) -> None:
    auditor = Auditor(database, enabled=True)
    for number in range(1000):
        auditor.note("pull", DENIED, "system:anonymous", HERE, repository=f"team/{number % 9}")
    auditor.note("push", DENIED, "system:anonymous", HERE, repository="team/x", detail={"tag": "y"})
    auditor.note("pull", DENIED, "system:anonymous", Origin("192.0.2.2", "request-2"), repository="team/x")
    before = database.batches
    await auditor.flush()
    assert database.batches == before + 1
    found = await rows.page(database, Filter(), before=EVERYTHING, limit=100)
    assert [(one.action, one.address, one.count) for one in reversed(found)] == [
        ("pull", "192.0.2.1", 1000),
        ("push", "192.0.2.1", 1),
        ("pull", "192.0.2.2", 1),
    ]
    assert found[-1].repository == "" and found[-1].project == "team"
    assert json.loads(found[-1].detail) == {"repositories": [*(f"team/{one}" for one in range(5)), "..."]}
    assert (found[1].repository, json.loads(found[1].detail)) == ("team/x", {"tag": "y"})
    await auditor.flush()
    assert len(await rows.page(database, Filter(), before=EVERYTHING, limit=100)) == 3


async def test_noise_from_everywhere_is_bounded(database: Database) -> None:
    auditor = Auditor(database, enabled=True)
    for number in range(5000):
        auditor.note("pull", DENIED, "system:anonymous", Origin(f"2001:db8::{number:x}", ""), repository="team/x")
    await auditor.flush()
    found = await rows.page(database, Filter(), before=EVERYTHING, limit=2000)
    assert len(found) == 1001
    assert sum(one.count for one in found) == 5000
    assert max(found, key=lambda one: one.count).principal == "(others)"


async def test_what_goes_on_is_told_when_it_begins_and_then_once_an_hour(database: Database) -> None:
    now = [0.0]
    auditor = Auditor(database, enabled=True, clock=lambda: now[0])

    async def happens(times: int, way: str = "password", who: str = "user:alice") -> None:
        for _ in range(times):
            auditor.going_on("login", who, HERE, way)
        await auditor.flush()

    async def counts() -> list[tuple[str, str, int]]:
        found = await rows.page(database, Filter(), before=EVERYTHING, limit=100)
        return [(one.principal, json.loads(one.detail)["by"], one.count) for one in reversed(found)]

    await happens(2)
    begun = [("user:alice", "password", 2)]
    assert await counts() == begun
    for _ in range(3):
        now[0] += 1000
        await happens(1)
        assert await counts() == begun
    await happens(1, "token 7")
    begun.append(("user:alice", "token 7", 1))
    assert await counts() == begun
    now[0] += 600
    await auditor.flush()  # the hour is over
    begun.append(("user:alice", "password", 3))
    assert await counts() == begun
    await happens(4)
    assert await counts() == begun
    await auditor.stop()
    assert await counts() == [*begun, ("user:alice", "password", 4)]


async def test_noise_hides_nobody_who_logs_in(database: Database) -> None:
    auditor = Auditor(database, enabled=True)
    for number in range(2000):
        auditor.note("pull", DENIED, "system:anonymous", Origin(f"2001:db8::{number:x}", ""), repository="team/x")
    auditor.going_on("login", "user:eve", HERE, "password")
    await auditor.flush()
    assert len(await rows.page(database, Filter(principal="user:eve"), before=EVERYTHING, limit=2)) == 1


async def test_what_was_gathered_is_written_at_the_end_and_kept_while_the_database_is_away(database: Database) -> None:
    auditor = Auditor(database, enabled=True, pulls=1)
    auditor.start()
    auditor.pulled("user:alice", HERE, "team/app", "sha256:1")
    await database.stop()
    with pytest.raises(Unavailable):
        await auditor.flush()
    await database.start()
    auditor.pulled("user:alice", HERE, "team/app", "sha256:2")
    await auditor.stop()
    [entry] = await rows.page(database, Filter(), before=EVERYTHING, limit=100)
    assert (entry.action, entry.outcome, entry.repository, entry.count) == ("pull", "done", "team/app", 2)
    silent = Auditor(database, enabled=False, pulls=1)
    silent.pulled("user:alice", HERE, "team/app", "sha256:3")
    silent.note("push", DENIED, "user:alice", HERE)
    await silent.stop()
    assert len(await rows.page(database, Filter(), before=EVERYTHING, limit=100)) == 1


async def test_the_log_is_as_it_was_sealed(database: Database) -> None:
    assert await verify(database, keep_s=KEEP_S) == Verified()
    for count in (3, 1, 1200):
        await fill(database, count)
    await database.write(lambda tx: audit.record(tx, "push", DONE, "user:alice"))
    found = await verify(database, keep_s=KEEP_S)
    assert (found.problems, found.entries, found.seals, found.unsealed) == ([], 1204, 4, 1)
    head = await rows.last_seal(database)
    assert found.head == head and head is not None
    assert await problems(database, **{f"_{head.last_id}": head.hash}) == ""


async def test_what_is_new_waits_to_be_sealed_with_others(database: Database, place: Place) -> None:
    await database.write(lambda tx: audit.record(tx, "push", DONE, "user:alice"))
    assert await seal(database, anybody) is None
    place.sql("UPDATE audit_entries SET at = at - 70000000")
    assert await seal(database, anybody) is not None
    assert await seal(database, anybody) is None


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("UPDATE audit_entries SET principal = 'user:bob' WHERE id = 2", "entries 1 to 3 are not what was sealed"),
        ("UPDATE audit_entries SET at = at + 1 WHERE id = 5", "entries 4 to 6 are not what was sealed"),
        ("UPDATE audit_entries SET detail = '{}' WHERE id = 6", "entries 4 to 6 are not what was sealed"),
        ("UPDATE audit_entries SET count = 2 WHERE id = 3", "entries 1 to 3 are not what was sealed"),
        ("DELETE FROM audit_entries WHERE id = 5", "1 of the 3 entries 4 to 6 were removed"),
        ("DELETE FROM audit_entries WHERE id BETWEEN 4 AND 6", "3 of the 3 entries 4 to 6 were removed"),
        ("DELETE FROM audit_entries WHERE id <= 3", "entries 1 to 3 were removed, sooner than audit.keep says"),
        (
            "INSERT INTO audit_entries (id, at, action, outcome, principal, project, repository, address, request_id,"
            " detail) SELECT 0, at, action, outcome, principal, project, repository, address, request_id, detail"
            " FROM audit_entries WHERE id = 1; UPDATE audit_seals SET last_id = last_id WHERE last_id = 3",
            "",
        ),
        ("UPDATE audit_seals SET entries = 2 WHERE last_id = 6", "seal over the 2 entries 4 to 6 does not follow"),
        ("UPDATE audit_seals SET sealed_at = 1 WHERE last_id = 6", "seal over the 3 entries 4 to 6 does not follow"),
        ("DELETE FROM audit_seals WHERE last_id = 6", "does not follow from the one before"),
        ("DELETE FROM audit_seals WHERE last_id = 3", "does not follow from the one before"),
        ("DELETE FROM audit_seals WHERE last_id = 9", "no seal that ends with entry 9"),
        ("DELETE FROM audit_seals; DELETE FROM audit_entries", "no seal that ends with entry 9"),
    ],
)
async def test_whatever_is_done_to_it_is_found(database: Database, place: Place, damage: str, said: str) -> None:
    for _ in range(3):
        await fill(database)
    head = await rows.last_seal(database)
    assert head is not None and head.last_id == 9
    place.sql(damage)
    found = await problems(database, _9=head.hash)
    assert said in found
    assert bool(found) == bool(said)


async def test_an_entry_put_among_sealed_ones_is_found(database: Database, place: Place) -> None:
    await fill(database)
    place.sql("UPDATE audit_entries SET id = id + 10")
    place.sql("UPDATE audit_entries SET id = id - 10")
    await database.write(lambda tx: audit.record(tx, "push", DONE, "user:alice"))
    await database.write(lambda tx: audit.record(tx, "push", DONE, "user:alice"))
    place.sql("DELETE FROM audit_entries WHERE id = 4")  # ids have gaps, as after a push that came to nothing
    await seal(database, anybody, everything=True)
    assert await problems(database) == ""
    place.sql(
        "INSERT INTO audit_entries (id, at, action, outcome, principal, project, repository, address, request_id,"
        " count, detail) SELECT 4, at, action, outcome, principal, project, repository, address, request_id, count,"
        " detail FROM audit_entries WHERE id = 5"
    )
    assert "1 entries were put among the 1 entries 4 to 5" in await problems(database)


async def test_seals_that_were_made_anew_are_found_by_one_that_was_kept(database: Database, place: Place) -> None:
    await fill(database)
    head = await rows.last_seal(database)
    assert head is not None
    place.sql("DELETE FROM audit_seals")
    place.sql("UPDATE audit_entries SET principal = 'user:bob'")
    await seal(database, anybody, everything=True)
    assert await problems(database) == ""
    assert "it was made anew" in await problems(database, _3=head.hash)


async def test_what_is_old_is_forgotten_and_its_seals_stay(database: Database, place: Place) -> None:
    for _ in range(3):
        await fill(database)
    assert await database.write(lambda tx: rows.forget_batch(tx, age_s=KEEP_S)) == 0
    old = (KEEP_S + 10) * 1_000_000
    # As if the first two had been sealed long ago: made anew, since their times are sealed with them.
    place.sql(f"UPDATE audit_entries SET at = at - {old} WHERE id <= 6")
    place.sql("DELETE FROM audit_seals")
    await database.write(lambda tx: rows.forget_batch(tx, age_s=KEEP_S))
    await seal(database, anybody, everything=True)
    assert (
        await database.write(lambda tx: rows.forget_batch(tx, age_s=KEEP_S)) == 0
    )  # it is when it was sealed that counts
    assert await database.write(lambda tx: rows.forget_batch(tx, age_s=-10)) == 9
    await fill(database)
    found = await verify(database, keep_s=-10)
    assert (found.problems, found.forgotten, found.entries, found.seals) == ([], 9, 3, 2)


async def test_nothing_that_is_recorded_beside_a_seal_is_missed(database: Database) -> None:
    """A transaction that recorded something before others, and is committed after them, is in a seal like they."""

    async def recording(number: int) -> None:
        for _ in range(40):

            async def work(transaction: Transaction) -> None:
                await audit.record(transaction, "push", DONE, f"user:{number}")
                for _ in range(number):
                    await rows.cursor(transaction, "nothing")

            await database.write(work)

    tasks = [asyncio.create_task(recording(number)) for number in range(5)]
    while not all(task.done() for task in tasks):
        await seal(database, anybody, everything=True)
        await asyncio.sleep(0.002)
    await asyncio.gather(*tasks)
    await seal(database, anybody, everything=True)
    found = await verify(database, keep_s=KEEP_S)
    assert found.problems == [] and found.unsealed == 0 and found.seals > 2
    assert found.entries == len(await rows.batch(database, after=0, last=EVERYTHING, limit=10**6))


async def test_each_entry_is_a_line_of_the_file_once(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    lines = Lines(database, file=file, stdout=False)
    await fill(database, 3)
    assert await lines.write(anybody, await rows.last_seal(database)) == 3
    found = [json.loads(line) for line in file.read_text().splitlines()]
    assert [one.get("repository") for one in found] == ["team/0", "team/1", "team/2", None]
    head = await rows.last_seal(database)
    assert head is not None and found[-1]["seal"]["hash"] == head.hash.hex()
    assert found[0]["detail"] == {"digest": "sha256:0"} and found[0]["at"].endswith("Z")
    assert (file.stat().st_mode & 0o777) == 0o600
    file.rename(tmp_path / "old")  # as logrotate does
    await fill(database, 1)
    assert await Lines(database, file=file, stdout=False).write(anybody, None) == 1
    assert len(file.read_text().splitlines()) == 1
    with pytest.raises(OSError, match="none"):
        await fill(database, 1)
        await Lines(database, file=tmp_path / "none" / "x", stdout=False).write(anybody, None)
    assert await lines.write(anybody, None) == 1


async def test_lines_go_to_standard_output(database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    await fill(database, 2)
    assert await Lines(database, file=None, stdout=True).write(anybody, None) == 2
    assert len([json.loads(line) for line in capsys.readouterr().out.splitlines()]) == 2
    silent = Lines(database, file=None, stdout=False)
    assert not silent.are_wanted
    assert await silent.write(anybody, None) == 0


async def test_the_job_says_that_a_file_can_not_be_written_and_goes_on_when_it_can(
    database: Database, place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "not yet"
    lines = Lines(database, file=folder / "audit.jsonl", stdout=False)
    job = look_after_audit(database, lines, keep_s=KEEP_S, enabled=True)
    await database.write(lambda tx: audit.record(tx, "push", DONE, "user:alice"))
    place.sql("UPDATE audit_entries SET at = at - 70000000")
    await JobRunner(database, [job], owner="test").run_due()
    assert "audit.file" in caplog.text
    assert await problems(database) == ""
    folder.mkdir()
    place.sql("UPDATE jobs SET due_at = 0, lease_until = 0")
    await JobRunner(database, [job], owner="test").run_due()
    assert [json.loads(line)["principal"] for line in (folder / "audit.jsonl").read_text().splitlines()] == [
        "user:alice"
    ]
