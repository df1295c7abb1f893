"""What a repository was at a moment: for those who may pull from it, by the tokens that clients get for the name."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from auth.scopes import Bound, parse_scopes
from registry.db.connection import Database
from tests.factories import digest_of
from tests.permissions.test_matrix import GRANTS, PEOPLE, Row, Scene, at, expected
from tests.support.asking import Asking
from tests.support.databases import SqlitePlace
from tests.support.moments import moment
from tests.support.rights import BY

pytestmark = pytest.mark.anyio

READING = [
    ("GET", "manifests/latest"),
    ("HEAD", "manifests/latest"),
    ("GET", "manifests/{manifest}"),
    ("GET", "blobs/{blob}"),
    ("HEAD", "blobs/{blob}"),
    ("GET", "tags/list"),
    ("GET", "referrers/{manifest}"),
]
CHANGING = [
    ("PUT", "manifests/latest"),
    ("DELETE", "manifests/latest"),
    ("POST", "blobs/uploads/"),
    ("GET", "blobs/uploads/x"),
    ("DELETE", "blobs/{blob}"),
]


@pytest.fixture(scope="module")
async def database(tmp_path_factory: pytest.TempPathFactory, anyio_backend: str) -> AsyncIterator[Database]:
    opened = SqlitePlace(tmp_path_factory.mktemp("past")).new()
    await opened.start()
    yield opened
    await opened.stop()


@pytest.fixture(scope="module")
async def asking(database: Database) -> AsyncIterator[Asking]:
    async with Asking(database) as made:
        for project in ("team", "other"):
            await made.people.projects.add(project, actor=BY)
        await made.people.granting.add_role("pusher", ["pull", "push"], actor=BY)
        for role, subject, project, pattern in GRANTS:
            await made.people.grant(role, subject, project, pattern)
        yield made


@pytest.fixture(scope="module")
async def scene(asking: Asking) -> Scene:
    made = Scene(asking.client(PEOPLE["system admin"].principal), "team/app")
    await made.fill()
    return made


@pytest.fixture(scope="module")
def then(scene: Scene) -> str:
    return moment()


def path_of(scene: Scene, name: str, rest: str) -> str:
    return f"/v2/{name}/" + rest.format(blob=digest_of(scene.blob), manifest=digest_of(scene.manifest))


@pytest.mark.parametrize("access", ["private", "public"])
@pytest.mark.parametrize("name", PEOPLE)
async def test_who_may_pull_may_pull_what_was(asking: Asking, scene: Scene, then: str, name: str, access: str) -> None:
    one, is_public = PEOPLE[name], access == "public"
    await asking.people.projects.set_public("team", is_public=is_public, actor=BY)
    pull = expected(one, Row("pull", 200, at("")), public=is_public)
    async with asking.client(one.principal) as client:
        for method, rest in READING:
            answer = await client.request(method, path_of(scene, f"{then}/team/app", rest))
            assert answer.status_code == pull, (method, rest, answer.text)
        for method, rest in CHANGING:
            answer = await client.request(method, path_of(scene, f"{then}/team/app", rest), content=b"{}")
            assert answer.status_code == (403 if pull == 200 else pull), (method, rest, answer.text)


@pytest.mark.parametrize("name", ["nobody", "stranger", "builder of another project"])
async def test_nobody_learns_whether_a_repository_was_there(asking: Asking, scene: Scene, then: str, name: str) -> None:
    await asking.people.projects.set_public("team", is_public=False, actor=BY)
    async with asking.client(PEOPLE[name].principal) as client:
        for method, rest in (*READING, *CHANGING):
            answers = set()
            for other in ("team/app", "team/none", "none/none"):
                answer = await client.request(method, path_of(scene, f"{then}/{other}", rest), content=b"{}")
                answers.add((answer.status_code, answer.text.replace(other, "NAME")))
            assert len(answers) == 1, (method, rest, answers)


@pytest.mark.parametrize(
    ("scope", "status"),
    [
        ("repository:{then}/team/app:pull", 200),
        ("repository:team/app:pull", 200),
        ("repository:{then}/team/app:push", 401),
        ("repository:{then}/team/other:pull", 401),
        ("repository:at-20200101t000000z/team/app:pull", 401),
    ],
)
async def test_a_token_is_for_the_name_that_is_pulled(
    asking: Asking, scene: Scene, then: str, scope: str, status: int
) -> None:
    await asking.people.projects.set_public("team", is_public=False, actor=BY)
    bound = Bound(parse_scopes([scope.format(then=then)]))
    viewer = replace(PEOPLE["viewer"].principal, bound=bound)
    async with asking.client(viewer) as client:
        for method, rest in READING:
            answer = await client.request(method, path_of(scene, f"{then}/team/app", rest))
            assert answer.status_code == status, (method, rest, answer.text)
        # It is good for nothing else.
        now = await client.get(path_of(scene, "team/app", "manifests/latest"))
        assert now.status_code == (200 if scope == "repository:team/app:pull" else 401)
        assert (await client.put(path_of(scene, "team/app", "manifests/new"))).status_code in {401, 403}
    stranger = replace(PEOPLE["stranger"].principal, bound=bound)
    async with asking.client(stranger) as client:
        assert (await client.get(path_of(scene, f"{then}/team/app", "tags/list"))).status_code == 403
