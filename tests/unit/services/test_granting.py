"""Grants, roles and rules, and what follows from them."""

import asyncio

import pytest

from auth.errors import Denied, InsufficientScope, NameRefused, Unauthenticated
from auth.grants import Grant, TagRule
from auth.policy import authorize
from auth.principal import ANONYMOUS, Principal
from auth.roles import Action
from auth.scopes import Bound, parse_scopes
from registry.db import repositories
from registry.db.connection import Database
from registry.errors import RecordExists, RecordInUse, RecordUnknown, ValueInvalid
from registry.oci.names import RepositoryName, Tag
from registry.services import catalog, granting
from registry.services.explaining import Explaining
from registry.services.founding import Founding
from registry.services.permissions import CreateProjects, GrantPolicy
from registry.services.revision import Revision
from tests.support.rights import BY, PASSWORD, People

pytestmark = pytest.mark.anyio

ALICE = Principal("user:alice")


@pytest.fixture
async def people(database: Database) -> People:
    made = People(database)
    await made.projects.add("team", actor=BY)
    return made


async def may(people: People, principal: Principal, repository: str | None = "team/app") -> set[str]:
    """What somebody may do."""
    actions = [one for one in Action if one not in {Action.ENTER, Action.CATALOG}]
    return {str(one) for one in actions if await people.policy.allows(principal, one, repository)}


async def test_a_grant_counts_from_the_moment_it_is_given_until_it_is_revoked(people: People) -> None:
    grant = Grant("registry-editor", "user:alice", "team")
    assert await may(people, ALICE) == set()
    assert await people.granting.grant(grant, actor=BY)
    assert not await people.granting.grant(grant, actor=BY)
    assert await may(people, ALICE) == {"pull", "push", "overwrite"}
    assert await may(people, ALICE, "team") == {"pull", "push", "overwrite"}  # a project is a repository's name, too
    for other in ("team-b/app", "teams", "app/team", None):
        assert await may(people, ALICE, other) == set()
    assert await may(people, Principal("user:bob")) == await may(people, ANONYMOUS) == set()
    await people.granting.revoke(grant, actor=BY)
    assert await may(people, ALICE) == set()
    with pytest.raises(RecordUnknown):
        await people.granting.revoke(grant, actor=BY)


async def test_subjects_roles_and_places(people: People) -> None:
    member = Principal("user:bob", frozenset({"dev"}))
    await people.grant("registry-viewer", "group:dev", "team", "team/app/*")
    assert await may(people, member, "team/app/web") == {"pull"}
    assert await may(people, member, "team/app") == await may(people, member, "team/app/web/x") == set()
    await people.grant("registry-viewer", "system:authenticated", "team", "team/shared")
    assert await may(people, ALICE, "team/shared") == {"pull"}
    assert await may(people, ANONYMOUS, "team/shared") == set()
    await people.grant("registry-viewer", "system:anonymous", "team", "team/public")
    assert await may(people, ANONYMOUS, "team/public") == await may(people, ALICE, "team/public") == {"pull"}
    await people.grant("registry-auditor", "user:carol")
    assert await may(people, Principal("user:carol"), None) == {"audit"}
    await people.grant("registry-admin", "user:carol")
    everything = {"pull", "push", "overwrite", "delete", "grant", "settings", "audit"}
    assert await may(people, Principal("user:carol"), None) == await may(people, Principal("user:carol")) == everything
    assert await may(people, Principal("user:root", is_admin=True)) == everything
    assert [(one.project, one.role) for one in await people.granting.page(None, "user:carol")] == [
        ("", "registry-auditor"),
        ("", "registry-admin"),
    ]


