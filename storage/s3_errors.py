"""What a failed request to S3 means, in this package's terms. Names no credentials and no signed URL."""

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    ReadTimeoutError,
    ResponseStreamingError,
    SSLError,
)
from urllib3.exceptions import HTTPError

from storage.errors import StorageError, StorageFull, StorageUnavailable

GONE = frozenset({"NoSuchKey", "NoSuchUpload"})
CHANGED = frozenset({"PreconditionFailed", "InvalidPart", "InvalidPartOrder"})
UNKNOWN_HERE = frozenset({"NotImplemented", "MethodNotAllowed"})
_FULL = frozenset({"QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "InsufficientStorage"})
REFUSED = {
    "NoSuchBucket": "there is no such bucket",
    "AccessDenied": "the credentials may not do that",
    "InvalidAccessKeyId": "the store does not know the access key id",
    "SignatureDoesNotMatch": "the secret access key is wrong",
    "ExpiredToken": "the credentials have expired",
    "RequestTimeTooSkewed": "this machine's clock is wrong",
    "SlowDown": "the store asks for fewer requests",
}
_BROKEN: tuple[tuple[type[Exception], str], ...] = (
    (NoCredentialsError, "there are no credentials"),
    (ConnectTimeoutError, "no connection in time"),
    (ReadTimeoutError, "no answer in time"),
    (SSLError, "the certificate of the endpoint is not trusted, or it speaks no TLS"),
    (EndpointConnectionError, "the endpoint can't be reached"),
    (ConnectionClosedError, "the connection broke"),
    (ResponseStreamingError, "the connection broke"),
    (IncompleteReadError, "the connection broke"),
    (HTTPClientError, "the connection broke"),
    (HTTPError, "the connection broke"),
)


def code_of(error: BaseException | None) -> str:
    """Return S3's word for what went wrong, such as `NoSuchKey`; for a HEAD it is the status; else empty."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""


def explanation(code: str) -> str:
    """Say in a few words what S3's word for what went wrong with one object of many means."""
    return REFUSED.get(code) or f"the store answered {code[:60]}"


def reason(error: BaseException) -> str:
    """Say in a few words what went wrong."""
    if isinstance(error, ClientError):
        code, status = code_of(error), error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return REFUSED.get(code) or f"the store answered {status}" + (f" {code[:60]}" if code != str(status) else "")
    for kind, text in _BROKEN:
        if isinstance(error, kind):
            return text
    return "the store's answer makes no sense" if isinstance(error, KeyError) else type(error).__name__


def storage_error(error: BaseException, operation: str, subject: str) -> StorageError:
    """Say that `operation` on `subject` (a key, an upload) failed."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(error, ClientError) else 0
    kind = StorageFull if status == 507 or code_of(error) in _FULL else StorageUnavailable
    return kind(f"cannot {operation} {subject}: {reason(error)}")


@contextmanager
def explained(operation: str, subject: str) -> Iterator[None]:
    """Turn what boto3 raises inside into a StorageError, its cause kept for who wants to know more."""
    try:
        yield
    except (BotoCoreError, ClientError, HTTPError, OSError, KeyError) as error:
        raise storage_error(error, operation, subject) from error
