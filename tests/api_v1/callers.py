"""Everybody who asks the API, and short ways to what tests need."""

import itertools
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import httpx

from registry.api.paths import PREFIX
from tests.factories import EMPTY, OCI_INDEX, digest_of, image_manifest, index_manifest, push_blob, push_manifest
from tests.support.people import ADMIN, asking, bearer_of
from tests.support.server import Server

PASSWORD = "a password that is right"
PROJECT = "team"
OTHER = "other"
PEOPLE = ("boss", "editor", "viewer", "stranger", "other boss", "auditor")
"""Who logs in with a password. `editor` and `viewer` have these roles in `team`, `other boss` administers `other`."""

INDEX = index_manifest([])
"""It is in `team/app`, as `locked`."""
IMAGE = digest_of(image_manifest(EMPTY))
"""It is there, too, as `latest`."""

_numbers = itertools.count(1)


class Callers:
    """Clients, by who they are: `PEOPLE`, `root`, `nobody`, `wrong`, and those that have tokens.

    `builder` is a service account of `team` that pushes, `robot` one that administers it; `scoped` has a token of
    boss's with a scope, `docker` a token of the token server's for boss.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self._opened = ExitStack()
        self._clients: dict[str, httpx.Client] = {}

    def __enter__(self) -> Self:
        self._clients["root"] = root = self._client(ADMIN)
        for name in PEOPLE:
            made(root, "/users", {"name": name_of(name), "password": PASSWORD})
            self._clients[name] = self._client((name_of(name), PASSWORD))
        for project in (PROJECT, OTHER):
            made(root, "/projects", {"name": project})
        grants = f"/projects/{PROJECT}/grants"
        made(root, grants, {"role": "registry-admin", "subject": "user:boss"})
        made(root, grants, {"role": "registry-editor", "subject": "user:editor"})
        made(root, grants, {"role": "registry-viewer", "subject": "user:viewer"})
        made(root, f"/projects/{PROJECT}/service-accounts", {"name": "robot", "role": "registry-admin"})
        made(root, f"/projects/{OTHER}/grants", {"role": "registry-admin", "subject": "user:other-boss"})
        made(root, "/grants", {"role": "registry-auditor", "subject": "user:auditor"})
        self._clients["nobody"] = self._client(None)
        self._clients["wrong"] = self._client(("boss", "a wrong password"))
        self._clients["docker"] = self._client(
            None, bearer_of(self.server, ("boss", PASSWORD), "repository:team/a:pull")
        )
        self._push(f"{PROJECT}/app")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._opened.close()

    def __getitem__(self, name: str) -> httpx.Client:
        if name in {"builder", "robot"}:
            token = made(self["root"], f"/projects/{PROJECT}/service-accounts/{name}/tokens", {})
            return self._client(None, token["secret"])
        if name == "scoped":
            token = made(self["root"], "/users/boss/tokens", {"scope": "repository:team/app:pull,push,delete"})
            return self._client(None, token["secret"])
        return self._clients[name]

    def _push(self, repository: str) -> None:
        with asking(self.server, ("boss", PASSWORD)) as client:
            push_blob(client, repository, EMPTY)
            assert push_manifest(client, repository, image_manifest(EMPTY), "latest") == IMAGE
            push_manifest(client, repository, INDEX, "locked", media_type=OCI_INDEX)

    def _client(self, who: tuple[str, str] | None, bearer: str | None = None) -> httpx.Client:
        client = self._opened.enter_context(asking(self.server, who, bearer=bearer))
        client.base_url = client.base_url.join(f"{PREFIX}/")
        return client


def name_of(caller: str) -> str:
    return caller.replace(" ", "-")


def new(word: str = "x") -> str:
    """Return a name that nothing has yet."""
    return f"{word}-{next(_numbers)}"


def made(client: httpx.Client, path: str, content: object) -> dict[str, Any]:
    """Make something that was not there."""
    answer = client.post(path, json=content)
    assert answer.status_code == 201, answer.text
    assert answer.headers["Location"].startswith("/api/v1/")
    shown: dict[str, Any] = answer.json()
    return shown


def shown(client: httpx.Client, path: str) -> dict[str, Any]:
    """Return what is there."""
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


def assert_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Assert that an answer is this problem (RFC 9457), and return it."""
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json"), answer.text
    problem: dict[str, Any] = answer.json()
    assert problem["status"] == status
    assert problem["code"] == code, problem
    assert problem["type"] == "about:blank"
    assert problem["title"] and problem["detail"]
    assert ("WWW-Authenticate" in answer.headers) == (status == 401)
    return problem
