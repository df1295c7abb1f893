"""What is remembered of credentials, and what ends that."""

import base64
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import pytest

from auth.errors import SourceUnavailable, TokenInvalid, Unauthenticated
from auth.passwords import Passwords, hashed
from auth.sources import Identity
from auth.tokens import Claims
from registry.db import authority, credentials, users
from registry.db.connection import Database, Transaction
from registry.db.sqlite import SqliteDatabase
from registry.http.authentication import Authenticator
from registry.services.audit import Auditor
from registry.services.credentials import Credentials
from registry.services.local_source import LocalSource
from registry.services.logins import Logins
from registry.services.revision import Revision
from registry.services.subjects import Subjects, by_token
from registry.services.throttle import Throttle
from tests.support.databases import sql_on_file

pytestmark = pytest.mark.anyio

HERE = "192.0.2.1"
OLD, NEW = "an old password", "a new password"
JWT = ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (b'{"alg":"ES256"}', b"{}", b"x"))


class Tokens:
    """A verifier of one token: what it says, or why it does not count."""

    def __init__(self, found: Claims | Exception) -> None:
        self.found = found

    async def verify(self, token: str) -> Claims:
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


class Asked(LocalSource):
    """The users of the database, and a note of each time that a password is compared."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, Passwords())
        self.asked: list[str] = []

    async def check(self, name: str, password: str) -> Identity | Literal[False] | None:
        self.asked.append(password)
        return await super().check(name, password)


class Front:
    """An authenticator with all that it needs, and a user `alice`."""

    def __init__(self, database: Database, path: Path) -> None:
        self.database = database
        self.path = path
        self.source = Asked(database)
        self.bearer = Tokens(TokenInvalid("made up"))
        self.issued = Tokens(TokenInvalid("made up"))
        subjects = Subjects(database, {"local": self.source})
        throttle = Throttle(database, b"secret", attempts=100, window_s=900)
        auditor = Auditor(database, enabled=True)
        self.authenticator = Authenticator(
            database,
            Revision(database, polled=False),
            subjects,
            Logins(database, subjects, [self.source], throttle, auditor),
            bearer=self.bearer,
            used=lambda number: None,
            auditor=auditor,
            issued=self.issued,
        )

    async def set_password(self, password: str) -> None:
        kept = hashed(password)

        async def work(transaction: Transaction) -> None:
            await users.add(transaction, "alice", password=kept)
            user = await users.find(transaction, "alice")
            assert user is not None
            await users.set_password(transaction, user.id, kept)
            await authority.change(transaction)

        await self.database.write(work)

    def failures(self) -> set[int]:
        """How often somebody failed, by each way of counting."""
        rows = sql_on_file(self.path, "SELECT count FROM login_failures")
        return {int(count) for (count,) in rows}

    async def shows(self, password: str) -> bool:
        try:
            shown = await self.authenticator.login("alice", password, HERE)
        except Unauthenticated:
            return False
        assert shown.principal.name == "user:alice"
        return True


@pytest.fixture
async def front(new_data: Path, tmp_path: Path) -> AsyncIterator[Front]:
    path = Path(shutil.copy(new_data / "stowage.sqlite3", tmp_path / "db"))
    database = SqliteDatabase(path)
    await database.start()
    made = Front(database, path)
    await made.set_password(OLD)
    yield made
    await database.stop()


async def test_a_password_is_compared_once_and_again_when_it_was_changed(front: Front) -> None:
    assert [await front.shows(OLD) for _ in range(3)] == [True] * 3
    assert front.source.asked == [OLD]
    await front.set_password(NEW)
    assert not await front.shows(OLD)
    assert await front.shows(NEW)


async def test_a_password_that_was_changed_there_and_back_is_never_refused(front: Front) -> None:
    assert await front.shows(OLD)
    await front.set_password(NEW)
    await front.set_password(OLD)
    assert await front.shows(OLD)
    assert front.source.asked == [OLD, OLD]


async def test_a_wrong_password_is_remembered_until_it_may_be_right(front: Front) -> None:
    assert [await front.shows(NEW) for _ in range(3)] == [False] * 3
    assert front.source.asked == [NEW]
    await front.database.write(authority.change)
    assert not await front.shows(NEW)
    assert front.source.asked == [NEW, NEW]  # which is another guess
    assert front.failures() == {2}
    await front.set_password(NEW)
    assert await front.shows(NEW)


async def test_what_a_source_without_revisions_says_is_forgotten_when_it_changes(front: Front) -> None:
    assert not await front.shows(NEW)
    front.authenticator.forget()
    assert not await front.shows(NEW)
    assert front.source.asked == [NEW, NEW]


async def test_a_signed_token_is_nobodys_password(front: Front) -> None:
    """It would be shown to a directory, and a directory that is away would be asked for it again and again."""
    for _ in range(2):
        with pytest.raises(Unauthenticated) as refused:
            await front.authenticator.login("alice", JWT, HERE)
        assert refused.value.bearer
    front.issued.found = SourceUnavailable("the issuer is away")
    with pytest.raises(SourceUnavailable):
        await front.authenticator.login("alice", JWT, HERE)
    assert front.source.asked == []
    assert not await front.shows("eyJust.looks.so")
    assert front.source.asked == ["eyJust.looks.so"]


async def test_a_token_whose_credential_was_revoked_is_said_to_be_invalid(front: Front) -> None:
    user = await users.find(front.database, "alice")
    assert user is not None
    made = (await Credentials(front.database).make_personal(user, actor="user:alice")).credential
    front.bearer.found = Claims("user:alice", time.time() + 60, (), by_token(made.id))
    assert (await front.authenticator.look(b"Bearer x.y.z", HERE)).principal.credential == made.id

    async def revoke(transaction: Transaction) -> None:
        await credentials.revoke(transaction, made.id)
        await authority.change(transaction)

    await front.database.write(revoke)
    for _ in range(2):
        with pytest.raises(Unauthenticated) as refused:
            await front.authenticator.look(b"Bearer x.y.z", HERE)
        assert refused.value.bearer