async def test_what_makes_no_sense_is_refused(people: People) -> None:
    grant, rule, pushes = people.granting.grant, people.granting.add_rule, frozenset({Action.PUSH})
    for error, refused in (
        (NameRefused, grant(Grant("registry-viewer", "alice", "team"), actor=BY)),
        (RecordUnknown, grant(Grant("registry-viewr", "user:alice", "team"), actor=BY)),
        (RecordUnknown, grant(Grant("registry-viewer", "user:alice", "none"), actor=BY)),
        (RecordUnknown, grant(Grant("registry-viewer", "serviceaccount:team/none", "team"), actor=BY)),
        (NameRefused, grant(Grant("registry-viewer", "user:alice", "team", "other/*"), actor=BY)),
        (ValueInvalid, grant(Grant("registry-viewer", "user:alice", "", "team/*"), actor=BY)),
        (NameRefused, rule(TagRule("a b", pushes, project="team"), actor=BY)),
        (ValueInvalid, rule(TagRule("*", frozenset(), project="team"), actor=BY)),
        (ValueInvalid, rule(TagRule("*", frozenset({Action.PULL}), project="team"), actor=BY)),
        (RecordUnknown, rule(TagRule("*", pushes, project="none"), actor=BY)),
        (NameRefused, rule(TagRule("*", pushes, frozenset({"alice bob"}), "team"), actor=BY)),
        (RecordUnknown, rule(TagRule("*", pushes, frozenset({"serviceaccount:team/none"}), "team"), actor=BY)),
        (ValueInvalid, rule(TagRule("*", pushes, frozenset(f"user:{n}" for n in range(101)), "team"), actor=BY)),
        (RecordUnknown, people.granting.remove_rule("team", 1, actor=BY)),
        (ValueInvalid, people.granting.add_role("own", ["catalog"], actor=BY)),
        (ValueInvalid, people.granting.add_role("own", [], actor=BY)),
        (NameRefused, people.granting.add_role("registry-viewer", ["pull"], actor=BY)),
        (ValueInvalid, people.granting.remove_role("registry-viewer", actor=BY)),
        (RecordUnknown, people.granting.remove_role("own", actor=BY)),
    ):
        with pytest.raises(error):
            await refused
    assert len(await people.granting.page("team")) == 3
    assert await people.granting.page("") == []


async def test_own_roles(people: People) -> None:
    await people.granting.add_role("releaser", ["push", "pull"], actor=BY)
    with pytest.raises(RecordExists):
        await people.granting.add_role("releaser", ["pull"], actor=BY)
    await people.grant("releaser", "user:alice", "team")
    assert await may(people, ALICE) == {"pull", "push"}
    assert (await people.granting.roles())["releaser"] == {"pull", "push"}
    with pytest.raises(RecordInUse):
        await people.granting.remove_role("releaser", actor=BY)
    await people.granting.revoke(Grant("releaser", "user:alice", "team"), actor=BY)
    await people.granting.remove_role("releaser", actor=BY)
    assert "releaser" not in await people.granting.roles()


async def test_a_role_is_not_granted_and_removed_at_once(people: People) -> None:
    await people.granting.add_role("own", ["pull"], actor=BY)
    outcomes = await asyncio.gather(
        people.granting.grant(Grant("own", "user:alice", "team"), actor=BY),
        people.granting.remove_role("own", actor=BY),
        return_exceptions=True,
    )
    is_role_there = "own" in await people.granting.roles()
    is_granted = any(one.role == "own" for one in await people.granting.page("team"))
    assert is_role_there == is_granted, outcomes


