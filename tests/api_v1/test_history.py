"""`/api/v1/history`, `/rollbacks`, `/undeletions` and `/purges`: pages, who sees what, and what is refused how."""

import uuid
from collections.abc import Iterator

import httpx
import pytest

from tests.api_v1.callers import PASSWORD, PROJECT, Callers, assert_problem, shown
from tests.factories import EMPTY, digest_of, image_manifest, push_blob, push_manifest
from tests.support.people import asking
from tests.support.scrape import Scrape

FIRST, SECOND = image_manifest(EMPTY), image_manifest(EMPTY, annotations={"which": "second"})


@pytest.fixture
def pushing(callers: Callers) -> Iterator[httpx.Client]:
    """The distribution API, for who administers the project."""
    with asking(callers.server, ("boss", PASSWORD)) as client:
        yield client


@pytest.fixture
def name(pushing: httpx.Client) -> str:
    """A repository whose tag `latest` was made and moved."""
    made = f"{PROJECT}/history-{uuid.uuid4().hex[:8]}"
    push_blob(pushing, made, EMPTY)
    for content in (FIRST, SECOND):
        push_manifest(pushing, made, content, "latest")
    return made


def test_history_comes_in_pages(boss: httpx.Client, pushing: httpx.Client, name: str) -> None:
    push_manifest(pushing, name, FIRST, "other")
    whole = shown(boss, f"/history?repository={name}")["items"]
    assert [(one["tag"], one["digest"]) for one in whole] == [
        ("other", digest_of(FIRST)),
        ("latest", digest_of(SECOND)),
        ("latest", digest_of(FIRST)),
    ]
    found, path = [], f"/history?repository={name}&limit=1"
    while path:
        page = shown(boss, path)
        found += page["items"]
        path = f"/history?repository={name}&limit=1&after={page['next']}" if page["next"] else ""
    assert found == whole
    assert [one["tag"] for one in shown(boss, f"/history?repository={name}&tag=latest")["items"]] == ["latest"] * 2
    assert_problem(boss.get(f"/history?repository={name}&after=x"), 400, "query-unreadable")
    assert_problem(boss.get(f"/history?repository={name}&tag=latest&removed=true"), 400, "query-unreadable")
    assert_problem(boss.get(f"/history?repository={PROJECT}/none"), 404, "unknown")
    assert_problem(boss.get("/history?repository=NO"), 422, "value-invalid")


def test_what_is_undone_is_counted(callers: Callers, pushing: httpx.Client, name: str) -> None:
    def counted() -> dict[tuple[str, str], float]:
        samples = Scrape.of(callers.server.url).families["stowage_undo_requests"].samples
        return {(one.labels["action"], one.labels["result"]): one.value for one in samples}

    boss, before = callers["boss"], counted()
    back = {"repository": name, "tag": "latest", "to": "previous"}
    for content in ({**back, "dryRun": True}, back, {**back, "tag": "never"}):
        boss.post("/rollbacks", json=content)
    what = {"repository": name, "digest": digest_of(FIRST)}
    for path in ("/purges", "/undeletions"):  # refused; there already
        boss.post(path, json=what)
    assert callers["viewer"].post("/undeletions", json=what).status_code == 403
    assert pushing.delete(f"/v2/{name}/manifests/{digest_of(FIRST)}").status_code == 202
    assert boss.post("/purges", json=what).status_code == 200
    after = counted()
    assert {one: after[one] - before[one] for one in after if after[one] != before[one]} == {
        ("rollback", "dry_run"): 1,
        ("rollback", "done"): 1,
        ("rollback", "refused"): 1,
        ("undelete", "done"): 1,
        ("undelete", "refused"): 1,
        ("purge", "done"): 1,
        ("purge", "refused"): 1,
    }


def test_addresses_are_for_those_who_may_push(callers: Callers, name: str) -> None:
    def told(caller: str) -> set[str | None]:
        items = shown(callers[caller], f"/history?repository={name}")["items"]
        assert {one["startedBy"] for one in items} == {"user:boss"}
        return {one["startedFrom"] for one in items} | {one["endedFrom"] for one in items[1:]}

    assert told("editor") == told("root") == {"127.0.0.1"}
    assert told("viewer") == {None}


