"""Every way a request can be refused, in the registry's own words. No HTTP here.

`registry/http/errors.py` holds the one table that turns each of these into a code of the specification and a status.
`message` is one sentence for a person, naming the cause and, where there is one, the way out; `detail` is for programs.
"""

from typing import Any


class RegistryError(Exception):
    """Base of all refusals. `detail` must be JSON-serialisable."""

    def __init__(self, message: str, *, detail: Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail


class NameInvalid(RegistryError):
    """A repository name that the specification's grammar does not allow."""


class NameUnknown(RegistryError):
    """No such repository."""


class TagInvalid(RegistryError):
    """A tag that the specification's grammar does not allow."""


class DigestInvalid(RegistryError):
    """Not a digest, an unsupported algorithm, or content that does not hash to it."""


class BlobUnknown(RegistryError):
    """The repository links no such blob, or its bytes are not there."""


class UploadUnknown(RegistryError):
    """No such upload session: it ended, was cancelled, expired or never was."""


class UploadInvalid(RegistryError):
    """The upload request contradicts itself."""


class UploadConflict(RegistryError):
    """Another request is writing to the same session."""


class UploadOutOfOrder(RegistryError):
    """A chunk does not start where the last one ended. `offset`: bytes received so far."""

    def __init__(self, message: str, *, offset: int) -> None:
        super().__init__(message, detail={"offset": offset})
        self.offset = offset


class TooManySessions(RegistryError):
    """The repository has as many open upload sessions as `uploads.max_sessions` allows."""


class SizeInvalid(RegistryError):
    """A length that was declared and the bytes that came do not agree."""


class RangeInvalid(RegistryError):
    """A Range that selects nothing of the blob. `size`: the blob's size in bytes."""

    def __init__(self, message: str, *, size: int) -> None:
        super().__init__(message, detail={"size": size})
        self.size = size


class ManifestUnknown(RegistryError):
    """The repository has no such manifest or tag."""


class ManifestInvalid(RegistryError):
    """The manifest's bytes can't be accepted as what they claim to be."""


class ManifestTooLarge(RegistryError):
    """The manifest is over `manifests.max_size`."""


class TooManyTags(RegistryError):
    """More `tag` parameters in one request than `manifests.max_tags`."""


class ManifestReferenceUnknown(RegistryError):
    """The manifest refers to content that the repository does not have. `digests`: which, in the manifest's order."""

    def __init__(self, digests: list[str]) -> None:
        super().__init__(f"the manifest refers to content that is not in the repository: {', '.join(digests[:3])}")
        self.digests = digests


class ContentInUse(RegistryError):
    """Something in the repository still refers to what should be deleted."""


class PreconditionFailed(RegistryError):
    """If-Match or If-None-Match does not hold."""


class QueryInvalid(RegistryError):
    """A query parameter that can't be understood."""


class BodyCut(RegistryError):
    """The client went away, or stopped sending, in the middle of a body."""


class Unavailable(RegistryError):
    """Database or storage can't serve this now; trying again later may help."""


class NoSpace(Unavailable):
    """The disk is full."""


class ReadOnly(RegistryError):
    """Maintenance is on: nothing may be written. `retry_after`: seconds after which to try again."""

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class EndpointUnknown(RegistryError):
    """The path is none of the registry's."""


class MethodNotAllowed(RegistryError):
    """The path exists, not with this method. `allowed`: the methods it has."""

    def __init__(self, message: str, *, allowed: list[str]) -> None:
        super().__init__(message, detail={"allowed": allowed})
        self.allowed = allowed


class RecordUnknown(RegistryError):
    """No such user, group, project, service account, token, grant, role or rule."""


class RecordExists(RegistryError):
    """There is one of that name already."""


class RecordInUse(RegistryError):
    """Something still depends on what should be removed, disabled or changed."""


class ValueInvalid(RegistryError):
    """A value that can't be taken; the message says what was expected."""


class TagFixed(RegistryError):
    """The tag is there, and may not be moved or deleted, by whoever asks or by anybody.

    `tag`: which. `rule`: the number of the rule that says so, None if no rule does.
    """

    def __init__(self, message: str, *, tag: str, rule: int | None = None) -> None:
        super().__init__(message, detail={"tag": tag} if rule is None else {"tag": tag, "rule": rule})
        self.tag = tag
        self.rule = rule


class ContentLocked(RegistryError):
    """Somebody locked the manifest: it stays until it is unlocked."""


class MomentUnknown(RegistryError):
    """What was there at a moment can't be told: it has not come yet, or is too long ago."""


class RollbackRefused(RegistryError):
    """Some of a rollback can't be done, so nothing was. `detail`: a list of tags, with what each is to name and why."""


class ContentDamaged(RegistryError):
    """Bytes of what should come back are damaged."""


class QuotaExceeded(RegistryError):
    """The project would hold more than it may. `detail` has what is used, the limit, and what is asked for beyond."""


class QuotaUnknown(RegistryError):
    """The project has no quota."""


class CursorGone(RegistryError):
    """What came after a cursor in the stream of events is not known any more."""


class TooManyWatchers(RegistryError):
    """As many follow the stream of events as this process lets.

    Attributes:
        retry_after: seconds after which it is worth trying again.
    """

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after
