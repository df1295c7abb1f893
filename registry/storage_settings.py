"""The sections of the configuration that say where blobs are kept."""

import re
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from registry.setting_types import Duration, Networks, Section, Size

_MIB = 1024**2


class FilesystemSettings(Section):
    """`storage.filesystem`: blobs in a folder."""

    root: Path | None = Field(None, description="Folder of the blobs; `storage` in the data folder when not given.")
    reserve: Size = Field(
        64 * 1024**2, description="While less is free on the folder's disk, uploads get 507; 0 keeps nothing free."
    )


class S3Settings(Section):
    """`storage.s3`: blobs in a bucket of S3, or of a store that speaks like it. `storage.driver` must be `s3`."""

    bucket: str | None = Field(None, description="The bucket, which must be there.")
    region: str | None = Field(
        None, description="Its region; found as boto3 does when not given, and us-east-1 where there is an `endpoint`."
    )
    endpoint: str | None = Field(
        None, description="Where the store is, e.g. https://minio.example.org:9000; Amazon's own when not given."
    )
    path_style: bool | None = Field(
        None,
        description="Whether the bucket is named in the path of a URL rather than in the host; so it is where there is "
        "an `endpoint`, if not given.",
    )
    prefix: str | None = Field(None, description="What all names in the bucket begin with, e.g. registry/production.")
    storage_class: str | None = Field(None, description="Storage class of what is written, e.g. INTELLIGENT_TIERING.")
    encryption: Literal["AES256", "aws:kms"] | None = Field(
        None,
        description="How the store is to encrypt: with its own keys (SSE-S3) or with KMS; as the bucket says "
        "when not given.",
    )
    kms_key_id: str | None = Field(None, description="The key of KMS; the account's own for S3 when not given.")
    access_key_id: str | None = Field(
        None,
        description="Who asks. When not given, boto3 looks in the environment, `profile`, web identity and the "
        "machine's metadata.",
    )
    secret_access_key: SecretStr | None = Field(None, description="The secret that belongs to `access_key_id`.")
    session_token: SecretStr | None = Field(None, description="The token of temporary credentials.")
    profile: str | None = Field(None, description="Profile in the files that the AWS command line uses.")
    connect_timeout: Duration = Field(5, description="Longest wait for a connection, in one attempt.")
    read_timeout: Duration = Field(30, description="Longest wait for an answer, or for it to go on, in one attempt.")
    attempts: int = Field(4, ge=1, le=20, description="How often a request is tried.")
    retry_mode: Literal["standard", "adaptive"] = Field(
        "standard", description="How boto3 tries again; adaptive slows down where the store asks for it."
    )
    checksums: bool = Field(
        True,
        description="Whether what is sent has a CRC-32 that the store compares; off for a store that refuses them.",
    )
    part_size: Size = Field(
        16 * _MIB,
        ge=5 * _MIB,
        le=1024 * _MIB,
        description="Size of the first 900 parts of a large upload; it doubles with each 900 after them.",
    )
    memory: Size = Field(
        64 * _MIB,
        ge=16 * _MIB,
        description="Memory a worker for parts that wait to be sent, of all uploads together; beyond it, and for parts "
        "larger than a quarter of it, temporary files are used.",
    )
    threads: int = Field(32, ge=4, le=1024, description="Most requests to the store at once, a worker.")
    redirect: bool = Field(
        False,
        description="Whether clients that pull a blob of more than 64 KiB are sent to the store with a signed URL. "
        "They must be able to reach it, and whoever has the URL can use it until it ends.",
    )
    redirect_endpoint: str | None = Field(None, description="Where clients reach the store; `endpoint` when not given.")
    redirect_lifetime: Duration = Field(
        1200, ge=60, le=7 * 86400, description="How long a signed URL holds, unless the credentials end before."
    )
    proxied_networks: Networks = Field((), description="Clients that are not redirected: addresses and networks.")

    @field_validator("endpoint", "redirect_endpoint")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.path.strip("/"):
            raise ValueError("expected http:// or https://, a host and nothing after it")
        return value.rstrip("/")

    @field_validator("prefix")
    @classmethod
    def _is_prefix(cls, value: str | None) -> str | None:
        stripped = (value or "").strip("/")
        name = r"(?!\.{1,2}(/|$))[A-Za-z0-9!_.*'()-]+"
        if stripped and (not re.fullmatch(rf"{name}(/{name})*", stripped) or len(stripped) > 256):
            raise ValueError("expected names of letters, digits and -_.!*'() with slashes between, 256 in all")
        return stripped or None


class StorageSettings(Section):
    """`storage`: where blobs are kept."""

    driver: str = Field(
        "filesystem",
        pattern=r"^[a-z0-9][a-z0-9_-]*$",
        description="Kind of storage: `filesystem`, `s3`, or what an installed package calls its driver.",
    )
    cache: Size = Field(
        16 * 1024**2, description="Memory a worker for the content of blobs of up to 64 KiB; 0 keeps none of it."
    )
    filesystem: FilesystemSettings = FilesystemSettings()
    s3: S3Settings = S3Settings()
    options: dict[str, bool | int | float | SecretStr] = Field(
        {}, description="What a driver of another package is told; texts are never shown."
    )

    @model_validator(mode="after")
    def _is_whole(self) -> "StorageSettings":
        if self.driver == "s3" and not self.s3.bucket:
            raise ValueError("expected storage.s3.bucket to name a bucket, since storage.driver is s3")
        if (self.s3.access_key_id is None) != (self.s3.secret_access_key is None):
            raise ValueError("expected storage.s3.access_key_id and secret_access_key, both or neither of them")
        return self
