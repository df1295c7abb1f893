"""`/api/v1` about what stays: cursors of dry runs, who learns what by them, and when tags go by themselves."""

import base64
import json
import uuid
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests.api_v1.callers import PASSWORD, PROJECT, Callers, assert_problem, made, new, shown
from tests.factories import OCI_INDEX, index_manifest, put_manifest
from tests.support.people import asking

ALL = [{"template": "always"}]


def cursor(*place: object) -> str:
    """A place in a dry run, as nobody but who reads the source would write it."""
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


def tag(callers: Callers, who: str, repository: str, name: str, **annotations: str) -> None:
    with asking(callers.server, (who, PASSWORD)) as client:
        index = index_manifest([], annotations={"unique": uuid.uuid4().hex, **annotations})
        assert put_manifest(client, repository, name, index, OCI_INDEX).status_code == 201


def test_a_dry_run_tells_of_no_other_project(callers: Callers, boss: httpx.Client) -> None:
    tag(callers, "other-boss", "other/secret", "v1")
    policy = made(boss, f"/projects/{PROJECT}/retention", {"name": new("policy"), "rules": ALL})
    preview = f"/projects/{PROJECT}/retention/{policy['name']}/preview"
    assert_problem(boss.get(preview, params={"after": cursor("other/secret", "0", 0, [])}), 400, "query-unreadable")
    items = shown(boss, preview)["items"]
    assert {one["repository"].partition("/")[0] for one in items} <= {PROJECT}


@pytest.mark.parametrize(
    "after",
    [
        *("x", "e30=", cursor(), cursor("team/app", "v1", "soon", []), cursor("team/app", "v1", 0, [[1]])),
        *(cursor("team/app", "v1", float("inf"), []), cursor("team/app", "v1", float("nan"), [])),
        *(cursor("team/app", "v\0", 0, []), cursor("team/app", "\ud800", 0, []), cursor("team/\0", "v1", 0, [])),
        *(cursor("team/app", "v1", 0, {"1": 2}), cursor(None, None, None, None), cursor("team/app", "", 0, [])),
    ],
)
def test_a_place_that_is_none_is_refused(root: httpx.Client, after: str) -> None:
    name = new("policy")
    made(root, "/retention", {"name": name, "rules": ALL})
    assert_problem(root.get(f"/retention/{name}/preview", params={"after": after}), 400, "query-unreadable")


@pytest.mark.parametrize("name", ["No", "a b", "-", "a" * 65, "a/b"])
def test_what_no_policy_is_called(root: httpx.Client, name: str) -> None:
    problem = assert_problem(root.post("/retention", json={"name": name, "rules": ALL}), 422, "value-invalid")
    assert "a policy can't be called" in problem["detail"]


def test_history_says_when_a_tag_goes(callers: Callers, boss: httpx.Client) -> None:
    name = f"{PROJECT}/expiring-{uuid.uuid4().hex[:8]}"
    tag(callers, "boss", name, "brief", **{"quay.expires-after": "2h"})
    tag(callers, "boss", name, "ever")
    brief, ever = (shown(boss, f"/history?repository={name}&tag={one}")["items"] for one in ("brief", "ever"))
    left = datetime.fromisoformat(brief[0]["expiresAt"]) - datetime.now(UTC)
    assert timedelta(minutes=110) < left <= timedelta(minutes=121)
    assert ever[0]["expiresAt"] is None
    tag(callers, "boss", name, "brief")
    assert [one["expiresAt"] for one in shown(boss, f"/history?repository={name}&tag=brief")["items"]] == [None, None]


@pytest.mark.parametrize("digest", ["0", "sha256:0", "md5:" + 32 * "0"])
def test_what_is_no_digest_is_not_locked(root: httpx.Client, digest: str) -> None:
    what = {"repository": f"{PROJECT}/app", "digest": digest}
    assert_problem(root.post("/locks", json=what), 422, "value-invalid")
    assert_problem(root.delete("/locks", params=what), 422, "value-invalid")
    assert_problem(root.get("/locks", params={"repository": f"{PROJECT}/app", "after": "0"}), 400, "query-unreadable")
