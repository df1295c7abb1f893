"""Connections to every worker of every server, which all show the same."""

from contextlib import ExitStack

from tests.support.people import asking
from tests.support.server import Server

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
