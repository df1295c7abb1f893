"""What checks say about answers: each function raises `Failed` with what came, unless it is what was expected."""

import json
from typing import Any

import httpx

from conformance.content import digest_of
from conformance.exchange import show_url


class Failed(Exception):
    """The registry did not do what the check's requirement says.

    Attributes:
        found: what it did.
        expected: what it had to do, empty when the requirement alone says so.
        exchange: the number of the request that shows it in the client's `exchanges`, None when it is the last.
    """

    def __init__(self, found: str, expected: str = "", response: httpx.Response | None = None) -> None:
        super().__init__(f"{found}, expected {expected}" if expected else found)
        self.found = found
        self.expected = expected
        self.exchange: int | None = None if response is None else response.extensions.get("exchange")


class Lacking(Exception):
    """The registry declines what it MAY offer; the message tells how. Only checks of the level MAY raise it."""


class NotApplicable(Exception):
    """There is nothing to try, since the registry lacks something; the message tells what.

    Attributes:
        see: the name of the check that reports what is lacking.
    """

    def __init__(self, message: str, see: str) -> None:
        super().__init__(message)
        self.see = see


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
    if response.status_code not in allowed:
        raise Failed(describe(response), " or ".join(str(one) for one in allowed), response)
    return response


def refused(response: httpx.Response) -> httpx.Response:
    """The answer, when it is any 4xx."""
    if not response.is_client_error:
        raise Failed(describe(response), "a status of 4xx", response)
    return response


def header(response: httpx.Response, name: str, value: str | None = None) -> str:
    """A header of the answer, or of a redirect that led to it. `value`: what it must be."""
    found = next((one.headers[name] for one in [response, *reversed(response.history)] if name in one.headers), None)
    if found is None:
        raise Failed(f"{describe(response)} without the header {name}", response=response)
    if value is not None and found != value:
        raise Failed(f"{describe(response)} with {name}: {found}", value, response)
    return found


def digest_header(response: httpx.Response, data: bytes) -> None:
    """Fail unless Docker-Content-Digest is a digest of these bytes, of whichever algorithm."""
    value = header(response, "Docker-Content-Digest")
    algorithm = value.partition(":")[0]
    if algorithm not in ("sha256", "sha384", "sha512") or value != digest_of(data, algorithm):
        found = f"{describe(response)} with Docker-Content-Digest: {value}"
        raise Failed(found, f"{digest_of(data)}, or another digest of the same content", response)


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
            f"{describe(response)} with {len(got)} bytes that differ from byte {where} on",
            f"the {len(data)} bytes that were pushed",
            response,
        )
    return response


def json_object(response: httpx.Response) -> dict[str, Any]:
    """The answer's body as a JSON object."""
    try:
        value = json.loads(response.content)
    except (ValueError, RecursionError) as error:
        raise Failed(f"{describe(response)} with a body that is not JSON: {error}", response=response) from error
    if not isinstance(value, dict):
        raise Failed(f"{describe(response)} with JSON that is no object", response=response)
    return value


def error_codes(response: httpx.Response) -> list[str]:
    """The codes in an error's body; none when there is no body in the specification's format."""
    if not response.is_error:
        return []
    try:
        return [str(error["code"]) for error in json.loads(response.content)["errors"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []


def code(response: httpx.Response, *wanted: str) -> None:
    """Fail unless the error's body holds one of the codes."""
    if set(wanted).isdisjoint(error_codes(response)):
        raise Failed(describe(response), f"the code {' or '.join(wanted)}", response)


def code_if_any(response: httpx.Response, *wanted: str) -> None:
    """Fail unless the error's body holds one of the codes, or none at all: a body may have any format.

    Raises:
        NotApplicable: there is no code.
    """
    if not error_codes(response):
        raise NotApplicable(f"{describe(response)} without a code", see="error-codes/errors-have-codes")
    code(response, *wanted)
