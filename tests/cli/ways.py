"""The two ways in which commands work that ask the API: on the database here, and on a server elsewhere."""

import itertools
import json
from pathlib import Path
from typing import Any

from tests.cli.commands import printed, refused, stowage
from tests.support.databases import sql_on_file
from tests.support.people import ADMIN
from tests.support.server import Server

_numbers = itertools.count(1)


class Way:
    """Runs commands on one registry. Others may use it, too: let names be of `new`."""

    def __init__(self, data: Path, options: tuple[str, ...], settings: dict[str, str]) -> None:
        self.data = data
        self.options = options
        self.settings = settings

    def run(self, *arguments: str) -> str:
        """Run a command that must succeed, and return what it prints."""
        return printed(*arguments, *self.options, **self.settings)

    def read(self, *arguments: str) -> Any:
        """Return what it prints with --json."""
        return json.loads(self.run(*arguments, "--json"))

    def refuse(self, *arguments: str, status: int = 1) -> str:
        """Run one that must fail, and return what it says."""
        return refused(*arguments, *self.options, status=status, **self.settings)

    def done(self, *arguments: str) -> tuple[int, str, str]:
        """Run one, and return its status and what it says on both ways."""
        done = stowage(*arguments, *self.options, **self.settings)
        return done.returncode, done.stdout, done.stderr

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement on its database."""
        return sql_on_file(self.data / "stowage.sqlite3", statement)

    def new(self, word: str) -> str:
        """Return a name that nothing has yet."""
        return f"{word}{next(_numbers)}"


def here(data: Path) -> Way:
    return Way(data, ("--data", str(data)), {})


def elsewhere(server: Server) -> Way:
    url = f"http://{server.host}:{server.port}"
    return Way(server.data, (), {"STOWAGE_SERVER": url, "STOWAGE_LOGIN": ":".join(ADMIN)})
