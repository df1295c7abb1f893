"""The one table that turns refusals into codes of the specification and statuses.

Source: distribution-spec, "Error Codes". A code is shared by several exceptions where the specification has only one
word for them; the message tells them apart.
"""

import logging
from collections.abc import Mapping

from auth import errors as auth_errors
from registry import errors
from registry.errors import ManifestReferenceUnknown, RangeInvalid, RegistryError
from registry.http.replies import Reply, json_reply
from storage import errors as storage_errors

logger = logging.getLogger("stowage.http")

TABLE: Mapping[type[Exception], tuple[int, str]] = {
    errors.NameInvalid: (400, "NAME_INVALID"),
    errors.NameUnknown: (404, "NAME_UNKNOWN"),
    errors.TagInvalid: (400, "MANIFEST_INVALID"),
    errors.DigestInvalid: (400, "DIGEST_INVALID"),
    errors.BlobUnknown: (404, "BLOB_UNKNOWN"),
    errors.UploadUnknown: (404, "BLOB_UPLOAD_UNKNOWN"),
    errors.UploadInvalid: (400, "BLOB_UPLOAD_INVALID"),
    errors.UploadConflict: (409, "BLOB_UPLOAD_INVALID"),
    errors.UploadOutOfOrder: (416, "BLOB_UPLOAD_INVALID"),
    errors.TooManySessions: (429, "TOOMANYREQUESTS"),
    errors.SizeInvalid: (400, "SIZE_INVALID"),
    errors.RangeInvalid: (416, "SIZE_INVALID"),
    errors.ManifestUnknown: (404, "MANIFEST_UNKNOWN"),
    errors.ManifestInvalid: (400, "MANIFEST_INVALID"),
    errors.ManifestTooLarge: (413, "MANIFEST_INVALID"),
    errors.TooManyTags: (414, "MANIFEST_INVALID"),
    errors.ManifestReferenceUnknown: (404, "MANIFEST_BLOB_UNKNOWN"),
    errors.ContentInUse: (403, "DENIED"),
    errors.PreconditionFailed: (412, "DENIED"),
    errors.QuotaExceeded: (403, "DENIED"),
    errors.QuotaUnknown: (404, "NAME_UNKNOWN"),
    errors.QueryInvalid: (400, "UNSUPPORTED"),
    errors.BodyCut: (400, "SIZE_INVALID"),
    errors.EndpointUnknown: (404, "UNSUPPORTED"),
    errors.MethodNotAllowed: (405, "UNSUPPORTED"),
    errors.CursorGone: (404, "UNSUPPORTED"),
    errors.TooManyWatchers: (503, "TOOMANYREQUESTS"),
    errors.RecordUnknown: (404, "NAME_UNKNOWN"),
    errors.RecordExists: (409, "DENIED"),
    errors.RecordInUse: (409, "DENIED"),
    errors.ValueInvalid: (400, "UNSUPPORTED"),
    errors.TagFixed: (403, "DENIED"),
    errors.ContentLocked: (403, "DENIED"),
    errors.MomentUnknown: (404, "NAME_UNKNOWN"),
    errors.RollbackRefused: (409, "DENIED"),
    errors.ContentDamaged: (409, "DENIED"),
    errors.ReadOnly: (503, "TOOMANYREQUESTS"),
    errors.NoSpace: (507, "TOOMANYREQUESTS"),
    errors.Unavailable: (503, "TOOMANYREQUESTS"),
    auth_errors.Unauthenticated: (401, "UNAUTHORIZED"),
    auth_errors.InsufficientScope: (401, "UNAUTHORIZED"),
    auth_errors.TokenInvalid: (401, "UNAUTHORIZED"),
    auth_errors.Denied: (403, "DENIED"),
    auth_errors.NameRefused: (400, "NAME_INVALID"),
    auth_errors.ScopeInvalid: (400, "UNSUPPORTED"),
    auth_errors.TooManyAttempts: (429, "TOOMANYREQUESTS"),
    auth_errors.SourceUnavailable: (503, "TOOMANYREQUESTS"),
    auth_errors.FetchRefused: (503, "TOOMANYREQUESTS"),
    auth_errors.LoginBroken: (400, "UNSUPPORTED"),
    storage_errors.InvalidDigest: (400, "DIGEST_INVALID"),
    storage_errors.ObjectMissing: (404, "BLOB_UNKNOWN"),
    storage_errors.UploadMissing: (404, "BLOB_UPLOAD_UNKNOWN"),
    storage_errors.UploadDamaged: (404, "BLOB_UPLOAD_UNKNOWN"),
    storage_errors.UploadBusy: (409, "BLOB_UPLOAD_INVALID"),
    storage_errors.StorageFull: (507, "TOOMANYREQUESTS"),
    storage_errors.StorageUnavailable: (503, "TOOMANYREQUESTS"),
}
_LISTED = 100
_RETRY_AFTER_S = b"5"


def error_reply(error: Exception, challenge: bytes | None = None) -> Reply:
    """Return the reply for a refusal. What is not in the table is a defect: it is logged, and its text stays here.

    Args:
        challenge: how to log in, for a 401 (RFC 9110, section 11.6.1).
    """
    for kind in type(error).__mro__:
        if kind in TABLE:
            status, code = TABLE[kind]
            break
    else:
        logger.error("a request failed unexpectedly", exc_info=error)
        return json_reply(500, {"errors": [_entry("UNKNOWN", "the server failed; its log says why")]})
    if status >= 500 and not isinstance(error, errors.ReadOnly):  # which somebody asked for
        logger.error("a request could not be served: %s", error)
    headers = _headers(status, error)
    if status == 401 and challenge is not None:
        headers.append((b"www-authenticate", challenge))
    return json_reply(status, {"errors": _entries(code, error)}, headers)


def _entries(code: str, error: Exception) -> list[dict[str, object]]:
    if isinstance(error, ManifestReferenceUnknown):
        return [
            _entry(code, "the manifest refers to content that is not in the repository", {"digest": digest})
            for digest in error.digests[:_LISTED]
        ]
    if isinstance(error, RegistryError):
        return [_entry(code, error.message, error.detail)]
    return [_entry(code, str(error))]


def _entry(code: str, message: str, detail: object = None) -> dict[str, object]:
    return {"code": code, "message": message, "detail": detail}


def _headers(status: int, error: Exception) -> list[tuple[bytes, bytes]]:
    if isinstance(error, RangeInvalid):
        return [(b"content-range", f"bytes */{error.size}".encode())]
    if isinstance(error, errors.MethodNotAllowed):
        return [(b"allow", ", ".join(error.allowed).encode())]
    if isinstance(error, errors.ReadOnly | auth_errors.TooManyAttempts):
        return [(b"retry-after", str(error.retry_after).encode())]
    if status in {429, 503, 507}:
        return [(b"retry-after", _RETRY_AFTER_S)]
    return []
