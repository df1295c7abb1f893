"""What a request touches beside its own repository: the source of a mount, the whole catalog, a project to be made."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from auth.principal import ANONYMOUS, ANYBODY, Principal
from auth.scopes import Bound, parse_scopes
from registry.db.connection import Database
from registry.errors import RecordInUse
from tests.factories import digest_of
from tests.permissions.test_matrix import AS_MANIFEST, Scene
from tests.support.asking import Asking
from tests.support.databases import Place
from tests.support.rights import BY

pytestmark = pytest.mark.anyio

ROOT = Principal("user:root", is_admin=True)
ALICE = Principal("user:alice")


@pytest.fixture
async def asking(database: Database) -> AsyncIterator[Asking]:
    async with Asking(database, "users") as made:
        for project in ("team", "secret"):
            await made.people.projects.add(project, actor=BY)
        await made.people.grant("registry-editor", "user:alice", "team")
        yield made


async def filled(asking: Asking, name: str) -> Scene:
    scene = Scene(asking.client(ROOT), name)
    await scene.fill()
    return scene


async def test_a_mount_needs_pull_on_its_source_and_else_becomes_an_upload(asking: Asking, place: Place) -> None:
    secret = await filled(asking, "secret/app")
    own = await filled(asking, "team/other")
    start = "/v2/team/app/blobs/uploads/"
    digest = digest_of(secret.blob)
    async with asking.client(ALICE) as client:
        told = set()
        for source in ("&from=secret/app", "&from=none/none", "&from=team/other", "&from=NO", ""):
            answer = await client.post(f"{start}?mount={digest}{source}")
            assert answer.status_code == 202, source
            session = answer.headers["location"]
            assert (await client.get(session)).headers["range"] == "0-0"
            upload = session.rpartition("/")[2]
            told.add(
                (answer.text, *(f"{name}: {value}".replace(upload, "ID") for name, value in answer.headers.items()))
            )
            assert (await client.delete(session)).status_code == 204
        assert len(told) == 1  # nothing says whether there is such a repository, or such a blob
        assert (await client.head(f"/v2/team/app/blobs/{digest}")).status_code == 404
        answer = await client.post(f"{start}?mount={digest_of(own.blob)}&from=team/other")
        assert answer.status_code == 201
        # With a token for the target alone, the source is out of reach, and another token would help.
        bound = Bound(parse_scopes(["repository:team/app:push,pull"]))
        async with asking.client(Principal("user:alice", bound=bound)) as bounded:
            other = await filled(asking, "team/third")
            for source in ("&from=team/third", ""):
                answer = await bounded.post(f"{start}?mount={digest_of(other.blob)}{source}")
                assert answer.status_code == 401, source
            answer = await bounded.post(f"{start}?mount={digest}&from=secret/app")  # where no token would
            assert answer.status_code == 202
            assert (await client.delete(answer.headers["location"])).status_code == 204
            bound = Bound(parse_scopes(["repository:team/app:push,pull", "repository:team/third:pull"]))
        async with asking.client(Principal("user:alice", bound=bound)) as bounded:
            for source in ("&from=team/third", ""):
                answer = await bounded.post(f"{start}?mount={digest_of(other.blob)}{source}")
                assert answer.status_code == 201
        # Knowing a digest opens nothing: no manifest makes a blob of another repository one's own.
        answer = await client.put("/v2/team/app/manifests/x", content=secret.manifest, headers=AS_MANIFEST)
        assert answer.status_code == 404
    await asking.people.grant("registry-viewer", "user:alice", "secret")
    async with asking.client(ALICE) as client:
        assert (await client.post(f"{start}?mount={digest}&from=secret/app")).status_code == 201
    await asking.people.grant("registry-viewer", "user:alice")
    async with asking.client(ALICE) as client:  # who may pull everything need not say from where
        assert (await client.post(f"/v2/team/new/blobs/uploads/?mount={digest}")).status_code == 201
    assert place.sql("SELECT count(*) FROM upload_sessions") == [("0",)]


async def test_the_catalog_is_listed_page_by_page_as_far_as_it_is_to_be_seen(asking: Asking) -> None:
    for number in range(3):
        for name in ("secret", "secret-b", "team", "team.b", "tea"):
            await filled(asking, f"{name}/{number}")
    await filled(asking, "team")
    seen = ["team", "team/0", "team/1", "team/2"]
    everything = Bound(parse_scopes(["registry:catalog:*"]))
    for principal, wanted in ((ALICE, seen), (Principal("user:bob"), []), (Principal(ANYBODY, bound=everything), [])):
        async with asking.client(principal) as client:
            for size in (1, 2, 4, 5):
                found: list[str] = []
                target: str | None = f"/v2/_catalog?n={size}"
                while target is not None:
                    answer = await client.get(target)
                    page = answer.json()["repositories"]
                    assert len(page) <= size
                    found += page
                    target = answer.headers["link"][1:].partition(">")[0] if "link" in answer.headers else None
                assert found == wanted
            assert (await client.get("/v2/_catalog?n=0")).json() == {"repositories": []}
    async with asking.client(ANONYMOUS) as client:  # who is told nothing may log in
        assert (await client.get("/v2/_catalog")).status_code == 401
        await asking.people.projects.set_public("team", is_public=True, actor=BY)
        assert (await client.get("/v2/_catalog")).json()["repositories"] == seen
    async with asking.client(ROOT) as client:
        assert len((await client.get("/v2/_catalog")).json()["repositories"]) == 16


async def test_a_push_makes_a_project_for_users_and_for_nobody_else(asking: Asking) -> None:
    bob = Principal("user:bob")
    for principal, status in ((ANONYMOUS, 401), (Principal("serviceaccount:team/builder"), 403)):
        async with asking.client(principal) as client:
            assert (await client.post("/v2/new/app/blobs/uploads/")).status_code == status
            answer = await client.put("/v2/new/app/manifests/x", content=b"{}", headers=AS_MANIFEST)
            assert answer.status_code == status
    async with asking.client(bob) as client:
        assert (await client.get("/v2/new/app/tags/list")).status_code == 403
        assert (await client.post("/v2/new/app/blobs/uploads/")).status_code == 202
        assert (await client.get("/v2/new/app/tags/list")).status_code == 404  # it may be pulled, and is not there
        assert (await client.post("/v2/NEW/app/blobs/uploads/")).status_code == 400
    async with asking.client(ALICE) as client:
        assert (await client.post("/v2/new/app/blobs/uploads/")).status_code == 403
    assert [one.name for one in await asking.people.projects.page()] == ["new", "secret", "team"]
    assert {(one.role, one.subject) for one in await asking.people.granting.page("new")} == {
        ("registry-admin", "user:bob"),
        ("registry-editor", "serviceaccount:new/builder"),
        ("registry-viewer", "serviceaccount:new/default"),
        ("registry-viewer", "serviceaccount:new/deployer"),
    }


async def test_a_push_to_a_project_that_is_being_removed_finds_it_there_or_not_at_all(
    asking: Asking, place: Place
) -> None:
    for number in range(6):
        name = f"brief-{number}"
        await asking.people.projects.add(name, actor=BY)
        scene = Scene(asking.client(ROOT), f"{name}/app")

        async def remove(name: str = name) -> None:
            with suppress(RecordInUse):
                await asking.people.projects.remove(name, actor=BY)

        start = f"{scene.path}/blobs/uploads/?digest={digest_of(scene.blob)}"
        answer, _ = await asyncio.gather(scene.root.post(start, content=scene.blob), remove())
        assert answer.status_code in {201, 403, 404}, answer.text
    orphans = "SELECT name FROM repositories WHERE replace(name, '/app', '') NOT IN (SELECT name FROM projects)"
    assert place.sql(orphans) == []
