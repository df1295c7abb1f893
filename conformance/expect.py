"""What checks say about answers: each function raises `Failed` with what came, unless it is what was expected."""

import json
from typing import Any

import httpx

from conformance.client import show_url
from conformance.content import digest_of


class Failed(Exception):
    """The registry did not do what the check's requirement says; the message tells what it did."""


class Unsupported(Exception):
    """The registry declines the feature in a way that the specification allows; the message tells how."""


def that(condition: bool, message: str) -> None:
    """Fail with the message unless the condition holds."""
    if not condition:
        raise Failed(message)


def describe(response: httpx.Response) -> str:
    """The request and what it was answered, on one line: `GET /v2/a/tags/list answered 404 (NAME_UNKNOWN)`."""
    request = response.history[0].request if response.history else response.request
    codes = ", ".join(error_codes(response))
    return f"{request.method} {show_url(str(request.url))} answered {response.status_code}" + (codes and f" ({codes})")


def status(response: httpx.Response, *allowed: int) -> httpx.Response:
    """The answer, when its status is one of those allowed."""
    expected = " or ".join(str(one) for one in allowed)
    that(response.status_code in allowed, f"{describe(response)}, expected {expected}")
    return response


def refused(response: httpx.Response) -> httpx.Response:
    """The answer, when it is any 4xx."""
    that(response.is_client_error, f"{describe(response)}, expected a status of 4xx")
    return response


def header(response: httpx.Response, name: str, value: str | None = None) -> str:
    """A header of the answer, or of a redirect that led to it. `value`: what it must be."""
    found = next((one.headers[name] for one in [response, *reversed(response.history)] if name in one.headers), None)
    if found is None:
        raise Failed(f"{describe(response)} without the header {name}")
    that(value is None or found == value, f"{describe(response)} with {name}: {found}, expected {value}")
    return found


def digest_header(response: httpx.Response, data: bytes) -> None:
    """Fail unless Docker-Content-Digest is a digest of these bytes, of whichever algorithm."""
    value = header(response, "Docker-Content-Digest")
    algorithm = value.partition(":")[0]
    known = algorithm in ("sha256", "sha384", "sha512")
    that(known and value == digest_of(data, algorithm), f"{describe(response)} with Docker-Content-Digest: {value}")


def media_type(response: httpx.Response) -> str:
    """The media type of the answer in lower case, without parameters; empty when there is none."""
    value: str = response.headers.get("Content-Type", "")
    return value.partition(";")[0].strip().lower()


def body(response: httpx.Response, data: bytes) -> httpx.Response:
    """The answer, when its body is exactly these bytes."""
    got = response.content
    if got != data:
        where = next((i for i, (a, b) in enumerate(zip(got, data, strict=False)) if a != b), min(len(got), len(data)))
        raise Failed(
            f"{describe(response)} with {len(got)} bytes that differ from byte {where} on, "
            f"expected the {len(data)} bytes that were pushed"
        )
    return response


def json_object(response: httpx.Response) -> dict[str, Any]:
    """The answer's body as a JSON object."""
    try:
        value = json.loads(response.content)
    except ValueError as error:
        raise Failed(f"{describe(response)} with a body that is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise Failed(f"{describe(response)} with JSON that is no object")
    return value


def error_codes(response: httpx.Response) -> list[str]:
    """The codes in an error's body; none when there is no body in the specification's format."""
    if not response.is_error:
        return []
    try:
        return [str(error["code"]) for error in json.loads(response.content)["errors"]]
    except (ValueError, KeyError, TypeError):
        return []


def code(response: httpx.Response, *wanted: str, required: bool = False) -> None:
    """Fail unless the error's body holds one of the codes.

    Raises:
        Unsupported: the body has no code at all, which is left open unless one is `required`.
    """
    if not required and not error_codes(response):
        raise Unsupported(f"{describe(response)} without a code")
    expected = " or ".join(wanted)
    that(not set(wanted).isdisjoint(error_codes(response)), f"{describe(response)}, expected the code {expected}")
