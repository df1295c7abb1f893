"""Opening what lies below a folder that others fill, without being led out of it by a symlink.

A symlink at the end is refused, wherever it leads; one on the way may lead elsewhere below the same root, not beyond.
"""

import os
import stat

from storage.errors import StorageUnavailable
from storage.filesystem_files import explained, open_regular, storage_error

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_file(root: str, path: str) -> int:
    """Open a regular file for reading and return its descriptor.

    Args:
        root: absolute, without symlinks (`os.path.realpath`).
        path: relative to it, without `..`.

    Raises:
        FileNotFoundError: it is not there.
        StorageUnavailable: it is no regular file, lies outside, or can't be read.
    """
    descriptor = open_regular(os.path.join(root, path), os.O_RDONLY, path)
    return _inside(descriptor, root, path)


def open_folder(root: str, path: str) -> int:
    """Open a folder, for listing. Raises like `open_file`."""
    try:
        with explained("list", path):
            descriptor = os.open(os.path.join(root, path), _FOLDER)
    except StorageUnavailable as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise FileNotFoundError(path) from None
        raise
    return _inside(descriptor, root, path)


def size_of(root: str, path: str) -> int:
    """Return the size in bytes of a regular file, without opening it for reading. Raises like `open_file`."""
    try:
        with explained("look at", path):
            descriptor = os.open(os.path.join(root, path), os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except StorageUnavailable as error:
        if isinstance(error.__cause__, (FileNotFoundError, NotADirectoryError)):
            raise FileNotFoundError(path) from None
        raise
    try:
        _check_inside(descriptor, root, path)
        found = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise StorageUnavailable(f"cannot look at {path}: it is not a regular file")
    return found.st_size


def _inside(descriptor: int, root: str, path: str) -> int:
    try:
        _check_inside(descriptor, root, path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_inside(descriptor: int, root: str, path: str) -> None:
    """Ask the kernel where the open file really is."""
    try:  # without `explained`: a takeover does this for millions of files
        real = os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError as error:
        raise storage_error(error, "look at", path) from error
    if not real.startswith(root if root.endswith("/") else f"{root}/"):
        raise StorageUnavailable(f"cannot open {path}: a symlink leads out of the store")
