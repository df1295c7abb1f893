"""Logging in: which source decides, who is remembered, and who is somebody else."""

import asyncio
from pathlib import Path
from typing import Literal

import pytest

from auth.errors import SourceUnavailable, TooManyAttempts, Unauthenticated
from auth.htpasswd import Htpasswd
from auth.passwords import Passwords, hashed
from auth.principal import Principal
from auth.sources import Identity, PasswordSource
from registry.db import audit as audited
from registry.db import authority, users
from registry.db.audit import Filter
from registry.db.connection import Database
from registry.services.audit import Auditor
from registry.services.first_admin import FILE, provide_admin
from registry.services.local_source import LocalSource
from registry.services.logins import Logins
from registry.services.subjects import Subjects
from registry.services.throttle import Throttle
from tests.support.databases import Place
from tests.support.people import write_htpasswd

pytestmark = pytest.mark.anyio

HERE = "192.0.2.1"


class Directory:
    """A source of the test's own, as a directory is one: it knows groups, and keeps its passwords to itself."""

    name = "directory"

    def __init__(self, *groups: str, subject: str | None = None) -> None:
        self.groups = frozenset(groups)
        self.subject = subject
        self.asked: list[str] = []
        self.is_there = True

    async def check(self, name: str, password: str) -> Identity | Literal[False] | None:
        self.asked.append(name)
        if not self.is_there:
            raise SourceUnavailable("the directory does not answer")
        if name not in {"ann", "ann2"}:
            return None
        return Identity(name, self.groups, self.name, self.subject) if password == "of the directory" else False

    async def proof(self, name: str) -> str | None:
        return ""


@pytest.fixture
def passwords() -> Passwords:
    return Passwords()


def logins(database: Database, passwords: Passwords, *more: PasswordSource, auditor: Auditor | None = None) -> Logins:
    sources = [LocalSource(database, passwords), *more]
    subjects = Subjects(database, {source.name: source for source in sources}, ["ben"])
    throttle = Throttle(database, b"secret", attempts=100, window_s=900)
    return Logins(database, subjects, sources, throttle, auditor or Auditor(database, enabled=False))


async def enter(asked: Logins, name: str, password: str) -> Principal | None:
    try:
        return await asked.password(name, password, HERE)
    except Unauthenticated:
        return None


async def add(database: Database, name: str, *, password: str) -> None:
    assert await database.write(lambda tx: users.add(tx, name, password=password))


async def test_the_first_source_that_knows_a_name_decides_and_costs_the_same(
    database: Database, passwords: Passwords, tmp_path: Path
) -> None:
    await add(database, "ann", password=hashed("of the database"))
    directory = Directory()
    asked = logins(database, passwords, directory)
    found = await enter(asked, "ann", "of the database")
    assert found is not None and found.name == "user:ann"
    assert directory.asked == []
    assert await enter(asked, "ann", "of the directory") is None
    assert len(directory.asked) == 1 and directory.asked != ["ann"]  # asked for somebody that nobody is


async def test_who_comes_from_elsewhere_is_remembered_with_their_groups(
    database: Database, passwords: Passwords
) -> None:
    directory = Directory("staff", "admins")
    asked = logins(database, passwords, directory)
    before = await authority.revision(database)
    found = await enter(asked, "ann", "of the directory")
    assert found is not None
    assert found.groups == {"staff", "admins"}
    assert not found.is_admin
    made = await authority.revision(database)
    assert made > before
    assert await enter(asked, "ann", "of the directory") == found
    assert await authority.revision(database) == made  # to log in again changes no right
    user = await users.find(database, "ann")
    assert user is not None and user.seen_at is not None
    await database.write(lambda tx: users.join(tx, user.id, "friends"))
    directory.groups = frozenset({"staff"})
    found = await enter(asked, "ann", "of the directory")
    assert found is not None and found.groups == {"staff", "friends"}  # what was said here stays
    assert await authority.revision(database) > made


async def test_a_name_is_never_somebody_elses(database: Database, passwords: Passwords, tmp_path: Path) -> None:
    write_htpasswd(tmp_path / "htpasswd", {"ann": "of the file"})
    file = Htpasswd(tmp_path / "htpasswd", passwords)
    assert await enter(logins(database, passwords, file), "ann", "of the file") is not None
    assert await enter(logins(database, passwords, Directory()), "ann", "of the directory") is None
    assert await enter(logins(database, passwords, file), "ann", "of the file") is not None


async def test_who_is_called_otherwise_by_now_is_the_same(database: Database, passwords: Passwords) -> None:
    asked = logins(database, passwords, Directory(subject="uuid-1"))
    for name in ("ann", "ann2"):
        found = await enter(asked, name, "of the directory")
        assert found is not None and found.name == "user:ann"
    other = logins(database, passwords, Directory(subject="uuid-2"))
    assert await enter(other, "ann", "of the directory") is None


