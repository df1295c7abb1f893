"""The one table that turns refusals into problems (RFC 9457), as `registry.http.errors` does for the distribution API.

All are of the type `about:blank`, so `title` is the status in words; `code` is one word for programs, which stays the
same between versions, and `detail` a sentence for people.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from auth import errors as auth_errors
from registry import errors
from registry.http.challenges import BASIC

MEDIA_TYPE = "application/problem+json"

logger = logging.getLogger("stowage.api")


class BodyTooLarge(Exception):
    """The request's body is larger than any that the API takes."""


class MediaTypeUnsupported(Exception):
    """The request's body is not said to be JSON."""


class ValuesInvalid(Exception):
    """Some of what was sent can't be taken. `problems`: where, and why; they quote nothing, since it may be secret."""

    def __init__(self, message: str, problems: Sequence[Mapping[str, str]]) -> None:
        super().__init__(message)
        self.problems = problems


TABLE: Mapping[type[Exception], tuple[int, str]] = {
    errors.BodyCut: (400, "body-unreadable"),
    errors.QueryInvalid: (400, "query-unreadable"),
    errors.EndpointUnknown: (404, "endpoint-unknown"),
    errors.MethodNotAllowed: (405, "method-not-allowed"),
    errors.NameInvalid: (422, "value-invalid"),
    errors.TagInvalid: (422, "value-invalid"),
    errors.ValueInvalid: (422, "value-invalid"),
    errors.RecordUnknown: (404, "unknown"),
    errors.QuotaUnknown: (404, "unknown"),
    errors.RecordExists: (409, "exists"),
    errors.RecordInUse: (409, "in-use"),
    errors.CursorGone: (410, "cursor-gone"),
    errors.TooManyWatchers: (503, "too-many-watchers"),
    errors.TagFixed: (403, "denied"),
    errors.ContentLocked: (403, "denied"),
    errors.NameUnknown: (404, "unknown"),
    errors.ManifestUnknown: (404, "unknown"),
    errors.ContentInUse: (409, "in-use"),
    errors.ContentDamaged: (409, "damaged"),
    errors.RollbackRefused: (409, "impossible"),
    errors.MomentUnknown: (422, "moment-unknown"),
    errors.QuotaExceeded: (403, "quota-exceeded"),
    errors.PreconditionFailed: (412, "precondition-failed"),
    errors.ReadOnly: (503, "read-only"),
    errors.NoSpace: (507, "no-space"),
    errors.Unavailable: (503, "unavailable"),
    auth_errors.Unauthenticated: (401, "unauthenticated"),
    auth_errors.Denied: (403, "denied"),
    auth_errors.NameRefused: (422, "value-invalid"),
    auth_errors.ScopeInvalid: (422, "value-invalid"),
    auth_errors.TooManyAttempts: (429, "too-many-requests"),
    auth_errors.SourceUnavailable: (503, "unavailable"),
    BodyTooLarge: (413, "body-too-large"),
    MediaTypeUnsupported: (415, "media-type-unsupported"),
    ValuesInvalid: (422, "value-invalid"),
}
_TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}  # RFC 9110's, which older Pythons do not know
_RETRY_AFTER_S = 5
_LISTED = 20


class Problem:
    """An error as it is answered: a status, headers beside the content type, and a body."""

    __slots__ = ("body", "headers", "status")

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        headers: Mapping[str, str] | None = None,
        problems: Sequence[Mapping[str, str]] = (),
    ) -> None:
        self.status = status
        self.headers = {"content-type": MEDIA_TYPE, "cache-control": "no-store", **(headers or {})}
        title = _TITLES.get(status) or HTTPStatus(status).phrase
        content = {"type": "about:blank", "title": title, "status": status, "code": code, "detail": detail}
        listed = {"errors": list(problems[:_LISTED])} if problems else {}
        self.body = json.dumps({**content, **listed}, separators=(",", ":")).encode()


def problem_of(error: Exception) -> Problem:
    """Return the problem that an error is. What is not in the table is a defect: it is logged, and its text stays here.

    Those that the framework has of its own are turned into one of these before (`registry.api.application`).
    """
    for kind in type(error).__mro__:
        if kind in TABLE:
            status, code = TABLE[kind]
            break
    else:
        logger.error("a request failed unexpectedly", exc_info=error)
        return Problem(500, "failed", "the server failed; its log says why")
    if status >= 500 and not isinstance(error, errors.ReadOnly | errors.TooManyWatchers):
        logger.error("a request could not be served: %s", error)
    problems = error.problems if isinstance(error, ValuesInvalid) else ()
    if isinstance(error, errors.RollbackRefused):
        problems = error.detail
    return Problem(status, code, str(error), _headers(status, error), problems)


def _headers(status: int, error: Exception) -> dict[str, str]:
    if status == 401:
        return {"www-authenticate": BASIC.decode()}
    if isinstance(error, errors.MethodNotAllowed):
        return {"allow": ", ".join(error.allowed)}
    if isinstance(error, errors.ReadOnly | errors.TooManyWatchers | auth_errors.TooManyAttempts):
        return {"retry-after": str(error.retry_after)}
    return {"retry-after": str(_RETRY_AFTER_S)} if status in {503, 507} else {}
