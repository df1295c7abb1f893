"""The blob driver that the settings name: one of Stowage's own, or one that another package brings.

A package brings a driver by an entry point of the group `stowage.storage_drivers`: a function that takes a mapping of
options and returns a `storage.driver.BlobDriver`. `docs/drivers.md` says more.
"""

import importlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from registry.settings import Settings
from registry.storage_settings import S3Settings
from storage.bucket_place import BucketPlace, is_bucket
from storage.distribution import LAYOUT, DistributionDriver
from storage.driver import BlobDriver
from storage.errors import StorageUnavailable
from storage.filesystem import FilesystemDriver
from storage.foreign import ForeignStorage
from storage.foreign_folder import ForeignFolder
from storage.s3_options import Credentials, Encryption, Redirection, S3Options

GROUP = "stowage.storage_drivers"


def build_driver(settings: Settings) -> BlobDriver:
    """Return the driver, not started. Raises StorageUnavailable: there is none of that name, or it can't be made."""
    name = settings.storage.driver
    if name == "filesystem":
        return FilesystemDriver(settings.filesystem_root, reserve=settings.storage.filesystem.reserve)
    if name == "s3":
        driver: BlobDriver = _with_boto3("storage.s3").S3Driver(s3_options(settings.storage.s3))
        return driver
    return _foreign(name, {key: _revealed(value) for key, value in settings.storage.options.items()})


def build_imported(settings: Settings, name: str, place: str, may_delete: Callable[[], Awaitable[bool]]) -> BlobDriver:
    """Return the driver of a store that was taken over, not started. May block: call it in a thread.

    Args:
        name: of the store.
        place: what was written down of it.
        may_delete: asked before each deletion.

    Raises:
        StorageUnavailable: it can't be made.
    """
    if not is_bucket(place):
        return DistributionDriver(name, Path(place), may_delete)
    options = imported_options(settings.storage.s3, BucketPlace.parse(place))
    driver: BlobDriver = _with_boto3("storage.distribution_bucket").DistributionBucketDriver(name, options, may_delete)
    return driver


def build_foreign(settings: Settings, place: str) -> ForeignStorage:
    """Return the storage of another registry, for taking it over. Raises StorageUnavailable: it can't be made."""
    if not is_bucket(place):
        return ForeignFolder(Path(place))
    options = imported_options(settings.storage.s3, BucketPlace.parse(place))
    storage: ForeignStorage = _with_boto3("storage.foreign_bucket").ForeignBucket(place, options)
    return storage


def imported_options(settings: S3Settings, place: BucketPlace) -> S3Options:
    """Return how a bucket that was taken over is reached: as its place says, and otherwise as the registry's own is.

    Credentials and redirecting are for the endpoint that they were given for. For another one boto3 looks for
    credentials itself, and clients are not sent there.
    """
    own = s3_options(settings)
    is_own = place.endpoint == own.endpoint
    credentials = own.credentials if is_own and place.profile is None else Credentials(profile=place.profile)
    return replace(
        own,
        bucket=place.bucket,
        prefix=f"{place.prefix}/{LAYOUT}".lstrip("/"),
        endpoint=place.endpoint,
        region=place.region,
        path_style=place.path_style,
        credentials=credentials,
        redirection=own.redirection if is_own else Redirection(),
    )


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


def _with_boto3(module: str) -> Any:
    """Import a module that imports boto3: a third of a second, which only a start with S3 should wait for."""
    return importlib.import_module(module)


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