async def test_rules_win_over_grants_and_say_nothing_to_who_has_none(people: People) -> None:
    await people.grant("registry-admin", "user:alice", "team")
    builder, root = Principal("serviceaccount:team/builder"), Principal("user:root", is_admin=True)
    rule = TagRule("v*", frozenset({Action.OVERWRITE, Action.DELETE}), frozenset({builder.name}), "team", "team/app/**")
    number = await people.granting.add_rule(rule, actor=BY)
    allows = people.policy.allows
    for who in (ALICE, root):
        assert not await allows(who, Action.OVERWRITE, "team/app/web", "v1")
        assert not await allows(who, Action.DELETE, "team/app/web", "v1")
        assert await allows(who, Action.PUSH, "team/app/web", "v1")
        assert await allows(who, Action.OVERWRITE, "team/app/web", "latest")
        assert await allows(who, Action.OVERWRITE, "team/other", "v1")
    assert await allows(builder, Action.OVERWRITE, "team/app/web", "v1")
    assert not await allows(builder, Action.DELETE, "team/app/web", "v1")  # excepted, and never granted
    told = await people.policy.decide(ALICE, Action.OVERWRITE, "team/app/web", "v1")
    assert "v*" in told.reason and told.by == rule
    stranger = await people.policy.decide(Principal("user:bob"), Action.OVERWRITE, "team/app/web", "v1")
    assert "v*" not in stranger.reason
    assert [*(await people.granting.rules("team")).values()] == [rule]
    everywhere = await people.granting.add_rule(TagRule("x", frozenset({Action.PUSH})), actor=BY)
    assert not await allows(root, Action.PUSH, "any/thing", "x")
    await people.granting.remove_rule("team", number, actor=BY)
    with pytest.raises(RecordUnknown):
        await people.granting.remove_rule("team", everywhere, actor=BY)  # it is not the project's
    assert await allows(ALICE, Action.OVERWRITE, "team/app/web", "v1")


