"""`stowage user`, `group`, `project`, `grant`, `role`, `rule`, `serviceaccount`, `token`, `can-i`, `pull-secret`."""

import base64
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from auth.passwords import matches
from tests.cli.commands import printed
from tests.cli.ways import Way
from tests.support import postgresql

Say = Callable[[str], None]
PASSWORD = "correct horse"


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch) -> Say:
    """Gives the next command something to read."""
    return lambda text: monkeypatch.setattr("sys.stdin", io.StringIO(text))


def read(text: str) -> Any:
    return json.loads(text)


def one_of(found: list[dict[str, Any]], name: str, key: str = "name") -> dict[str, Any]:
    [one] = [one for one in found if one[key] == name]
    return one


def test_a_user_from_the_first_day_to_the_last(way: Way, say: Say) -> None:
    alice, dev = way.new("alice"), way.new("dev")
    hashed = f"SELECT password FROM users WHERE name = '{alice}'"
    say(f"{PASSWORD}\n")
    assert way.run("user", "add", alice, "--password-stdin") == f"user {alice} was made"
    [[kept]] = way.sql(hashed)
    assert kept.startswith("$argon2id$") and PASSWORD not in kept
    assert matches(kept, PASSWORD) and not matches(kept, "wrong horse")
    assert not matches("nonsense", PASSWORD)
    say(PASSWORD)
    assert "already" in way.refuse("user", "add", alice, "--password-stdin")
    say("a new password\r\n")
    assert way.run("user", "passwd", alice, "--password-stdin") == f"the password of {alice} was changed"
    [[kept]] = way.sql(hashed)
    assert matches(kept, "a new password")
    assert way.run("user", "disable", alice) == f"user {alice} is disabled"
    assert way.run("user", "disable", alice) == f"user {alice} was disabled already"
    assert way.read("user", "show", alice)["disabled"] is True
    assert way.run("user", "enable", alice) == f"user {alice} is enabled"
    assert way.run("user", "enable", alice) == f"user {alice} was enabled already"
    assert way.run("user", "admin", alice) == f"user {alice} is a system admin"
    assert way.run("group", "add", dev, alice) == f"{alice} is in {dev}"
    assert way.run("group", "add", dev, alice) == f"{alice} was in {dev} already"
    found = one_of(way.read("user", "list"), alice)
    assert (found["name"], found["source"], found["admin"], found["lastLoginAt"]) == (alice, "local", True, None)
    assert found["createdAt"].endswith("Z")
    assert f"groups: {dev}" in way.run("user", "show", alice)
    [line] = [line.split() for line in way.run("user", "list").splitlines() if line.startswith(alice)]
    assert line == [alice, "local", "admin", "-"]
    assert one_of(way.read("group", "list"), dev) == {"name": dev, "members": 1}
    assert way.read("group", "list", dev) == [{"user": alice, "sources": ["local"]}]
    assert way.run("group", "list", dev).split() == ["USER", "SOURCES", alice, "local"]
    assert way.run("group", "remove", dev, alice) == f"{alice} is not in {dev} any more"
    assert way.run("user", "remove", alice) == f"user {alice} was removed"
    assert f"no user {alice}" in way.refuse("user", "show", alice)


def test_the_last_system_admin_stays(way: Way) -> None:
    for command in (("disable",), ("remove",), ("admin", "--off")):
        assert "last system admin" in way.refuse("user", *command, "admin")


@pytest.mark.parametrize(
    ("password", "named"),
    [
        ("horse", "8 characters"),
        ("", "8 characters"),
        ("x" * 1025, "1024"),
        ("alice-alice", "name"),
        ("a\nb\nlonger", "line"),
    ],
)
def test_a_password_against_the_rules_is_refused_and_nowhere_to_be_seen(
    way: Way, say: Say, password: str, named: str
) -> None:
    say(password)
    text = way.refuse("user", "add", "alice-alice", "--password-stdin")
    assert named in text
    assert not password or password == "alice-alice" or password not in text


def test_without_a_terminal_a_password_has_to_be_given(way: Way, say: Say) -> None:
    say(PASSWORD)
    assert "--password-stdin" in way.refuse("user", "add", "alice")


