"""Files and folders under a filesystem store's root: what blocks, to be called from a thread unless said otherwise."""

import errno
import fcntl
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from storage.errors import InvalidKey, StorageError, StorageFull, StorageUnavailable, UploadBusy, UploadMissing

# EFBIG: the filesystem (or the process's limit) allows no file of this size.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FILE_MODE = 0o640
_FOLDER_MODE = 0o750
_OPEN_SAFELY = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_KNOWN_FOLDERS = 4096
BLOCK = 4096
"""Offsets, lengths and addresses of direct writes are multiples of this, which every filesystem's block divides."""
_NO_DIRECT = frozenset({errno.EINVAL, errno.EOPNOTSUPP})
# Above the root: a parent that is not ours to sync did not get its names from us either.
_NOT_OURS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.EINVAL})


def storage_error(error: OSError, operation: str, subject: str) -> StorageError:
    """Say in this package's terms that `operation` on `subject` (a key, an upload) failed. Names no path."""
    reason = os.strerror(error.errno) if error.errno else "unknown error"
    kind = StorageFull if error.errno in _FULL else StorageUnavailable
    return kind(f"cannot {operation} {subject}: {reason}")


@contextmanager
def explained(operation: str, subject: str) -> Iterator[None]:
    """Turn an OSError raised inside into a StorageError."""
    try:
        yield
    except OSError as error:
        raise storage_error(error, operation, subject) from error


def open_regular(path: str, flags: int, subject: str) -> int:
    """Open a regular file and return its descriptor.

    Raises FileNotFoundError if it is not there, StorageUnavailable for anything else: a symlink, a folder or a
    pipe is refused, without waiting for the pipe's other end.
    """
    try:
        descriptor = os.open(path, flags | _OPEN_SAFELY)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(errno.ENOENT, "no such file") from None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise StorageUnavailable(f"cannot open {subject}: it is not a regular file") from error
        raise storage_error(error, "open", subject) from error
    try:
        with explained("look at", subject):
            regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        if not regular:
            raise StorageUnavailable(f"cannot open {subject}: it is not a regular file")
    except StorageError:
        os.close(descriptor)
        raise
    return descriptor


