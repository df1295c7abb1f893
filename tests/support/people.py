"""Users, projects, grants and tokens in the database of a running server, and requests in their name."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import bcrypt
import httpx
from argon2 import PasswordHasher

from auth import secret_tokens
from auth.grants import Grant
from auth.roles import EDITOR, VIEWER
from registry.db import authority, credentials, grants, projects, service_accounts, users
from registry.db.connection import Database, Reader, Transaction
from registry.db.credentials import Kind
from registry.db.postgresql import PostgresDatabase
from registry.db.sqlite import SqliteDatabase
from registry.services.revision import OLDEST_S
from tests.support import postgresql
from tests.support.server import Server, new_client

T = TypeVar("T")

ADMIN = ("admin", "a password of the admin's")
ALICE = ("alice", "a password of alice's")
"""May push to the project `test`."""
BOB = ("bob", "a password of bob's")
"""May pull from it."""
CAROL = ("carol", "a password of carol's")
"""May do nothing."""
PROJECT = "test"

SETTINGS = {"STOWAGE_AUTH__MODE": "users", "STOWAGE_ADMIN_PASSWORD": ADMIN[1]}
SECRET = {"STOWAGE_AUTH__SECRET": "a secret that is long enough for all tests"}
"""What servers need that are on PostgreSQL."""


_hashed = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash
"""As the product's, but quick: a hash says what it costs to compare with it, and most tests are not about that."""