@pytest.mark.parametrize("name", ["", "a/b", "..", "a\x1b[2Jb", "a\nb"])
def test_what_is_no_name_is_said_to_be_none(way: Way, name: str) -> None:
    assert "is no name" in way.refuse("user", "show", name)


def test_projects_and_grants(way: Way) -> None:
    team, tools, alice = way.new("team"), way.new("tools"), f"user:{way.new('alice')}"
    assert way.run("project", "add", team) == f"project {team} was made"
    way.run("project", "add", tools, "--public")
    listed = way.read("project", "list")
    assert [one_of(listed, name)["public"] for name in (team, tools)] == [False, True]
    assert way.read("project", "show", team)["serviceAccounts"] == ["builder", "default", "deployer"]
    assert way.run("project", "set", team, "--public") == f"project {team} is public"
    assert way.run("project", "set", team, "--private") == f"project {team} is private"
    assert "access: private" in way.run("project", "show", team)
    assert "--public" in way.refuse("project", "set", team, status=2)

    status, output, said = way.done("grant", "registry-editor", alice, team)
    assert (status, output) == (0, f"granted: registry-editor for {alice} in {team}\n")
    assert f"{alice} is not known here yet" in said
    pattern = ("registry-viewer", "system:authenticated", team, "--repositories", f"{team}/app/*")
    way.run("grant", *pattern)
    assert "already" in way.run("grant", *pattern)
    builder = f"serviceaccount:{team}/builder"
    way.run("grant", "registry-viewer", builder, "*")
    [found] = way.read("grants", "--subject", alice)
    assert (found["role"], found["project"], found["repositories"]) == ("registry-editor", team, None)
    assert ["registry-viewer", builder, "*", "-"] in [line.split() for line in way.run("grants", "*").splitlines()]
    assert len(way.run("grants", team).splitlines()) == 6
    way.run("revoke", "registry-viewer", builder, "*")
    assert len(way.read("grants", "--subject", builder)) == 1  # in its project
    assert "no grant" in way.refuse("revoke", "registry-viewer", "system:authenticated", team)  # but by pattern
    way.run("revoke", "registry-editor", alice, team)
    assert "no grant" in way.refuse("revoke", "registry-editor", alice, team)
    for wrong in (
        ("registry-edtor", alice, team),
        ("registry-editor", "alice", team),
        ("registry-editor", alice, "none"),
        ("registry-editor", alice, team, "--repositories", "other/*"),
        ("registry-editor", alice, "*", "--repositories", f"{team}/*"),
    ):
        assert len(way.refuse("grant", *wrong).splitlines()) == 1
    assert "either" in way.refuse("grants", status=2)
    assert way.run("project", "remove", tools) == f"project {tools} was removed"


def test_roles_and_rules(way: Way) -> None:
    team, role = way.new("team"), way.new("releaser")
    way.run("project", "add", team)
    assert way.run("role", "add", role, "pull", "push") == f"role {role} was made"
    assert one_of(way.read("role", "list"), role) == {"name": role, "actions": ["pull", "push"], "builtIn": False}
    assert "'delete', 'grant'" in way.refuse("role", "add", "other", "fly")
    number = way.run("rule", "add", team, "v*", "--deny", "overwrite", "--deny", "delete", "--except", "user:alice")
    assert way.read("rule", "list", team) == [
        {
            "id": int(number),
            "project": team,
            "tag": "v*",
            "deny": ["delete", "overwrite"],
            "except": ["user:alice"],
            "immutable": False,
            "repositories": None,
        }
    ]
    assert "v*" in way.run("rule", "list", team)
    assert way.run("rule", "list", "*").split() == ["RULE", "TAG", "DENIES", "REPOSITORIES", "EXCEPT"]
    assert "'overwrite' or 'push'" in way.refuse("rule", "add", team, "v*", "--deny", "pull")
    assert way.run("rule", "remove", team, number) == f"rule {number} was removed"
    assert "no rule" in way.refuse("rule", "remove", team, number)
    assert way.run("role", "remove", role) == f"role {role} was removed"


