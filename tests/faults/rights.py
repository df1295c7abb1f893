"""Somebody who gives and takes rights and tokens until a crash, and what is there of it afterwards."""

import random
import threading

import httpx

from tests.faults.ledger import THERE, Key, Ledger
from tests.faults.writers import expect
from tests.support.people import ADMIN, asking
from tests.support.server import Server

GRANT, TOKEN = "grant", "token"
_PATTERNS = 12


class Rights(threading.Thread):
    """Gives and takes, over the API, in one project, until the server is gone.

    Args:
        server: whose.
        project: where; its service account `builder` gets the tokens.
        ledger: of these rights alone.
        tokens: the secrets that were handed out, by their ids, of this one and of those before.
        seed: what its choices follow from.

    Attributes:
        failure: what went wrong, other than the server's end.
    """

    def __init__(
        self,
        server: Server,
        project: str,
        ledger: Ledger,
        tokens: dict[int, str],
        seed: str,
    ) -> None:
        super().__init__(name="rights", daemon=True)
        self.failure: BaseException | None = None
        self._server = server
        self._project = project
        self._ledger = ledger
        self._tokens = tokens
        self._random = random.Random(seed)

    def run(self) -> None:
        """Give and take."""
        doings = [self._give, self._give, self._take, self._make_token, self._make_token, self._end_token]
        try:
            with asking(self._server, ADMIN) as client:
                while True:
                    self._random.choice(doings)(client)
        except httpx.TransportError:
            return  # the crash
        except BaseException as error:  # noqa: BLE001 - handed to the test, which raises it
            self.failure = error

    def _give(self, client: httpx.Client) -> None:
        pattern = f"{self._project}/part-{self._random.randrange(_PATTERNS)}/**"
        with self._ledger.change({Key(GRANT, self._project, pattern): THERE}):
            new = {"role": "registry-viewer", "subject": "user:bob", "repositories": pattern}
            expect(client.post(f"/api/v1/projects/{self._project}/grants", json=new), 200, 201)

    def _take(self, client: httpx.Client) -> None:
        there = list(self._ledger.known(self._project, GRANT))
        if there:
            key = self._random.choice(there)
            ids = {one["repositories"]: one["id"] for one in grants(client, self._project)}
            with self._ledger.change({key: None}):
                expect(client.delete(f"/api/v1/projects/{self._project}/grants/{ids[key.name]}"), 204)

    def _make_token(self, client: httpx.Client) -> None:
        path = f"/api/v1/projects/{self._project}/service-accounts/builder/tokens"
        made = expect(client.post(path, json={}), 201).json()
        self._tokens[made["id"]] = made["secret"]
        with self._ledger.change({Key(TOKEN, self._project, str(made["id"])): THERE}):
            pass

    def _end_token(self, client: httpx.Client) -> None:
        there = list(self._ledger.known(self._project, TOKEN))
        if there:
            key = self._random.choice(there)
            with self._ledger.change({key: None}):
                expect(client.delete(f"/api/v1/tokens/{key.name}"), 204)


def grants(client: httpx.Client, project: str) -> list[dict[str, str]]:
    """The grants in a project that are for some of its repositories."""
    found = expect(client.get(f"/api/v1/projects/{project}/grants", params={"limit": 1000}), 200).json()["items"]
    return [one for one in found if one["repositories"] is not None]


def lost_rights(server: Server, project: str, ledger: Ledger, tokens: dict[int, str]) -> list[str]:
    """Compare what is there with the ledger, which begins anew with that; return a line for each that is wrong."""
    found: dict[Key, str | None] = dict.fromkeys(ledger.keys(project))
    with asking(server, ADMIN) as client:
        for one in grants(client, project):
            found[Key(GRANT, project, one["repositories"])] = THERE
    for key in [one for one in found if one.kind == TOKEN]:
        with asking(server, ("whoever", tokens[int(key.name)])) as client:
            found[key] = {200: THERE, 401: None}[client.get("/v2/").status_code]
    lost = [f"{key}: found {value}" for key, value in found.items() if value not in ledger.possible(key)]
    for key, value in found.items():
        ledger.settle(key, value)
    return lost
