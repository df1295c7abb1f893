"""What can go wrong with bytes. Plain exceptions: no HTTP, no registry nouns."""


class StorageError(Exception):
    """Base of everything this package raises on purpose."""


class InvalidDigest(StorageError, ValueError):
    """The text is not a digest of a supported algorithm."""


class InvalidKey(StorageError, ValueError):
    """The text is not a key: it could leave the store's root. Or, on publishing, an object has that key already."""


class ObjectMissing(StorageError):
    """Nothing is stored under this key."""


class UploadMissing(StorageError):
    """The store holds no such unfinished upload."""


class UploadBusy(StorageError):
    """Another request, of any process, is writing to this upload."""


class UploadDamaged(StorageError):
    """The store holds fewer bytes of the upload than were acknowledged (power loss, outside interference)."""


class StorageFull(StorageError):
    """The store has no room for these bytes. What was stored before is intact."""


class StorageUnavailable(StorageError):
    """The store does not answer, or answers with an error that is not about one object."""
