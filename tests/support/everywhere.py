"""Connections to every worker of servers, and what each answers."""

from contextlib import ExitStack

from tests.support.people import asking
from tests.support.served import Answer, Connection
from tests.support.server import Server
from tests.support.workers import children, worker_of

CONNECTIONS = 12
"""So many reach both workers of a server."""


class Everywhere:
    """Clients that are kept open.

    Args:
        opened: closes them in the end.
        servers: whom they ask.
        who: a name and a password that they show.
        bearer: or a token.
        path: what they ask for.
    """

    def __init__(
        self,
        opened: ExitStack,
        servers: list[Server],
        who: tuple[str, str] | None = None,
        *,
        bearer: str | None = None,
        path: str = "/v2/",
    ) -> None:
        self._path = path
        self._clients = [
            opened.enter_context(asking(server, who, bearer=bearer)) for server in servers for _ in range(CONNECTIONS)
        ]

    @property
    def statuses(self) -> set[int]:
        """What they are answered now."""
        return {client.get(self._path).status_code for client in self._clients}


def of_each_worker(server: Server, target: str) -> list[Answer]:
    """What each worker of a server answers to GET. The kernel chooses who gets a connection: so they may be many."""
    workers = children(server.pid)
    answers: dict[int | None, Answer] = {}
    with ExitStack() as opened:
        for _ in range(200):
            connection = opened.enter_context(Connection(server.port))
            connection.ask(target)
            answer = connection.answer()
            answers[worker_of(connection.socket, workers)] = answer
            if answers.keys() == set(workers):
                return [*answers.values()]
    raise AssertionError(f"of the workers {workers} only {[*answers]} answer")
