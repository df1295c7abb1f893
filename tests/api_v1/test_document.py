"""The OpenAPI document, and the server held to it: requests made up from it, right ones and wrong ones."""

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from schemathesis import GenerationMode
from schemathesis.checks import CheckFunction, not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.api_v1.callers import PASSWORD, made, shown
from tests.support.people import ADMIN, asking, settings_for
from tests.support.server import Server

CHECKS: list[CheckFunction] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of one's own: what is made up makes and removes anything."""
    folder = tmp_path_factory.mktemp("fuzzed")
    with Server(folder, settings_for({}), ("--workers", "1")) as running:
        with asking(running, ADMIN) as client:
            client.base_url = client.base_url.join("/api/v1/")
            made(client, "/users", {"name": "viewer", "password": PASSWORD})
            made(client, "/projects", {"name": "team"})
            made(client, "/projects/team/rules", {"tag": "v*", "deny": ["push"]})
            made(client, "/projects/team/service-accounts/builder/tokens", {})
        yield running


@pytest.fixture(scope="module")
def document(fuzzed: Server) -> dict[str, Any]:
    with asking(fuzzed) as client:
        return shown(client, "/api/v1/openapi.json")


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(path, method, one) for path, item in document["paths"].items() for method, one in item.items()]


def test_it_says_who_may_ask_and_how_errors_look(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    assert document["security"] == [{"password": []}, {"token": []}]
    names = Counter(one["operationId"] for _, _, one in operations(document))
    assert set(names.values()) == {1}
    for path, method, one in operations(document):
        for status, response in one["responses"].items():
            if status >= "400":
                assert list(response["content"]) == ["application/problem+json"], (path, method, status)
        if "201" in one["responses"]:
            assert "Location" in one["responses"]["201"]["headers"]
        if method in {"patch", "delete"} and any(one["name"] == "If-Match" for one in one.get("parameters", ())):
            assert "412" in one["responses"]


def test_everything_that_is_said_to_it_is_bounded(document: dict[str, Any]) -> None:
    unbounded: list[str] = []
    for path, method, one in operations(document):
        for parameter in one.get("parameters", ()):
            unbounded += unbounded_in(f"{method} {path} {parameter['name']}", parameter["schema"])
    for name, schema in document["components"]["schemas"].items():
        if name.startswith("New") or name.endswith("Change"):
            Draft202012Validator.check_schema(schema)
            unbounded += unbounded_in(name, schema)
    assert unbounded == []


BOUNDS: dict[str, set[str]] = {
    "string": {"maxLength", "enum", "const"},
    "integer": {"maximum"},
    "array": {"maxItems"},
    "object": {"additionalProperties"},
}
"""One of which a schema of each type has to have."""


def unbounded_in(where: str, schema: dict[str, Any]) -> Iterator[str]:
    bounds = BOUNDS.get(schema.get("type", ""))
    if bounds is not None and not bounds & set(schema):
        yield where
    for name, inner in schema.get("properties", {}).items():
        yield from unbounded_in(f"{where}.{name}", inner)
    if "items" in schema:
        yield from unbounded_in(f"{where}[]", schema["items"])
    for inner in schema.get("anyOf", ()):
        yield from unbounded_in(where, inner)


LONG = os.environ.get("STOWAGE_LONG") == "1"

# What would end the test for all others, and what does not end.
LEFT_OUT = {("delete", "/api/v1/users/{user}"), ("put", "/api/v1/users/{user}/password"), ("get", "/api/v1/watch")}
KNOWN: dict[str, list[Any]] = {
    "user": ["viewer", "nobody"],
    "project": ["team", "other"],
    "account": ["builder", "deployer"],
    "role": ["registry-viewer"],
    "group": ["developers", "a/b"],
    "grant": [1, 2, 3],
    "rule": [1, 2, 3],
    "policy": ["nightly"],
    "webhook": ["ci"],
    "token": [1, 2, 3],
}
"""What some requests are about instead of what is made up, so that they come further."""


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_made_up_requests(fuzzed: Server, document: dict[str, Any], mode: GenerationMode) -> None:
    schema = schemathesis.openapi.from_dict(document)
    checks = [*CHECKS, *([negative_data_rejection] if mode is GenerationMode.NEGATIVE else [])]
    statuses: Counter[int] = Counter()
    with asking(fuzzed, ADMIN) as client:
        for result in schema.get_all_operations():
            operation = result.ok()  # type: ignore[union-attr]  # which fails if it is none
            said = document["paths"][operation.path][operation.method]
            nothing_to_get_wrong = "parameters" not in said and "requestBody" not in said
            if mode is GenerationMode.NEGATIVE and nothing_to_get_wrong:
                continue
            if (operation.method, operation.path) not in LEFT_OUT:
                ask(client, operation, mode, checks, statuses)
    assert statuses[200] > 50 or mode is GenerationMode.NEGATIVE
    assert statuses[422] > 50 or mode is GenerationMode.POSITIVE
    with asking(fuzzed, ADMIN) as after:
        assert after.get("/api/v1/me").status_code == 200


def ask(
    client: httpx.Client, operation: Any, mode: GenerationMode, checks: list[CheckFunction], statuses: Counter[int]
) -> None:
    """Ask one operation for different things, the same ones each time."""

    @seed(7)
    @settings(max_examples=50 if LONG else 3, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode), choice=st.integers(0, 11))
    def once(case: Any, choice: int) -> None:
        if mode is GenerationMode.POSITIVE and choice < 8:
            case.path_parameters = {name: KNOWN[name][choice % len(KNOWN[name])] for name in case.path_parameters or ()}
        arguments = case.as_transport_kwargs(base_url=str(client.base_url))
        if "%00" in str(client.build_request("GET", arguments["url"], params=arguments.get("params")).url):
            return  # which is no URL that the server takes, whatever it is for
        answer = client.request(
            arguments["method"],
            arguments["url"],
            params=arguments.get("params"),
            headers=arguments.get("headers"),
            json=arguments.get("json"),
        )
        statuses[answer.status_code] += 1
        case.validate_response(answer, checks=checks)

    once()