def test_service_accounts_and_tokens(way: Way, say: Say) -> None:
    team, alice = way.new("team"), way.new("alice")
    way.run("project", "add", team)
    assert way.run("serviceaccount", "add", team, "scanner", "--role", "registry-viewer").endswith("was made")
    secret = way.run("serviceaccount", "token", team, "scanner", "--expires", "90d", "--name", "ci")
    assert secret.startswith("stw_") and len(secret.split()) == 1
    kept = [one.lower() for [one] in way.sql("SELECT hex(hash) FROM credentials")]
    assert hashlib.sha256(secret.encode()).hexdigest() in kept
    [found] = way.read("token", "list", f"serviceaccount:{team}/scanner")
    assert (found["name"], found["counts"], found["begins"], found["kind"]) == ("ci", True, secret[:8], "token")
    assert found["expiresAt"] > found["createdAt"]
    assert way.run("token", "revoke", str(found["id"])) == f"token {found['id']} was revoked"
    assert way.run("token", "revoke", str(found["id"])).endswith("already")
    assert "revoked" in way.run("token", "list", f"serviceaccount:{team}/scanner")
    say(PASSWORD)
    way.run("user", "add", alice, "--password-stdin")
    assert way.run("token", "create", f"user:{alice}", "--scope", "repository:team/app:pull") != secret
    assert way.read("token", "list", f"user:{alice}")[0]["scope"] == "repository:team/app:pull"
    assert way.run("token", "revoke", "--all").endswith("tokens were revoked")
    assert way.read("token", "list", f"user:{alice}")[0]["counts"] is False
    assert way.run("serviceaccount", "disable", team, "scanner").endswith("is disabled")
    assert way.run("serviceaccount", "disable", team, "scanner").endswith("already")
    assert "scanner   disabled" in way.run("serviceaccount", "list", team)
    assert way.run("serviceaccount", "enable", team, "scanner").endswith("is enabled")
    assert way.read("serviceaccount", "list", team)[-1]["disabled"] is False
    assert way.run("serviceaccount", "remove", team, "scanner").endswith("was removed")
    for wrong in (
        ("serviceaccount", "token", team, "scanner"),
        ("serviceaccount", "add", "none", "scanner"),
        ("token", "list", "user:bob"),
        ("token", "create", "group:dev"),
        ("token", "create", f"user:{alice}", "--scope", "nonsense"),
        ("token", "revoke", "9999"),
    ):
        assert len(way.refuse(*wrong).splitlines()) == 1
    assert "90d" in way.refuse("serviceaccount", "token", team, "builder", "--expires", "soon", status=2)
    assert "--all" in way.refuse("token", "revoke", status=2)


def test_asking_who_may_do_what(way: Way) -> None:
    team = way.new("team")
    way.run("project", "add", team)
    account = f"serviceaccount:{team}/builder"
    builder = ("--as", account)
    assert way.run("can-i", "push", f"{team}/app:1.0", *builder) == f"yes: registry-editor for {account} in {team}"
    status, output, said = way.done("can-i", "delete", f"{team}/app", *builder)
    assert (status, said) == (1, "")
    assert output == "no: no grant gives delete there\nthese roles would allow it: registry-admin\n"
    status, output, _ = way.done("can-i", "audit", "*", *builder, "--json")
    assert status == 1
    assert read(output)["allowed"] is False
    assert "registry-auditor" in read(output)["roles"]
    for wrong in (("fly", "team/app"), ("pull", "TEAM"), ("pull", "team/app:a b")):
        assert len(way.refuse("can-i", *wrong, *builder).splitlines()) == 1
    assert "serviceaccount:" in way.refuse("can-i", "pull", "team/app", "--as", "builder")


def test_who_is_an_admin_by_the_settings_may_do_everything(way: Way, say: Say) -> None:
    name = way.new("chief")
    say(PASSWORD)
    way.run("user", "add", name, "--password-stdin")
    status, output, _ = way.done("can-i", "delete", "team/app", "--as", f"user:{name}")
    assert (status, output.startswith("no: ")) == (1, True)
    text = printed(
        *("can-i", "delete", "team/app", "--as", f"user:{name}", "--data", str(way.data)),
        STOWAGE_AUTH__ADMINS=name,
    )
    assert text.startswith("yes: system admins may do everything")