async def test_there_are_only_so_many_rules(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(granting, "MOST_RULES", 1)
    for project in ("", "team"):
        await people.granting.add_rule(TagRule("a", frozenset({Action.PUSH}), project=project), actor=BY)
        with pytest.raises(RecordInUse, match="as many as there may be"):
            await people.granting.add_rule(TagRule("b", frozenset({Action.PUSH}), project=project), actor=BY)


async def test_a_credential_takes_away_and_gives_nothing(people: People) -> None:
    await people.grant("registry-editor", "user:alice", "team")
    bound = Bound(parse_scopes(["repository:team/app:pull repository:other/app:*"]))
    alice = Principal("user:alice", credential=1, bound=bound)
    assert await may(people, alice) == {"pull"}
    assert await may(people, alice, "team/b") == await may(people, alice, "other/app") == set()
    with pytest.raises(InsufficientScope):
        await authorize(people.policy, alice, Action.PUSH, "team/app")
    with pytest.raises(Denied):
        await authorize(people.policy, alice, Action.PUSH, "other/app")
    with pytest.raises(Unauthenticated):
        await authorize(people.policy, ANONYMOUS, Action.PULL, "team/app")
    with pytest.raises(InsufficientScope):
        await authorize(people.policy, alice, Action.CATALOG, None)


async def test_a_project_as_a_whole_is_for_those_with_a_grant_in_all_of_it(people: People) -> None:
    await people.grant("registry-admin", "user:alice", "team", "team")
    await people.grant("registry-admin", "user:alice", "team", "team/**")
    await people.grant("registry-admin", "user:boss", "team")
    await people.grant("registry-auditor", "user:carol")
    boss, carol, root = Principal("user:boss"), Principal("user:carol"), Principal("user:root", is_admin=True)

    async def may(principal: Principal, action: Action, project: str = "team") -> bool:
        return (await people.policy.decide_on_project(principal, action, project)).allowed

    assert not await may(ALICE, Action.GRANT)
    assert await may(boss, Action.GRANT) and not await may(boss, Action.GRANT, "other")
    assert await may(carol, Action.AUDIT) and not await may(carol, Action.GRANT)
    assert await may(root, Action.SETTINGS)
    bound = Bound(parse_scopes(["repository:team:*"]))
    told = await people.policy.decide_on_project(Principal("user:boss", bound=bound), Action.GRANT, "team")
    assert (told.allowed, told.unbound) == (False, True)
    for principal, sees in ((ALICE, True), (boss, True), (carol, True), (root, True), (Principal("user:bob"), False)):
        assert await people.policy.sees_project(principal, "team") is sees
        assert not await people.policy.sees_project(principal, "none")


async def test_nobody_gets_more_by_granting(people: People) -> None:
    await people.granting.add_role("inviter", ["grant", "pull"], actor=BY)
    await people.grant("inviter", "user:alice", "team")
    await people.grant("registry-admin", "user:boss", "team")
    await people.grant("registry-admin", "user:part", "team", "team/app/**")
    may = people.granting.check_may_grant
    boss, root = Principal("user:boss"), Principal("user:root", is_admin=True)
    for principal, grant in (
        (ALICE, Grant("registry-viewer", "user:bob", "team")),
        (boss, Grant("registry-admin", "user:bob", "team")),
        (root, Grant("registry-admin", "user:bob")),
    ):
        await may(people.policy, principal, grant)
    for principal, grant in (
        (ALICE, Grant("registry-editor", "user:alice", "team")),
        (boss, Grant("registry-viewer", "user:bob")),
        (boss, Grant("registry-viewer", "user:bob", "other")),
        (Principal("user:part"), Grant("registry-viewer", "user:bob", "team", "team/app/x")),
        (Principal("user:boss", bound=Bound([])), Grant("registry-viewer", "user:bob", "team")),
        (ANONYMOUS, Grant("registry-viewer", "user:bob", "team")),
    ):
        with pytest.raises(Denied):
            await may(people.policy, principal, grant)
    with pytest.raises(RecordUnknown):
        await may(people.policy, root, Grant("none", "user:bob"))


async def test_who_may_not_push_is_told_the_same_whether_a_project_is_there_or_not(people: People) -> None:
    choices: tuple[CreateProjects, ...] = ("deny", "admins")
    for create in choices:
        policy = GrantPolicy(people.database, people.revision, create_projects=create)
        there = await policy.decide(ALICE, Action.PUSH, "team/app")
        assert there == await policy.decide(ALICE, Action.PUSH, "none/app")
        told = await policy.decide(Principal("user:root", is_admin=True), Action.PUSH, "none/app")
        assert told.allowed is (create == "admins")
        assert "none" in told.reason
        assert await policy.allows(Principal("user:root", is_admin=True), Action.PULL, "none/app")


async def admit(people: People, policy: GrantPolicy, principal: Principal, repository: str) -> None:
    founding = Founding(policy, people.projects)
    await founding.admit(principal, repository, lambda: authorize(policy, principal, Action.PUSH, repository))


async def test_a_push_makes_the_project_of_who_may(people: People) -> None:
    policy = GrantPolicy(people.database, people.revision, create_projects="users")
    for nobody in (ANONYMOUS, Principal("serviceaccount:team/builder"), Principal("group:dev")):
        with pytest.raises((Denied, Unauthenticated)):
            await admit(people, policy, nobody, "new/app")
    bounded = Principal("user:alice", bound=Bound(parse_scopes(["repository:other/x:push"])))
    with pytest.raises(InsufficientScope):
        await admit(people, policy, bounded, "new/app")
    assert [one.name for one in await people.projects.page()] == ["team"]
    await admit(people, policy, ALICE, "new/app")
    await admit(people, policy, ALICE, "new/app")
    assert ("registry-admin", "user:alice") in {(one.role, one.subject) for one in await people.granting.page("new")}
    with pytest.raises(Denied):
        await admit(people, policy, Principal("user:bob"), "new/app")


def replica(people: People) -> GrantPolicy:
    return GrantPolicy(people.database, Revision(people.database, polled=True), create_projects="users")


async def test_of_two_who_push_to_a_new_project_at_once_one_gets_it(people: People) -> None:
    admitted = await asyncio.gather(
        *(
            # Each on a replica of its own, which heard of nothing yet.
            admit(people, replica(people), Principal(f"user:{name}"), "new/app")
            for name in ("alice", "bob")
        ),
        return_exceptions=True,
    )
    assert sorted(type(one).__name__ for one in admitted) == ["Denied", "NoneType"]


async def made(people: People, *names: str) -> None:
    for name in names:
        await people.database.write(lambda tx, name=name: repositories.find_or_create(tx, RepositoryName(name)))  # type: ignore[misc]  # a lambda's default


async def listed(people: People, principal: Principal, size: int) -> list[str]:
    """The catalog, page by page."""
    found: list[str] = []
    visible = await people.policy.visible(principal)
    while True:
        page = await catalog.page(people.database, visible, after=found[-1] if found else "", limit=size)
        assert len(page) <= size
        if not page:
            return found
        found += page


async def test_the_catalog_shows_what_may_be_pulled(people: People) -> None:
    names = [
        "a",
        "a-b/x",
        "a.b",
        "a/x",
        "a/x/y",
        "b/y",
        "team",
        "team-x/q",
        "team.y/z",
        "team/a",
        "team/b",
        "z/" + "z" * 9,
    ]
    await made(people, *names)
    for project in ("a", "b", "team-x"):
        await people.projects.add(project, actor=BY)
    assert await listed(people, ALICE, 3) == []
    await people.grant("registry-viewer", "user:alice", "team")
    await people.grant("registry-viewer", "group:dev", "a", "a/x/**")
    await people.grant("registry-auditor", "user:alice", "b")  # gives no pull
    alice = Principal("user:alice", frozenset({"dev"}))
    for size in (1, 2, 100):
        assert await listed(people, ALICE, size) == ["team", "team/a", "team/b"]
        assert await listed(people, alice, size) == ["a/x/y", "team", "team/a", "team/b"]
        assert await listed(people, Principal("user:root", is_admin=True), size) == names
        assert await listed(people, ANONYMOUS, size) == []
    await people.projects.set_public("b", is_public=True, actor=BY)
    assert await listed(people, ANONYMOUS, 5) == ["b/y"]
    assert await listed(people, alice, 5) == ["a/x/y", "b/y", "team", "team/a", "team/b"]
    await people.grant("registry-viewer", "system:authenticated")
    assert await listed(people, Principal("user:bob"), 5) == names
    visible = await people.policy.visible(ANONYMOUS)
    for after, rest in (("b", ["b/y"]), ("b/y", []), ("zzz", []), ("a/x", ["b/y"])):
        assert await catalog.page(people.database, visible, after=after, limit=9) == rest


async def test_explaining(people: People) -> None:
    explaining = Explaining(people.database, people.policy)
    app, tag = RepositoryName("team/app"), Tag("v1")

    async def told(subject: str, action: str, tag: Tag | None = None) -> str:
        found = await explaining.explain(subject, action, app, tag)
        return f"{'yes' if found.decision.allowed else 'no'}: {found.decision.reason} {found.roles} {found.notes}"

    assert await told("user:alice", "push") == (
        "no: no grant gives push there ('registry-editor', 'registry-admin') ('nobody called alice is known here',)"
    )
    await people.accounts.add("alice", PASSWORD, actor=BY)
    await people.accounts.join("dev", "alice", actor=BY)
    await people.granting.add_role("releaser", ["push"], actor=BY)
    await people.grant("releaser", "group:dev", "team")
    assert await told("user:alice", "push") == "yes: releaser for group:dev in team () ()"
    assert (await told("user:alice", "push", tag)).startswith("yes: releaser for group:dev in team () ('once the tag")
    assert (await told("group:dev", "push")).startswith("yes")
    assert (await told("serviceaccount:team/builder", "overwrite", tag)).startswith("yes: registry-editor")
    assert "no service account" in await told("serviceaccount:team/none", "pull")
    await people.service_accounts.disable("team", "builder", actor=BY)
    assert (await told("serviceaccount:team/builder", "push")).startswith("no: serviceaccount:team/builder is disabled")
    await people.accounts.disable("alice", actor=BY)
    assert (await told("user:alice", "push")).startswith("no: user:alice is disabled")
    await people.accounts.add("root", PASSWORD, is_admin=True, actor=BY)
    assert (await told("user:root", "delete")).startswith("yes: system admins")
    for anybody in ("system:anonymous", "system:authenticated"):
        assert (await told(anybody, "pull")).startswith("no")
    elsewhere = await explaining.explain("user:root", "push", RepositoryName("none/app"))
    assert not elsewhere.decision.allowed and elsewhere.notes == ("there is no project none",)
    for subject, action in (("alice", "pull"), ("user:alice", "fly"), ("user:alice", "catalog")):
        with pytest.raises((NameRefused, ValueInvalid)):
            await explaining.explain(subject, action, app)
