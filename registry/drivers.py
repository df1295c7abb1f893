"""The blob driver that the settings name: one of Stowage's own, or one that another package brings.

A package brings a driver by an entry point of the group `stowage.storage_drivers`: a function that takes a mapping of
options and returns a `storage.driver.BlobDriver`. `docs/drivers.md` says more.
"""

import importlib
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from pydantic import SecretStr

from registry.settings import Settings
from registry.storage_settings import S3Settings
from storage.driver import BlobDriver
from storage.errors import StorageUnavailable
from storage.filesystem import FilesystemDriver
from storage.s3_options import Credentials, Encryption, Redirection, S3Options

GROUP = "stowage.storage_drivers"


def build_driver(settings: Settings) -> BlobDriver:
    """Return the driver, not started. Raises StorageUnavailable: there is none of that name, or it can't be made."""
    name = settings.storage.driver
    if name == "filesystem":
        return FilesystemDriver(settings.filesystem_root, reserve=settings.storage.filesystem.reserve)
    if name == "s3":
        # boto3 takes a third of a second to import, which only a start with S3 should wait for.
        module = importlib.import_module("storage.s3")
        driver: BlobDriver = module.S3Driver(s3_options(settings.storage.s3))
        return driver
    return _foreign(name, {key: _revealed(value) for key, value in settings.storage.options.items()})


def described(settings: Settings) -> str:
    """Say where blobs are, for the log."""
    name, s3 = settings.storage.driver, settings.storage.s3
    if name == "filesystem":
        return f"filesystem {settings.filesystem_root}"
    if name == "s3":
        return f"s3 {s3_options(s3).place}" + (f", prefix {s3.prefix}" if s3.prefix else "")
    return name


async def try_driver(driver: BlobDriver) -> None:
    """Start a driver and close it. Raises StorageUnavailable."""
    try:
        await driver.start()
    finally:
        await driver.close()


def s3_options(settings: S3Settings) -> S3Options:
    """Return what the settings of S3 come to."""
    return S3Options(
        bucket=settings.bucket or "",
        endpoint=settings.endpoint,
        region=settings.region,
        path_style=settings.path_style,
        prefix=settings.prefix or "",
        storage_class=settings.storage_class,
        credentials=Credentials(
            access_key_id=settings.access_key_id,
            secret_access_key=_revealed(settings.secret_access_key),
            session_token=_revealed(settings.session_token),
            profile=settings.profile,
        ),
        encryption=Encryption(settings.encryption, settings.kms_key_id),
        redirection=Redirection(
            enabled=settings.redirect,
            endpoint=settings.redirect_endpoint,
            lifetime_s=settings.redirect_lifetime,
            proxied_networks=settings.proxied_networks,
        ),
        connect_timeout_s=settings.connect_timeout,
        read_timeout_s=settings.read_timeout,
        attempts=settings.attempts,
        retry_mode=settings.retry_mode,
        checksums=settings.checksums,
        part_size=settings.part_size,
        memory=settings.memory,
        threads=settings.threads,
    )


def _foreign(name: str, options: Mapping[str, Any]) -> BlobDriver:
    found = entry_points(group=GROUP)
    if name not in found.names:
        known = ", ".join(sorted({"filesystem", "s3", *found.names}))
        raise StorageUnavailable(f"storage.driver: no installed package has a driver {name!r}: there are {known}")
    try:
        driver: BlobDriver = found[name].load()(options)
    except StorageUnavailable:
        raise
    except Exception as error:
        raise StorageUnavailable(f"storage.driver: {name} can't be used: {type(error).__name__}: {error}") from error
    return driver


def _revealed(value: Any) -> Any:
    return value.get_secret_value() if isinstance(value, SecretStr) else value