def test_a_pull_secret_in_every_form(way: Way, say: Say) -> None:
    team = way.new("my.team")
    way.run("project", "add", team)
    secret = ("pull-secret", team, "deployer", "--registry", "registry.example.org:5000")
    found = read(way.run(*secret))["auths"]["registry.example.org:5000"]
    assert found["username"] == f"{team}/deployer"
    assert base64.b64decode(found["auth"]).decode() == f"{team}/deployer:{found['password']}"
    assert (hashlib.sha256(found["password"].encode()).hexdigest().upper(),) in way.sql(
        "SELECT hex(hash) FROM credentials"
    )
    say(f"{found['password']}\n")
    again = read(way.run(*secret, "--format", "dockercfg", "--token-stdin"))
    assert again == {"registry.example.org:5000": found}
    kubernetes = read(way.run(*secret, "--format", "kubernetes"))
    assert (kubernetes["kind"], kubernetes["type"]) == ("Secret", "kubernetes.io/dockerconfigjson")
    assert kubernetes["metadata"]["name"] == f"deployer-{team.replace('.', '-')}"
    inside = read(base64.b64decode(kubernetes["data"][".dockerconfigjson"]).decode())
    assert set(inside["auths"]) == {"registry.example.org:5000"}
    assert [one["name"] for one in way.read("token", "list", f"serviceaccount:{team}/deployer")] == [
        "pull secret for registry.example.org:5000"
    ] * 2
    say("not a token")
    assert "stw_" in way.refuse(*secret, "--token-stdin")
    assert "HOST" in way.refuse("pull-secret", team, "deployer", "--registry", "https://x", status=2)
    assert "no service account" in way.refuse("pull-secret", team, "nobody", "--registry", "x")
    if server := way.settings.get("STOWAGE_SERVER"):
        assert set(read(way.run("pull-secret", team, "deployer"))["auths"]) == {server.removeprefix("http://")}
        return
    assert "--registry" in way.refuse("pull-secret", team, "deployer")
    text = printed(
        "pull-secret", team, "deployer", *way.options, STOWAGE_HTTP__PUBLIC_URL="https://registry.example.org"
    )
    assert set(read(text)["auths"]) == {"registry.example.org"}


def test_the_same_on_postgresql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, say: Say) -> None:
    cluster = postgresql.shared_cluster()
    url = cluster.create()
    try:
        monkeypatch.setenv("STOWAGE_DATABASE__URL", url)
        monkeypatch.setenv("STOWAGE_DATA", str(tmp_path))
        printed("migrate")
        say(PASSWORD)
        printed("user", "add", "alice", "--password-stdin")
        printed("group", "add", "dev", "alice")
        printed("project", "add", "team", "--public")
        printed("grant", "registry-editor", "group:dev", "team", "--repositories", "team/**")
        number = printed("rule", "add", "team", "v*", "--deny", "overwrite", "--except", "user:alice")
        assert printed("token", "create", "user:alice", "--expires", "1h").startswith("stw_")
        assert printed("can-i", "push", "team/app:v1", "--as", "user:alice").startswith("yes: registry-editor")
        assert len(read(printed("grants", "team", "--json"))) == 5
        assert read(printed("group", "list", "--json")) == [{"name": "dev", "members": 1}]
        assert printed("quota", "set", "team", "--tags", "5") == "team uses 0 B of any, and 0 of 5 tags"
        assert printed("quota", "check") == "team uses 0 B and 0 tags"
        assert printed("quota", "clear", "team") == "team has no quota now"
        assert "quota.clear" in printed("audit", "list", "--project", "team", "--since", "1h", "--limit", "1")
        assert "as it was sealed" in printed("audit", "verify")
        printed("rule", "remove", "team", number)
        printed("user", "remove", "alice")
        printed("project", "remove", "team")
        assert read(printed("project", "list", "--json")) == []
    finally:
        cluster.drop(url)