async def test_a_source_that_does_not_answer_is_no_refusal(database: Database, passwords: Passwords) -> None:
    await add(database, "ben", password=hashed("of the database"))
    directory = Directory()
    directory.is_there = False
    asked = logins(database, passwords, directory)
    with pytest.raises(SourceUnavailable):
        await enter(asked, "ann", "of the directory")
    found = await enter(asked, "ben", "of the database")
    assert found is not None and found.is_admin


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a/b", "-a", "\u00e4", "a\n", "x" * 256])
async def test_nobody_can_be_called_so(database: Database, passwords: Passwords, name: str) -> None:
    directory = Directory()
    assert await enter(logins(database, passwords, directory), name, "of the directory") is None
    assert directory.asked == []


async def test_one_of_two_replicas_makes_the_first_admin(database: Database, tmp_path: Path) -> None:
    first = await provide_admin(database, tmp_path / "one", "", hashed)
    assert first == tmp_path / "one" / FILE
    assert await provide_admin(database, tmp_path / "one", "", hashed) is None
    assert await provide_admin(database, tmp_path / "two", "given", hashed) is None
    assert not (tmp_path / "two").exists()
    assert [file.name for file in (tmp_path / "one").iterdir()] == [FILE]
    user = await users.find(database, "admin")
    assert user is not None and user.is_admin


async def told(database: Database) -> list[tuple[str, str, str, int]]:
    """What the audit log says: action, outcome, principal, count; in the order of the entries."""
    found = await audited.page(database, Filter(), before=2**62, limit=100)
    return [(one.action, one.outcome, one.principal, one.count) for one in reversed(found)]


async def test_failed_logins_are_told_of_those_who_are_somebody(
    database: Database, passwords: Passwords, tmp_path: Path
) -> None:
    await add(database, "ben", password=hashed("of the database"))
    write_htpasswd(tmp_path / "htpasswd", {"eve": "of the file"})
    auditor = Auditor(database, enabled=True)
    asked = logins(database, passwords, Htpasswd(tmp_path / "htpasswd", passwords), auditor=auditor)
    for name in ("ben", "ben", "eve", "a-password-in-the-wrong-place", "nobody"):
        assert await enter(asked, name, "wrong") is None
    await auditor.flush()
    assert await told(database) == [
        ("login", "failed", "user:ben", 2),
        ("login", "failed", "user:eve", 1),
        ("login", "failed", "system:anonymous", 2),
    ]
    found = await audited.page(database, Filter(), before=2**62, limit=100)
    assert {one.address for one in found} == {HERE}
    assert not [one for one in found if "wrong" in one.detail or "password-in" in f"{one.principal}{one.detail}"]


async def test_who_is_made_and_moved_by_a_directory_is_told(database: Database, passwords: Passwords) -> None:
    directory = Directory("Domain Users", "admins", " no name", "x" * 300)
    asked = logins(database, passwords, directory)
    for groups in ({"Domain Users", "admins", " no name"}, {"Domain Users"}, {"Domain Users"}):
        directory.groups = frozenset(groups)
        found = await enter(asked, "ann", "of the directory")
        assert found is not None and found.groups == groups - {" no name"}
        assert "group:Domain Users" in found.subjects
    assert await told(database) == [
        ("user.add", "done", "user:ann", 1),
        ("user.groups", "done", "user:ann", 1),
        ("user.groups", "done", "user:ann", 1),
    ]


async def test_a_wrong_password_counts_though_a_later_source_can_not_be_asked(
    database: Database, place: Place, passwords: Passwords
) -> None:
    await add(database, "ben", password=hashed("of the database"))
    directory = Directory()
    directory.is_there = False
    asked = logins(database, passwords, directory)
    for _ in range(2):
        with pytest.raises(SourceUnavailable):
            await enter(asked, "ben", "guessed")
    assert set(place.sql("SELECT count FROM login_failures")) == {("2",)}


async def test_guesses_at_an_account_wait_for_each_other_however_its_name_is_written(
    database: Database, passwords: Passwords
) -> None:
    """A directory takes Ann for ann: side by side, each way to write a name would have a guess for nothing."""

    class Slow(Directory):
        busy = most = 0

        async def check(self, name: str, password: str) -> Identity | Literal[False] | None:
            self.busy += 1
            self.most = max(self.most, self.busy)
            await asyncio.sleep(0)
            self.busy -= 1
            return False

    directory = Slow()
    subjects = Subjects(database, {}, [])
    throttle = Throttle(database, b"secret", attempts=3, window_s=900)
    asked = Logins(database, subjects, [directory], throttle, Auditor(database, enabled=False))
    names = ["ann", "Ann", "aNn", "anN", "ANn", "AnN", "aNN", "ANN"]
    ended = await asyncio.gather(*(enter(asked, name, "guessed") for name in names), return_exceptions=True)
    assert directory.most == 1
    assert len([one for one in ended if isinstance(one, TooManyAttempts)]) == len(names) - 3