def test_an_editor_rolls_back_and_may_not_remove(callers: Callers, pushing: httpx.Client, name: str) -> None:
    editor = callers["editor"]
    back = {"repository": name, "tag": "latest", "to": "previous"}
    planned = editor.post("/rollbacks", json={**back, "dryRun": True}).json()
    [there] = planned["repositories"]
    assert (planned["dryRun"], there["at"], there["before"]) == (True, None, None)
    [done] = editor.post("/rollbacks", json=back).json()["repositories"]
    assert done["changes"] == there["changes"]
    [change] = done["changes"]
    assert (change["before"], change["after"]) == (digest_of(SECOND), digest_of(FIRST))
    assert shown(editor, f"/history?repository={name}")["items"][0]["startedBy"] == "user:editor"
    push_manifest(pushing, name, SECOND, "new")
    whole = {"repository": name, "to": done["before"]}
    assert_problem(editor.post("/rollbacks", json=whole), 403, "denied")
    assert pushing.get(f"/v2/{name}/manifests/latest").content == FIRST
    [partly] = editor.post("/rollbacks", json={**whole, "partial": True}).json()["repositories"]
    assert [one["tag"] for one in partly["left"]] == ["new"]
    assert pushing.get(f"/v2/{name}/manifests/latest").content == SECOND


def test_what_can_not_be_rolled_back_is_listed(boss: httpx.Client, pushing: httpx.Client, name: str) -> None:
    digest = digest_of(SECOND)
    assert pushing.delete(f"/v2/{name}/manifests/{digest}").status_code == 202
    [deleted] = shown(boss, f"/history/deleted?repository={name}")["items"]
    assert (deleted["digest"], deleted["deletedBy"], deleted["tags"]) == (digest, "user:boss", ["latest"])
    what = {"repository": name, "digest": digest}
    assert boss.post("/undeletions", json=what).json()["tags"] == ["latest"]
    assert_problem(boss.post("/purges", json=what), 409, "in-use")
    assert pushing.delete(f"/v2/{name}/manifests/{digest}").status_code == 202
    assert boss.post("/purges", json=what).json()["manifests"] == [digest]
    assert_problem(boss.post("/purges", json=what), 404, "unknown")
    assert_problem(boss.post("/undeletions", json=what), 404, "unknown")
    problem = assert_problem(
        boss.post("/rollbacks", json={"repository": name, "tag": "latest", "to": digest}), 409, "impossible"
    )
    assert [(one["tag"], one["digest"]) for one in problem["errors"]] == [("latest", digest)]


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        ({"to": "1h"}, 422, "value-invalid"),
        ({"repository": "team/app", "project": "team", "to": "1h"}, 422, "value-invalid"),
        ({"repository": "team/app", "tag": "x", "tags": "y*", "to": "1h"}, 422, "value-invalid"),
        ({"repository": "team/app", "to": "sha256:1"}, 422, "value-invalid"),
        ({"repository": "team/app", "to": "then"}, 422, "value-invalid"),
        ({"repository": "team/app", "to": "previous"}, 422, "value-invalid"),
        ({"repository": "team/app", "to": "2199-01-01"}, 422, "moment-unknown"),
        ({"repository": "team/app", "to": "90d"}, 422, "moment-unknown"),
        ({"repository": "team/app", "to": "9999-12-31T23:59:59-23:59"}, 422, "moment-unknown"),
        ({"repository": "team/none-at-all", "to": "1h"}, 404, "unknown"),
        ({"project": "other", "to": "1h"}, 404, "unknown"),
        ({"repository": "other/app", "to": "1h"}, 404, "unknown"),
    ],
)
def test_what_is_wrong_with_a_rollback_is_said(
    boss: httpx.Client, content: dict[str, str], status: int, code: str
) -> None:
    assert_problem(boss.post("/rollbacks", json=content), status, code)