class People:
    """Changes who may do what, beside a server that runs on the same database.

    Args:
        settle_s: how long servers on PostgreSQL may take to know of a change.
    """

    def __init__(self, server: Server, *, settle_s: float = OLDEST_S) -> None:
        self._server = server
        self._settle_s = settle_s
        url = server.backend().get("STOWAGE_DATABASE__URL", "")
        self._url = url if url.startswith("postgresql") else ""

    def write(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run a transaction that changes rights, and wait until every server knows: on SQLite they do at once."""

        async def changing(transaction: Transaction) -> T:
            done = await work(transaction)
            await authority.change(transaction)
            return done

        done = asyncio.run(self._with(lambda database: database.write(changing)))
        if self._url:
            time.sleep(self._settle_s)
        return done

    def read(self, work: Callable[[Reader], Awaitable[T]]) -> T:
        """Run queries."""
        return asyncio.run(self._with(work))

    async def _with(self, work: Callable[[Database], Awaitable[T]]) -> T:
        database: Database = (
            PostgresDatabase(postgresql.target_of(self._url))
            if self._url
            else SqliteDatabase(self._server.data / "stowage.sqlite3")
        )
        await database.start()
        try:
            return await work(database)
        finally:
            await database.stop()

    def populate(self) -> None:
        """Make the people and the project that this module names."""
        made = People(self._server, settle_s=0)
        made.add_project(PROJECT)
        for name, password in (ALICE, BOB, CAROL):
            made.add_user(name, password)
        made.grant(EDITOR, "user:alice")
        made.grant(VIEWER, "user:bob")
        time.sleep(self._settle_s if self._url else 0)

    def add_user(self, name: str, password: str, *, is_admin: bool = False) -> None:
        kept = _hashed(password)
        assert self.write(lambda tx: users.add(tx, name, password=kept, is_admin=is_admin))

    def set_password(self, name: str, password: str) -> None:
        kept = _hashed(password)

        async def work(transaction: Transaction) -> None:
            user = await users.find(transaction, name)
            assert user is not None
            await users.set_password(transaction, user.id, kept)

        self.write(work)

    def disable(self, name: str, *, again: bool = False) -> None:
        """Disable a user, or let it in again."""

        async def work(transaction: Transaction) -> None:
            user = await users.find(transaction, name)
            assert user is not None
            assert await (users.enable if again else users.disable)(transaction, user.id)

        self.write(work)

    def add_project(self, name: str) -> None:
        assert self.write(lambda tx: projects.add(tx, name, actor="user:admin"))

    def grant(self, role: str, subject: str, project: str = PROJECT) -> None:
        self._change_grant(grants.add, Grant(role, subject, project), project, actor="user:admin")

    def revoke(self, role: str, subject: str, project: str = PROJECT) -> None:
        self._change_grant(grants.remove, Grant(role, subject, project), project)

    def _change_grant(self, change: Callable[..., Awaitable[bool]], grant: Grant, project: str, **more: str) -> None:
        async def work(transaction: Transaction) -> bool:
            found = await projects.find(transaction, project)
            assert found is not None
            return await change(transaction, found.id, grant, **more)

        assert self.write(work)

    def service_account(self, name: str, role: str | None = EDITOR, project: str = PROJECT) -> None:
        """Make a service account that has a role in its project."""

        async def work(transaction: Transaction) -> bool:
            found = await projects.find(transaction, project)
            assert found is not None
            return await service_accounts.add(transaction, found.id, name, actor="user:admin")

        assert self.write(work)
        if role is not None:
            self.grant(role, f"serviceaccount:{project}/{name}", project)

    def token(
        self, owner: str, *, scope: str | None = None, seconds: float | None = None, project: str = PROJECT
    ) -> tuple[str, int]:
        """Make a token of a user's (`user:NAME`) or of a service account's (its name), and return it with its id.

        `seconds`: how long it is good for.
        """
        made = secret_tokens.make()
        ends_at = None if seconds is None else int((time.time() + seconds) * 1e6)

        async def work(transaction: Transaction) -> int:
            user = await users.find(transaction, owner.removeprefix("user:"))
            account = await service_accounts.find(transaction, project, owner)
            assert user is not None or account is not None
            row = await credentials.add(
                transaction,
                kind=Kind.TOKEN,
                digest=made.digest,
                hint=made.hint,
                name="made by a test",
                actor="user:admin",
                scope=scope,
                expires_at=ends_at,
                user_id=None if user is None else user.id,
                service_account_id=None if account is None else account.id,
            )
            return row.id

        return made.secret, self.write(work)

    def end_token(self, credential_id: int) -> None:
        """Let the time of a token be over."""
        self._server.sql(f"UPDATE credentials SET expires_at = created_at WHERE id = {credential_id}")

    def revoke_token(self, credential_id: int) -> None:
        assert self.write(lambda tx: credentials.revoke(tx, credential_id))


def asking(server: Server, who: tuple[str, str] | None = None, *, bearer: str | None = None) -> httpx.Client:
    """Return a client that shows a name and a password, or a token, with each request."""
    client = new_client(server)
    if who is not None:
        client.auth = httpx.BasicAuth(*who)
    if bearer is not None:
        client.headers["Authorization"] = f"Bearer {bearer}"
    return client


def challenge_of(answer: httpx.Response) -> tuple[str, dict[str, str]]:
    """Return the scheme of a challenge, and what it says."""
    scheme, _, rest = answer.headers["WWW-Authenticate"].partition(" ")
    return scheme, dict(re.findall(r'(\w+)="([^"]*)"', rest))


def token_for(client: httpx.Client, scope: str = "", **more: str) -> dict[str, Any]:
    """Ask the token server for a token with the client's credentials."""
    parameters: list[tuple[str, str | int | float | bool | None]] = [
        ("service", "stowage"),
        *(("scope", one) for one in scope.split()),
        *more.items(),
    ]
    answer = client.get("/token", params=parameters)
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


def bearer_of(server: Server, who: tuple[str, str] | None, scope: str = "") -> str:
    """Return a token for somebody."""
    with asking(server, who) as client:
        return str(token_for(client, scope)["token"])


def settings_for(backend: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of a server where people log in."""
    return {**SETTINGS, **SECRET, **backend}


def write_htpasswd(file: Path, people: Mapping[str, str], cost: int = 4) -> None:
    """Write a file as `htpasswd -B` does, in the place of one that is there."""
    lines = [
        f"{name}:{bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()}" for name, password in people.items()
    ]
    new = file.with_name(f"{file.name}.new")
    new.write_text("\n".join([*lines, ""]))
    new.replace(file)
