"""Clients of S3, made by boto3: one for requests, one to sign addresses with. Importing this takes a third of a second.

boto3's clients may be used by several threads at once.
"""

from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from storage.errors import StorageUnavailable
from storage.s3_options import S3Options

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_SPARE_CONNECTIONS = 32
"""Beside one for each thread: pulls that go on hold theirs between the reads."""


def make_client(options: S3Options, endpoint: str | None = None) -> "S3Client":
    """Return a client. No request is made but those that find credentials.

    Args:
        endpoint: instead of the one in `options`.

    Raises:
        StorageUnavailable: there is no such profile, or a name or address is malformed.
    """
    given = options.credentials
    try:
        session = _session(given.profile)
        return session.client(
            "s3",
            region_name=options.region or session.region_name or ("us-east-1" if options.endpoint else None),
            endpoint_url=endpoint or options.endpoint,
            aws_access_key_id=given.access_key_id,
            aws_secret_access_key=given.secret_access_key,
            aws_session_token=given.session_token,
            config=_config(options),
        )
    except (BotoCoreError, ValueError) as error:
        raise StorageUnavailable(f"the bucket {options.bucket} at {options.where} can't be used: {error}") from error


@cache
def _session(profile: str | None) -> boto3.Session:
    """Return a session, which reads boto3's descriptions of S3 once: half a megabyte of JSON."""
    return boto3.Session(profile_name=profile)


def _config(options: S3Options) -> Config:
    # The hash of a body is not signed: that costs more than all the rest of a request, and parts have checksums.
    s3: Any = {"payload_signing_enabled": False}
    if options.path_style is not None or options.endpoint is not None:
        # Stores that are not Amazon's seldom have a name for each bucket.
        s3["addressing_style"] = "virtual" if options.path_style is False else "path"
    retries: Any = {"total_max_attempts": options.attempts, "mode": options.retry_mode}
    return Config(
        signature_version="s3v4",
        s3=s3,
        connect_timeout=options.connect_timeout_s,
        read_timeout=options.read_timeout_s,
        retries=retries,
        max_pool_connections=options.threads + _SPARE_CONNECTIONS,
        tcp_keepalive=True,
        user_agent_extra="stowage",
        # Checksums are given where they are (`storage.s3_bucket`): many stores know no trailing ones.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
