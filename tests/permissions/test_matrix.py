"""Everybody at every endpoint: who may do what where, generated from three short tables.

Expectations are written down here in words, and follow from nothing in the registry. A new route, or a new method of
one, has no row, and fails.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass

import httpx
import pytest

from auth.principal import ANONYMOUS, Principal
from auth.scopes import Bound, parse_scopes
from registry.db.connection import Database
from registry.http.routes import ROUTES
from tests.factories import OCI_MANIFEST, descriptor, digest_of, image_manifest, random_bytes
from tests.support.asking import Asking
from tests.support.databases import SqlitePlace
from tests.support.rights import BY

pytestmark = pytest.mark.anyio

EDITS = {"pull", "push", "overwrite"}
ALL = {*EDITS, "delete"}


@dataclass(frozen=True)
class Who:
    """Somebody, and what they may do in `team/app` while the project is private; where it is public, pull as well.

    `only`: what their credential is for at most: more would be granted to another one, so it is 401 and not 403.
    """

    principal: Principal
    may: frozenset[str]
    only: str | None = None


def who(name: str, may: set[str], *, groups: set[str] | None = None, is_admin: bool = False, only: str = "") -> Who:
    bound = Bound(parse_scopes([only])) if only else None
    principal = Principal(name, frozenset(groups or ()), is_admin=is_admin, bound=bound)
    return Who(principal, frozenset(may), only or None)


PEOPLE: Mapping[str, Who] = {
    "nobody": Who(ANONYMOUS, frozenset()),
    "stranger": who("user:stranger", set()),
    "viewer": who("user:viewer", {"pull"}),
    "member": who("user:member", {"pull"}, groups={"readers"}),
    "pusher": who("user:pusher", {"pull", "push"}),
    "editor": who("user:editor", EDITS),
    "reader of one image": who("user:narrow", {"pull"}),
    "admin of the project": who("user:boss", ALL),
    "system admin": who("user:root", ALL, is_admin=True),
    "viewer of everything": who("user:all", {"pull"}),
    "auditor": who("user:auditor", set()),
    "builder": who("serviceaccount:team/builder", EDITS),
    "deployer": who("serviceaccount:team/deployer", {"pull"}),
    "builder of another project": who("serviceaccount:other/builder", set()),
    "editor with a token to pull": who("user:editor", EDITS, only="repository:team/app:pull"),
    "editor with a token for elsewhere": who("user:editor", EDITS, only="repository:other/app:pull,push"),
    "viewer with a token for all": who("user:viewer", {"pull"}, only="repository:team/app:*"),
}
GRANTS = [
    ("registry-viewer", "user:viewer", "team", ""),
    ("registry-viewer", "group:readers", "team", ""),
    ("pusher", "user:pusher", "team", ""),
    ("registry-editor", "user:editor", "team", ""),
    ("registry-viewer", "user:narrow", "team", "team/app"),
    ("registry-admin", "user:narrow", "team", "team/app/*"),
    ("registry-admin", "user:boss", "team", ""),
    ("registry-viewer", "user:all", "", ""),
    ("registry-auditor", "user:auditor", "", ""),
    ("registry-admin", "user:stranger", "other", ""),
]


class Scene:
    """What a request is prepared in: a repository, somebody who may do everything there, and an image in it."""

    def __init__(self, root: httpx.AsyncClient, name: str) -> None:
        self.root = root
        self.name = name
        self.blob = random_bytes()
        self.manifest = image_manifest(self.blob)

    async def fill(self) -> None:
        await self.push_blob(self.blob)
        await self.push(self.manifest, "latest")

    async def push_blob(self, content: bytes) -> None:
        answer = await self.root.post(f"{self.path}/blobs/uploads/?digest={digest_of(content)}", content=content)
        assert answer.status_code == 201, answer.text

    async def push(self, content: bytes, reference: str) -> None:
        put = self.root.put(f"{self.path}/manifests/{reference}", content=content, headers=AS_MANIFEST)
        assert (await put).status_code == 201

    def other(self) -> bytes:
        """A manifest that is not there yet, of the blob that is."""
        return image_manifest(self.blob, annotations={"unique": random_bytes().hex()})

    @property
    def path(self) -> str:
        return f"/v2/{self.name}"


AS_MANIFEST = {"content-type": OCI_MANIFEST}
Ask = tuple[str, bytes]
"""A path, and a body."""


@dataclass(frozen=True)
class Row:
    """A request. `needs`: the action, or two; `done`: the status where it is allowed.

    `prepare` makes what it is about, as somebody who may, and returns the request.
    """

    needs: str
    done: int
    prepare: Callable[[Scene], Awaitable[Ask]]


def at(path: str) -> Callable[[Scene], Awaitable[Ask]]:
    async def prepare(scene: Scene) -> Ask:
        return path.format(path=scene.path, blob=digest_of(scene.blob), manifest=digest_of(scene.manifest)), b""

    return prepare


async def new_tag(scene: Scene) -> Ask:
    return f"{scene.path}/manifests/t{random_bytes(8).hex()}", scene.other()


async def the_same_again(scene: Scene) -> Ask:
    return f"{scene.path}/manifests/latest", scene.manifest


async def moved_tag(scene: Scene) -> Ask:
    await scene.push(scene.other(), "moving")
    return f"{scene.path}/manifests/moving", scene.other()


async def moved_by_parameter(scene: Scene) -> Ask:
    await scene.push(scene.other(), "moving")
    content = scene.other()
    return f"{scene.path}/manifests/{digest_of(content)}?tag=new{random_bytes(4).hex()}&tag=moving", content


async def untagged(scene: Scene) -> Ask:
    content = scene.other()
    return f"{scene.path}/manifests/{digest_of(content)}", content


async def a_tag(scene: Scene) -> Ask:
    await scene.push(scene.other(), "old")
    return f"{scene.path}/manifests/old", b""


async def a_manifest(scene: Scene) -> Ask:
    content = scene.other()
    await scene.push(content, digest_of(content))
    return f"{scene.path}/manifests/{digest_of(content)}", b""


async def a_loose_blob(scene: Scene) -> Ask:
    content = random_bytes()
    await scene.push_blob(content)
    return f"{scene.path}/blobs/{digest_of(content)}", b""


async def a_session(scene: Scene) -> Ask:
    answer = await scene.root.post(f"{scene.path}/blobs/uploads/")
    return answer.headers["location"], b""


async def a_chunk(scene: Scene) -> Ask:
    return (await a_session(scene))[0], random_bytes()


async def the_end(scene: Scene) -> Ask:
    content = random_bytes()
    return f"{(await a_session(scene))[0]}?digest={digest_of(content)}", content


async def a_whole_blob(scene: Scene) -> Ask:
    content = random_bytes()
    return f"{scene.path}/blobs/uploads/?digest={digest_of(content)}", content


async def a_referrer(scene: Scene) -> Ask:
    content = image_manifest(scene.blob, subject=descriptor(scene.manifest, OCI_MANIFEST), artifactType="a/b")
    return f"{scene.path}/manifests/{digest_of(content)}", content


ROWS: Mapping[tuple[str, str], list[Row]] = {
    ("manifest", "GET"): [
        Row("pull", 200, at("{path}/manifests/latest")),
        Row("pull", 200, at("{path}/manifests/{manifest}")),
    ],
    ("manifest", "HEAD"): [Row("pull", 200, at("{path}/manifests/latest"))],
    ("manifest", "PUT"): [
        Row("push", 201, new_tag),
        Row("push", 201, the_same_again),
        Row("push", 201, untagged),
        Row("push", 201, a_referrer),
        Row("push overwrite", 201, moved_tag),
        Row("push overwrite", 201, moved_by_parameter),
    ],
    ("manifest", "DELETE"): [Row("delete", 202, a_tag), Row("delete", 202, a_manifest)],
    ("uploads", "POST"): [Row("push", 202, at("{path}/blobs/uploads/")), Row("push", 201, a_whole_blob)],
    ("blob", "GET"): [Row("pull", 200, at("{path}/blobs/{blob}"))],
    ("blob", "HEAD"): [Row("pull", 200, at("{path}/blobs/{blob}"))],
    ("blob", "DELETE"): [Row("delete", 202, a_loose_blob)],
    ("upload", "GET"): [Row("push", 204, a_session)],
    ("upload", "HEAD"): [Row("push", 204, a_session)],
    ("upload", "PATCH"): [Row("push", 202, a_chunk)],
    ("upload", "PUT"): [Row("push", 201, the_end)],
    ("upload", "DELETE"): [Row("push", 204, a_session)],
    ("tags", "GET"): [Row("pull", 200, at("{path}/tags/list"))],
    ("tags", "HEAD"): [Row("pull", 200, at("{path}/tags/list"))],
    ("referrers", "GET"): [Row("pull", 200, at("{path}/referrers/{manifest}"))],
    ("referrers", "HEAD"): [Row("pull", 200, at("{path}/referrers/{manifest}"))],
    ("catalog", "GET"): [Row("catalog", 200, at("/v2/_catalog"))],
    ("catalog", "HEAD"): [Row("catalog", 200, at("/v2/_catalog"))],
    ("support", "GET"): [Row("enter", 200, at("/v2/"))],
    ("support", "HEAD"): [Row("enter", 200, at("/v2/"))],
}


APART = {"token", "token_keys"}
"""Routes that ask for no permission: whoever comes there wants to say who they are."""


def test_every_route_and_method_has_a_row() -> None:
    found = {(route.name, method) for route in ROUTES for method in route.handlers if route.name not in APART}
    assert found == set(ROWS)


def expected(one: Who, row: Row, *, public: bool) -> int:
    """The status that somebody should get."""
    needed = set(row.needs.split())
    if needed == {"enter"}:
        return 401 if one.principal is ANONYMOUS else row.done
    if needed == {"catalog"}:
        sees_nothing = one.principal is ANONYMOUS and not public
        return 401 if sees_nothing or one.only is not None else row.done
    may = one.may | ({"pull"} if public else set())
    if not needed <= may:
        return 401 if one.principal is ANONYMOUS else 403
    if one.only is not None:
        name, _, actions = one.only.removeprefix("repository:").partition(":")
        covered = {"pull", "push", "overwrite", "delete"} if actions == "*" else set(actions.split(","))
        if name != "team/app" or not needed <= covered:
            return 401
    return row.done


@pytest.fixture(scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory, anyio_backend: str) -> SqlitePlace:
    return SqlitePlace(tmp_path_factory.mktemp("matrix"))


@pytest.fixture(scope="module")
async def database(place: SqlitePlace) -> AsyncIterator[Database]:
    opened = place.new()
    await opened.start()
    yield opened
    await opened.stop()


@pytest.fixture(scope="module")
async def asking(database: Database) -> AsyncIterator[Asking]:
    async with Asking(database) as made:
        people = made.people
        for project in ("team", "other"):
            await people.projects.add(project, actor=BY)
        await people.granting.add_role("pusher", ["pull", "push"], actor=BY)
        for role, subject, project, pattern in GRANTS:
            await people.grant(role, subject, project, pattern)
        yield made


@pytest.fixture(scope="module")
async def scene(asking: Asking) -> Scene:
    made = Scene(asking.client(PEOPLE["system admin"].principal), "team/app")
    await made.fill()
    return made


def contents(place: SqlitePlace) -> list[tuple[str, ...]]:
    """What a request that is refused must not change."""
    tables = {
        "tags": "name || manifest_id",
        "manifests": "digest || ifnull(deleted_at, '')",
        "links": "blob_id || '/' || repository_id || ifnull(deleted_at, '')",
        "upload_sessions": "id || received",
        "projects": "name",
        "repositories": "name",
    }
    return place.sql(
        " UNION ALL ".join(f"SELECT '{table}', {columns} FROM {table}" for table, columns in tables.items())
        + " ORDER BY 1, 2"
    )


def rows() -> Iterator[tuple[str, Row]]:
    for (_, method), several in ROWS.items():
        for row in several:
            yield method, row


@pytest.mark.parametrize("access", ["private", "public"])
@pytest.mark.parametrize("name", PEOPLE)
async def test_everybody_gets_what_they_may(
    asking: Asking, scene: Scene, place: SqlitePlace, name: str, access: str
) -> None:
    one = PEOPLE[name]
    await asking.people.projects.set_public("team", is_public=access == "public", actor=BY)
    wrong = []
    async with asking.client(one.principal) as client:
        for method, row in rows():
            path, content = await row.prepare(scene)
            before = contents(place)
            answer = await client.request(method, path, content=content, headers=AS_MANIFEST)
            status = expected(one, row, public=access == "public")
            if answer.status_code != status:
                wrong.append(f"{method} {path}: {answer.status_code} instead of {status}: {answer.text}")
            if status in {401, 403}:
                assert contents(place) == before
                code = "DENIED" if status == 403 else "UNAUTHORIZED"
                assert method == "HEAD" or answer.json()["errors"][0]["code"] == code
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", ["nobody", "stranger", "viewer", "pusher", "builder of another project"])
async def test_nobody_learns_whether_a_repository_or_a_project_is_there(
    asking: Asking, scene: Scene, name: str
) -> None:
    """What is refused is refused in the same words, whether the project, the repository, the tag are there or not."""
    one = PEOPLE[name]
    await asking.people.projects.set_public("team", is_public=False, actor=BY)
    async with asking.client(one.principal) as client:
        for method, row in rows():
            path, content = await row.prepare(scene)
            status = expected(one, row, public=False)
            if scene.name not in path or status not in {401, 403} or (status == 401 and one.only is not None):
                continue
            if "overwrite" in row.needs and "push" in one.may:
                continue  # who may push learns that the tag is there
            answers = []
            for other in ("team/app", "team/none", "none/none"):
                target = path.replace("team/app", other)
                answer = await client.request(method, target, content=content, headers=AS_MANIFEST)
                answers.append((answer.status_code, answer.text.replace(other, "NAME")))
            assert len(set(answers)) == 1, (method, path, answers)
