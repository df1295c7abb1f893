"""The OpenAPI document: what FastAPI says of the routes, and what it can't know: who may ask, and how errors look."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi.openapi.utils import get_openapi
from starlette.routing import BaseRoute

from registry.api.paths import PREFIX
from registry.api.problems import MEDIA_TYPE

_ABOUT = """People, projects, rights, tokens, quotas and the audit log of a Stowage registry.

Log in with a name and a password, or with a token of the registry's (`stw_...`) as password or bearer token.
Listings come in pages: `limit`, `after`, and `next` in the answer, which is also a header `Link`. What can be changed
has an `ETag`, and takes `If-Match`. Every error is a problem (RFC 9457).
"""
_METHODS = frozenset({"get", "post", "put", "patch", "delete"})
_PROBLEM = {
    "type": "object",
    "title": "Problem",
    "description": "What went wrong (RFC 9457). `code`: one word for programs; `detail`: a sentence for people.",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {
        "type": {"type": "string", "const": "about:blank"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["in", "pointer", "detail"],
                "properties": {
                    "in": {"type": "string", "enum": ["body", "path", "query", "header"]},
                    "pointer": {"type": "string"},
                    "detail": {"type": "string"},
                },
                "additionalProperties": False,
            },
        },
    },
    "additionalProperties": False,
}
_REASONS = {
    "400": "The request can't be read.",
    "401": "Nobody, or nobody who counts, is logged in.",
    "403": "Whoever asks may not do this.",
    "404": "There is none, or none that whoever asks may know of.",
    "409": "It is there already, or something depends on it.",
    "410": "What came after the cursor is not known any more.",
    "412": "It has changed since: If-Match does not hold.",
    "413": "The body is too large.",
    "415": "The body is not said to be JSON.",
    "422": "A value can't be taken.",
    "429": "Too many requests, or logins that failed.",
    "503": "The registry is read-only, or can't do this now.",
    "507": "The disk is full.",
}


def described(title: str, version: str, routes: Sequence[BaseRoute]) -> dict[str, Any]:
    """Return the document (OpenAPI 3.1)."""
    document = get_openapi(title=title, version=version, openapi_version="3.1.0", description=_ABOUT, routes=routes)
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas["Problem"] = _PROBLEM
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    components["securitySchemes"] = {
        "password": {"type": "http", "scheme": "basic", "description": "A name and its password, or any and a token."},
        "token": {"type": "http", "scheme": "bearer", "description": "A token of the registry's own: stw_..."},
    }
    document["security"] = [{"password": []}, {"token": []}]
    for item in document["paths"].values():
        for method, operation in item.items():
            if method in _METHODS:
                _complete(method, operation)
    document["paths"][f"{PREFIX}/openapi.json"] = {"get": _OWN}
    return document


def _complete(method: str, operation: dict[str, Any]) -> None:
    responses: dict[str, Any] = operation["responses"]
    responses.pop("422", None)
    for status in _statuses(method, operation):
        responses[status] = {"description": _REASONS[status], "content": _CONTENT}
    for status, response in responses.items():
        if named := _headers(status, method, operation):
            response["headers"] = {name: _HEADERS[name] for name in named}


def _statuses(method: str, operation: Mapping[str, Any]) -> list[str]:
    # A body is refused where none belongs, too.
    found = ["400", "401", "403", "404", "413", "415", "422", "429", "503"]
    if method != "get":
        found += ["409", "507"]
    if "events" in operation["tags"]:
        found.append("410")
    if any(one["name"] == "If-Match" for one in operation.get("parameters", ())):
        found.append("412")
    return sorted(found)


def _headers(status: str, method: str, operation: Mapping[str, Any]) -> list[str]:
    found = []
    if status in {"200", "201"} and method == "post" and "201" in operation["responses"]:
        found.append("Location")
    if (
        status == "200"
        and _is_json(operation)
        and any(one["name"] == "after" for one in operation.get("parameters", ()))
    ):
        found.append("Link")
    if status in {"200", "201"} and _schema(operation, status) in _TAGGED:
        found.append("ETag")
    if status == "401":
        found.append("WWW-Authenticate")
    return found


def _is_json(operation: Mapping[str, Any]) -> bool:
    return "application/json" in operation["responses"]["200"]["content"]


def _schema(operation: Mapping[str, Any], status: str) -> str:
    shown = operation["responses"][status]["content"].get("application/json", {}).get("schema", {})
    return str(shown.get("$ref", "")).rpartition("/")[2]


def _header(description: str, *, required: bool) -> dict[str, Any]:
    return {"description": description, "required": required, "schema": {"type": "string"}}


_HEADERS = {
    "Location": _header("Where what was made is.", required=True),
    "ETag": _header("What If-Match takes.", required=True),
    "Link": _header("What follows (RFC 8288).", required=False),
    "WWW-Authenticate": _header("How to log in.", required=True),
}
_TAGGED = frozenset({"ProjectWithAccounts", "Quota", "ServiceAccount", "UserWithGroups"})
"""Schemas of what can be changed."""

_CONTENT = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
_OWN = {
    "summary": "This document",
    "operationId": "show_document",
    "tags": ["document"],
    "security": [{}],
    "responses": {
        "200": {
            "description": "OpenAPI 3.1.",
            "content": {"application/json": {"schema": {"type": "object"}}},
        },
        **{
            status: {"description": _REASONS[status], "content": _CONTENT}
            for status in ("400", "413", "415", "422", "429", "503")
        },
    },
}