def create_upload_file(path: str, subject: str) -> None:
    """Create an empty file. Raises UploadBusy if the name is taken, StorageFull, StorageUnavailable. Quick."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _OPEN_SAFELY, _FILE_MODE))
    except FileExistsError:
        raise UploadBusy(f"{subject} exists already") from None
    except OSError as error:
        raise storage_error(error, "create", subject) from error


def open_locked(path: str, subject: str) -> int:
    """Open an upload's file for reading and writing and lock it, for as long as the descriptor is open. Quick.

    flock belongs to the open file, not to the process: it holds between two requests of one process and between
    processes alike. Raises UploadMissing, UploadBusy, StorageUnavailable.
    """
    try:
        descriptor = open_regular(path, os.O_RDWR, subject)
    except FileNotFoundError:
        raise UploadMissing(f"{subject} does not exist") from None
    try:
        with explained("lock", subject):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locked = os.fstat(descriptor)
            named = os.stat(path, follow_symlinks=False)
        # Published or removed between open and lock; a second name would make this file an object's.
        if (named.st_dev, named.st_ino) != (locked.st_dev, locked.st_ino) or locked.st_nlink != 1:
            raise UploadMissing(f"{subject} does not exist")
    except StorageError as error:
        os.close(descriptor)
        if isinstance(error.__cause__, BlockingIOError):
            raise UploadBusy(f"{subject} is being written by another request") from None
        if isinstance(error.__cause__, FileNotFoundError):
            raise UploadMissing(f"{subject} does not exist") from None
        raise
    return descriptor


def remove_upload_file(path: str, subject: str) -> None:
    """Remove an upload nobody is writing; one that is not there is no error. Raises UploadBusy."""
    try:
        descriptor = open_locked(path, subject)
    except UploadMissing:
        # Gone, or after power loss a second name of what was published.
        with explained("remove", subject), suppress(FileNotFoundError):
            os.unlink(path)
        return
    try:
        with explained("remove", subject):
            os.unlink(path)
    finally:
        os.close(descriptor)


def write_at(descriptor: int, data: memoryview | bytearray, offset: int, *, direct: bool = False) -> None:
    """Write `data` at `offset`. The one place that writes content. Raises OSError.

    `direct` goes past the page cache with all whole blocks, where the filesystem takes that: copying into the cache and
    writing it back costs as much as hashing. `data` must then begin on a page's boundary. What is written either way is
    durable only after fsync.
    """
    with memoryview(data) as view:
        whole = view.nbytes - view.nbytes % BLOCK if direct and offset % BLOCK == 0 else 0
        done = _write_direct(descriptor, view[:whole], offset) if whole else 0
        while done < view.nbytes:
            done += _write_some(descriptor, view[done:], offset + done)


def _write_direct(descriptor: int, view: memoryview, offset: int) -> int:
    """Write whole blocks past the page cache, and return how many bytes; 0 where the filesystem refuses (tmpfs)."""
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    done = 0
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_DIRECT)
        while done < view.nbytes and done % BLOCK == 0:
            done += _write_some(descriptor, view[done:], offset + done)
    except OSError as error:
        if error.errno not in _NO_DIRECT:
            raise
    finally:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags)
    return done


def _write_some(descriptor: int, view: memoryview, offset: int) -> int:
    written = os.pwrite(descriptor, view, offset)
    if written == 0:
        raise OSError(errno.EIO, "nothing was written")
    return written


def read_exactly(descriptor: int, offset: int, length: int, subject: str) -> bytes:
    """Return `length` bytes at `offset`. Raises StorageUnavailable if the file ends before."""
    with explained("read", subject):
        data = os.pread(descriptor, length, offset)
        while len(data) < length:
            more = os.pread(descriptor, length - len(data), offset + len(data))
            if not more:
                raise StorageUnavailable(f"cannot read {subject}: it is truncated")
            data += more
    return data


def sync_folder(path: str) -> None:
    """Make the names in a folder durable. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Folders:
    """The folders under a root, made durable: may be used by several threads.

    That a folder exists does not say that its name is on disk: another process may have made it a moment ago. So a
    folder counts only once this process has synced its parent.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._durable = {root}
        self._guard = threading.Lock()

    def prepare(self) -> None:
        """Create the root with `blobs` and `uploads`, and sync every name from the mount point down. Raises OSError."""
        os.makedirs(self.root, _FOLDER_MODE, exist_ok=True)
        for name in ("blobs", "uploads"):
            with suppress(FileExistsError):
                os.mkdir(os.path.join(self.root, name), _FOLDER_MODE)
        self._sync_chain()
        self._durable.add(os.path.join(self.root, "blobs"))
        for folder in (os.path.join(self.root, "blobs"), *self._children(os.path.join(self.root, "blobs"))):
            # Listed before the sync: so what was listed is what the sync covers.
            children = self._children(folder)
            sync_folder(folder)
            self._durable.update(children)

    def require(self, folder: str) -> None:
        """Create `folder`, below the root, and its parents where missing, durably. Raises OSError."""
        with self._guard:
            if folder in self._durable:
                return
        parent = os.path.dirname(folder)
        self.require(parent)
        with suppress(FileExistsError):
            os.mkdir(folder, _FOLDER_MODE)
        sync_folder(parent)
        with self._guard:
            if len(self._durable) >= _KNOWN_FOLDERS:
                self._durable = {self.root}
            self._durable.add(folder)

    def forget(self) -> None:
        """Trust nothing any more: somebody removed a folder."""
        with self._guard:
            self._durable = {self.root}

    def _sync_chain(self) -> None:
        folder = os.path.realpath(self.root)
        sync_folder(folder)
        while (parent := os.path.dirname(folder)) != folder and os.stat(parent).st_dev == os.stat(folder).st_dev:
            try:
                sync_folder(parent)
            except OSError as error:
                if error.errno not in _NOT_OURS:
                    raise
            folder = parent

    @staticmethod
    def _children(folder: str) -> list[str]:
        with os.scandir(folder) as entries:
            return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]


def publish_file(descriptor: int, path: str, folders: Folders, key: str, size: int) -> None:
    """Give the file at `path`, of `size` bytes, the name `key`, durably.

    Raises InvalidKey, StorageFull, StorageUnavailable: then no object of that name is visible, and the caller removes
    what is left at `path`. Nothing is tried twice.
    """
    target = os.path.join(folders.root, key)
    with explained("publish", key):
        if os.fstat(descriptor).st_size != size:
            raise StorageUnavailable(f"cannot publish {key}: its file was changed by somebody else")
        # The time of publication, not of the last write: a sweeper must not take content that lay in an
        # upload for days for an object that was orphaned days ago.
        os.utime(descriptor)
        os.fsync(descriptor)
        _name(path, folders, key, target)
        try:
            sync_folder(os.path.dirname(target))
        except BaseException:
            with suppress(OSError):
                os.unlink(target)
            raise


def _name(path: str, folders: Folders, key: str, target: str) -> None:
    """Rename `path` to `target`, which must not exist.

    Looking before renaming leaves a gap, on purpose. Two publications meet in it only if they drew the same random
    key for the same digest, and then they carry the same bytes. Linking and unlinking would close the gap, but a
    crash between the two leaves an upload whose writer changes an object; rename has no such moment.
    """
    folder = os.path.dirname(target)
    folders.require(folder)
    if os.path.lexists(target):
        raise InvalidKey(f"{key} is taken: an object is never overwritten")
    try:
        os.rename(path, target)
    except FileNotFoundError:
        if not os.path.lexists(path):
            raise
        folders.forget()
        folders.require(folder)
        os.rename(path, target)


def delete_file(root: str, key: str) -> None:
    """Delete an object, durably. Raises StorageUnavailable.

    The folder is synced even if the name is gone: the delete that removed it may not have come that far.
    """
    path = os.path.join(root, key)
    with explained("delete", key), suppress(FileNotFoundError, NotADirectoryError):
        with suppress(FileNotFoundError):
            os.unlink(path)
        sync_folder(os.path.dirname(path))
