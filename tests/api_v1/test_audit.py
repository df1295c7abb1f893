"""The audit log: all of it for auditors, a project's for who administers that, page by page, and verified."""

from typing import Any

import httpx
import pytest

from tests.api_v1.callers import PROJECT, Callers, assert_problem, made, new, shown


def entries(client: httpx.Client, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = shown(client, f"/audit?{query}")["items"]
    return found


def recorded(callers: Callers, project: str, count: int, action: str = "tested") -> None:
    """Have the log tell of something in a project."""
    values = ", ".join(
        f"({1_600_000_000_000_000 + number}, '{action}', 'done', 'user:tester', '{project}', '', '', '', '{{}}')"
        for number in range(count)
    )
    callers.server.sql(
        "INSERT INTO audit_entries (at, action, outcome, principal, project, repository, address, request_id, detail)"
        f" VALUES {values}"
    )


def test_pages_of_what_was_done(callers: Callers) -> None:
    auditor, project = callers["auditor"], new("audited")
    recorded(callers, project, 5)
    found = entries(auditor, f"project={project}")
    assert [one["id"] for one in found] == sorted((one["id"] for one in found), reverse=True)
    assert len(found) == 5
    assert found[0]["at"] == "2020-09-13T12:26:40.000Z"
    assert found[0].keys() == {
        *("id", "at", "action", "outcome", "principal", "project", "repository"),
        *("address", "requestId", "count", "detail"),
    }
    first = auditor.get(f"/audit?project={project}&limit=3")
    assert [one["id"] for one in first.json()["items"]] == [one["id"] for one in found[:3]]
    following = auditor.get(first.links["next"]["url"].removeprefix("/api/v1"))
    assert (following.json()["items"], following.json()["next"]) == (found[3:], None)
    assert entries(auditor, f"project={project}&principal=user:nobody") == []
    assert len(entries(auditor, f"project={project}&since=2020-09-13&until=2020-09-14")) == 5
    assert entries(auditor, f"project={project}&since=24h") == []
    assert entries(auditor, f"project={project}&repository=elsewhere/app") == []
    for wrong in ("since=yesterday", "limit=0", "after=x", f"action={'x' * 600}"):
        assert auditor.get(f"/audit?{wrong}").status_code in {400, 422}


@pytest.mark.parametrize(
    ("caller", "status"),
    [
        *[(one, 200) for one in ("root", "auditor", "boss", "robot")],
        *[(one, 403) for one in ("viewer", "editor", "builder")],
        *[(one, 404) for one in ("stranger", "other boss")],
    ],
)
def test_a_project_s_part_is_for_who_may_audit_there(callers: Callers, caller: str, status: int) -> None:
    for query in (f"project={PROJECT}", f"repository={PROJECT}/app"):
        assert callers[caller].get(f"/audit?{query}").status_code == status
    if status == 200:
        found = callers[caller].get(f"/audit?project={PROJECT}&limit=1000").json()["items"]
        assert {one["project"] for one in found} <= {PROJECT}


def test_who_administers_a_project_sees_nothing_of_an_older_one_of_that_name(
    callers: Callers, root: httpx.Client
) -> None:
    project = new("again")
    recorded(callers, project, 2, "older")
    made(root, "/projects", {"name": project})
    made(root, f"/projects/{project}/grants", {"role": "registry-admin", "subject": "user:boss"})
    assert entries(callers["boss"], f"project={project}&action=older") == []
    assert len(entries(callers["auditor"], f"project={project}&action=older")) == 2


def test_a_project_that_is_gone_is_for_auditors_alone(callers: Callers) -> None:
    project = new("gone")
    recorded(callers, project, 1)
    assert_problem(callers["boss"].get(f"/audit?project={project}"), 404, "unknown")
    assert len(entries(callers["root"], f"project={project}")) == 1


def test_what_is_rare_is_found_in_a_long_log(callers: Callers) -> None:
    recorded(callers, "", 1, "rare")
    recorded(callers, "", 12_000)
    [one] = entries(callers["auditor"], "action=rare")
    assert one["action"] == "rare"


def test_verifying(callers: Callers) -> None:
    auditor = callers["auditor"]
    found = shown(auditor, "/audit/verification")
    assert (found["right"], found["problems"]) == (True, [])
    known = "1:" + "0" * 64
    found = shown(auditor, f"/audit/verification?seal={known}")
    assert (found["right"], len(found["problems"])) == (False, 1)
    assert "seals were removed" in found["problems"][0]
    assert_problem(auditor.get("/audit/verification?seal=1:zz"), 422, "value-invalid")
