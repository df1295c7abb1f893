"""Tags that only some may move or delete, on both databases."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from auth.grants import TagRule
from auth.principal import Principal
from auth.roles import Action
from registry.db.connection import Database
from registry.oci.names import RepositoryName, Tag
from registry.services.explaining import Explaining
from tests.factories import digest_of
from tests.permissions.test_matrix import AS_MANIFEST, Scene
from tests.support.asking import Asking
from tests.support.rights import BY

pytestmark = pytest.mark.anyio

ROOT = Principal("user:root", is_admin=True)
RELEASER = Principal("user:releaser")


@pytest.fixture
async def asking(database: Database) -> AsyncIterator[Asking]:
    async with Asking(database) as made:
        await made.people.projects.add("team", actor=BY)
        await made.people.granting.add_role("releaser", ["pull", "push", "delete"], actor=BY)
        await made.people.grant("releaser", "user:releaser", "team")
        yield made


async def filled(asking: Asking, name: str = "team/app") -> Scene:
    scene = Scene(asking.client(ROOT), name)
    await scene.fill()
    return scene


async def test_of_many_who_make_a_tag_at_once_one_does(asking: Asking) -> None:
    scene = await filled(asking)
    contents = [scene.other() for _ in range(8)]
    async with asking.client(RELEASER) as client:
        answers = await asyncio.gather(
            *(client.put(f"{scene.path}/manifests/1.0", content=content, headers=AS_MANIFEST) for content in contents)
        )
    statuses = [answer.status_code for answer in answers]
    assert sorted(statuses) == [201, *[403] * 7]
    won = contents[statuses.index(201)]
    assert (await scene.root.get(f"{scene.path}/manifests/1.0")).content == won
    refused = next(answer for answer in answers if answer.status_code == 403).json()["errors"][0]
    assert refused["code"] == "DENIED"
    assert "overwrite" in refused["message"]


async def test_a_push_that_may_not_move_one_tag_moves_none_and_leaves_nothing(asking: Asking) -> None:
    scene = await filled(asking)
    content = scene.other()
    target = f"{scene.path}/manifests/{digest_of(content)}"
    async with asking.client(RELEASER) as client:
        answer = await client.put(f"{target}?tag=new&tag=latest", content=content, headers=AS_MANIFEST)
        assert answer.status_code == 403
        assert (await client.get(target)).status_code == 404
        assert (await client.get(f"{scene.path}/tags/list")).json()["tags"] == ["latest"]
        assert (await client.put(f"{target}?tag=new", content=content, headers=AS_MANIFEST)).status_code == 201
        # The tag names this manifest already: nothing is moved.
        assert (await client.put(f"{target}?tag=new", content=content, headers=AS_MANIFEST)).status_code == 201
        # What is deleted is not there any more.
        assert (await client.delete(f"{scene.path}/manifests/latest")).status_code == 202
        assert (await client.put(f"{target}?tag=latest", content=content, headers=AS_MANIFEST)).status_code == 201


async def test_rules_hold_for_system_admins_and_for_deleting_the_manifest(asking: Asking) -> None:
    scene = await filled(asking)
    kept, loose = scene.other(), scene.other()
    await scene.push(kept, "v1")
    await scene.push(kept, "also")
    await scene.push(loose, "loose")
    rule = TagRule("v*", frozenset({Action.OVERWRITE, Action.DELETE}), project="team", pattern="team/app")
    number = await asking.people.granting.add_rule(rule, actor=BY)
    root, by_digest = scene.root, f"{scene.path}/manifests/{digest_of(kept)}"
    for answer in (
        await root.put(f"{scene.path}/manifests/v1", content=loose, headers=AS_MANIFEST),
        await root.delete(f"{scene.path}/manifests/v1"),
        await root.delete(by_digest),
    ):
        assert answer.status_code == 403
        assert answer.json()["errors"][0]["code"] == "DENIED"
        assert "v*" in answer.json()["errors"][0]["message"]
    assert (await root.get(f"{scene.path}/tags/list")).json()["tags"] == ["also", "latest", "loose", "v1"]
    assert (await root.delete(f"{scene.path}/manifests/{digest_of(loose)}")).status_code == 202
    assert (await root.delete(f"{scene.path}/manifests/also")).status_code == 202
    other = await filled(asking, "team/other")
    await other.push(other.other(), "v1")
    await other.push(other.other(), "v1")
    await asking.people.granting.remove_rule("team", number, actor=BY)
    assert (await root.delete(by_digest)).status_code == 202


async def test_a_rule_that_only_some_may_push(asking: Asking) -> None:
    scene = await filled(asking)
    builder = Principal("serviceaccount:team/builder")
    rule = TagRule("prod-*", frozenset({Action.PUSH}), frozenset({builder.name}), "team")
    await asking.people.granting.add_rule(rule, actor=BY)
    for principal, status in ((RELEASER, 403), (ROOT, 403), (builder, 201)):
        async with asking.client(principal) as client:
            content = scene.other()
            for target in ("manifests/prod-1", f"manifests/{digest_of(content)}?tag=prod-2"):
                answer = await client.put(f"{scene.path}/{target}", content=content, headers=AS_MANIFEST)
                assert answer.status_code == status, answer.text
            answer = await client.put(
                f"{scene.path}/manifests/dev-{principal.name[-4:]}", content=content, headers=AS_MANIFEST
            )
            assert answer.status_code == 201


async def test_explaining_says_that_a_tag_is_there(asking: Asking) -> None:
    await filled(asking)
    explaining = Explaining(asking.people.database, asking.people.policy)
    found = await explaining.explain("user:releaser", "push", RepositoryName("team/app"), Tag("latest"))
    assert not found.decision.allowed
    assert found.decision.reason.startswith("the tag is there")
    assert found.roles == ("registry-editor", "registry-admin")
