"""What it costs to know who asks: a token beside an open registry, and beside a password file; and logging in."""

import asyncio
import base64
import http.client
import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import bcrypt

from auth.passwords import hashed
from bench.comparison import compare
from bench.contents import ask, head
from bench.load import Load, Operation, Request, run
from bench.measure import percentile
from bench.report import Pair, figures, header, rate_ratio, row
from bench.scenarios import BlobGet4KiB, ManifestGet, Scenario
from bench.sections import Figures, Section, Setting
from bench.servers import PEERS, Distribution, Server, ServerFailed, Stowage
from bench.targets import Target
from registry.db import users
from registry.db.place import place_of
from registry.settings import Settings

_NAME = "admin"
_PASSWORD = "a-password-for-measuring"
_LOGINS = 50
_ROUNDS = 5
_PINGING = 4


def _basic(name: str) -> bytes:
    encoded = base64.b64encode(f"{name}:{_PASSWORD}".encode())
    return b"Authorization: Basic " + encoded + b"\r\n"


class StowageUsers(Stowage):
    """Stowage that asks who asks. Its clients show a token, as docker does."""

    def environment(self) -> dict[str, str]:
        """Return the environment, with users."""
        mode = {"STOWAGE_AUTH__MODE": "users", "STOWAGE_AUTH__CREATE_PROJECTS": "admins"}
        return super().environment() | mode | {"STOWAGE_ADMIN_PASSWORD": _PASSWORD}

    def start(self) -> None:
        """Start it, and get a token. Raises ServerFailed."""
        super().start()
        self.authorization = b"Authorization: Bearer " + self.token().encode() + b"\r\n"

    def token(self) -> str:
        """Get a token for what the scenarios push and pull. Raises ServerFailed."""
        scopes = "&".join(f"scope=repository:bench/{name}:pull,push" for name in ("image", "blobs"))
        field, value = _basic(_NAME).decode().strip().split(": ", 1)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", f"/token?service=stowage&{scopes}", headers={field: value})
            answer = connection.getresponse()
            if answer.status != 200:
                raise ServerFailed(f"{self.name} gives no token: {answer.status}")
            token: str = json.load(answer)["token"]
            return token
        finally:
            connection.close()


class DistributionHtpasswd(Distribution):
    """CNCF distribution v3 with a password file; its clients show the password with each request."""

    ready_path = "/"
    authorization = _basic(_NAME)

    def command(self) -> list[str]:
        """Return the command line. Raises MissingPeer."""
        command = super().command()
        passwords = self.folder / "htpasswd"
        passwords.write_text(f"{_NAME}:{bcrypt.hashpw(_PASSWORD.encode(), bcrypt.gensalt(5)).decode()}\n")
        with Path(command[-1]).open("a") as config:
            config.write(f"auth:\n  htpasswd:\n    realm: bench\n    path: {passwords}\n")
        return command


class _Manifest(ManifestGet):
    """A manifest by its tag."""

    name = "logged in: manifest GET by tag"


class _Blob4KiB(BlobGet4KiB):
    """A small blob."""

    name = "logged in: blob GET 4 KiB"


class LoggedIn(Section):
    """GETs of clients that are known: a token with each."""

    key = "logged in"
    scenarios: ClassVar[tuple[type[Scenario], ...]] = (_Manifest, _Blob4KiB)
    names = tuple(one.name for one in scenarios)
    least = Target(0.85)

    def programs(self, peers: Sequence[type[Server]]) -> Sequence[type[Server]]:
        """Return what is measured: distribution where it is asked for."""
        return [Stowage, *([Distribution] if Distribution in peers else [])]

    def measure(self, chosen: Sequence[str], setting: Setting) -> list[Figures]:
        """Measure, print and return the figures."""
        title = "With a token, beside an open Stowage, and distribution with a password file (bcrypt, cost 5)"
        print(header(title, "Stowage", "other"), flush=True)
        return [self._measure(one, setting) for one in self.scenarios if one.name in chosen]

    def _measure(self, scenario: type[Scenario], setting: Setting) -> Figures:
        kinds: dict[str, type[Server]] = {"users": StowageUsers, "open": Stowage}
        if PEERS["distribution"] in setting.peers:
            kinds["htpasswd"] = DistributionHtpasswd
        results = compare(scenario, kinds, setting)
        ours, label = results["users"], scenario.name.partition(": ")[2]
        judged = (self.least.judge(rate_ratio(ours, results["open"])),) if scenario is _Manifest else ()
        pairs = [Pair("  beside an open one", ours, results["open"], judged)]
        if "htpasswd" in results:
            pairs.append(Pair("  beside distribution", ours, results["htpasswd"]))
        print(label, *(row(scenario, pair) for pair in pairs), sep="\n", flush=True)
        return figures(scenario.name, scenario, results, pairs)


class LoggingIn(Section):
    """How long a ping takes while people log in, all at once: hashing must not hold up others."""

    key = "logging in"
    names = ("pings while 50 log in",)
    most = Target(20, " ms", at_most=True)

    def programs(self, peers: Sequence[type[Server]]) -> Sequence[type[Server]]:
        """Return Stowage."""
        return [Stowage]

    def measure(self, chosen: Sequence[str], setting: Setting) -> list[Figures]:
        """Measure, print and return the figures."""
        folder = setting.folder / "logging-in"
        server = StowageUsers(folder)
        try:
            server.start()
            _add_people(folder / "data")
            quiet = _ping(server, setting.seconds)
            rounds = [_round(server, number) for number in range(_ROUNDS)]
        finally:
            server.stop()
        taken = [time for pings, _ in rounds for time in pings]
        p99_ms, before_ms = (percentile(sorted(one), 0.99) * 1000 for one in (taken, quiet.taken))
        logins = sum(seconds for _, seconds in rounds) / _ROUNDS
        judged = self.most.judge(p99_ms)
        print(f"\nPings while {_LOGINS} people log in at once, each for the first time")
        print(f"p99 {p99_ms:,.1f} ms, {before_ms:,.1f} ms before; {_LOGINS} logins take {logins:,.1f} s  {judged.text}")
        return [
            {
                "name": self.names[0],
                "p99_ms": p99_ms,
                "p99_before_ms": before_ms,
                "seconds_of_logins": logins,
                "targets": [judged._asdict()],
            }
        ]


def _round(server: Server, number: int) -> tuple[list[float], float]:
    """Ping while fifty people log in. Return what each ping took, and all of the logins, in seconds."""
    logins: list[Load] = []
    thread = threading.Thread(
        target=lambda: logins.append(run(server.port, _logins(number), connections=_LOGINS)), daemon=True
    )
    thread.start()
    taken: list[float] = []
    while thread.is_alive():
        taken += _ping(server, 0.1).taken
    if not logins:
        raise ServerFailed("people could not log in")
    return taken, logins[0].elapsed


def _ping(server: Server, seconds: float) -> Load:
    ping = Request(head("GET", "/v2/"), 200)
    work: Iterator[Operation] = iter(lambda: ask(ping), None)
    return run(server.port, work, connections=_PINGING, seconds=seconds, authorization=server.authorization)


def _logins(number: int) -> Iterator[Operation]:
    """Yield a login of each of the people of a round: a password that was verified before would cost nothing."""
    for person in _people(number):
        start = head("GET", "/token?service=stowage")
        yield ask(Request(start.replace(b"\r\n", b"\r\n" + _basic(person), 1), 200))


def _people(number: int) -> list[str]:
    return [f"person-{number}-{each}" for each in range(_LOGINS)]


def _add_people(data: Path) -> None:
    """Write them into the database: all with one password, which is hashed once."""
    secret = hashed(_PASSWORD)

    async def add() -> None:
        database = place_of(Settings(data=data)).open()
        await database.start()
        try:
            for name in (person for number in range(_ROUNDS) for person in _people(number)):
                await database.write(lambda tx, name=name: users.add(tx, name, password=secret))  # type: ignore[misc]  # a lambda's default
        finally:
            await database.stop()

    asyncio.run(add())
