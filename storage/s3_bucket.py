"""The requests that the S3 driver makes: what blocks, to be called from its threads.

Objects are at `<prefix>/objects/<key>`, what waits of unfinished uploads at `<prefix>/uploads/<upload id>/<name>`.
Names below are without the prefix. Everything raises StorageUnavailable or StorageFull; what else is said in its place.
"""

import time
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

from botocore.exceptions import BotoCoreError, ClientError

from storage.errors import InvalidKey, ObjectMissing, StorageError, StorageUnavailable, UploadDamaged, UploadMissing
from storage.s3_errors import CHANGED, GONE, UNKNOWN_HERE, code_of, explained
from storage.s3_options import S3Options
from storage.s3_parts import Collected

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client

OBJECTS = "objects/"
UPLOADS = "uploads/"
_WRITER = "stowage-writer"
_CONFLICTS = frozenset({"OperationAborted", "ConditionalRequestConflict", "ExistingObjectIsDirectory"})
"""What a store answers when another request is in the way for a moment, and to be asked again. The last is a gateway's
to a file system: it removed an empty folder just when the object was to be put there."""
_CONFLICT_ATTEMPTS = 5
_CONFLICT_PAUSE_S = 0.02

_OF_THE_WHOLE: dict[str, Any] = {"ChecksumType": "FULL_OBJECT"}
"""A checksum of parts' checksums would ask for part numbers without gaps."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Found:
    """What a request tells of an object: its name, bytes, ETag, and when it was last modified (since the epoch).

    The ETag is empty where the store has none: a gateway to a file system for files that it did not write.
    """

    name: str
    size: int
    etag: str
    modified_at: float


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a multipart upload. Of equal numbers, the one that came last counts. `crc`: its CRC-32, if known."""

    number: int
    size: int
    etag: str
    modified_at: float = 0.0
    crc: str = ""


@dataclass(frozen=True, slots=True)
class Multipart:
    """A multipart upload that goes on: the name that its object will have, and the store's id for it."""

    name: str
    id: str
    begun_at: float = 0.0


class Bucket:
    """One bucket, through one client."""

    def __init__(self, client: "S3Client", options: S3Options) -> None:
        self._client = client
        self._bucket = options.bucket
        self.prefix = f"{options.prefix}/" if options.prefix else ""
        self._place = options.place
        self.conditional = True
        """Whether the store refuses to overwrite when asked to (If-None-Match)."""
        self.is_plain = client.meta.endpoint_url.startswith("http://")
        """Whether what the store sends is on the socket as it is: no TLS."""
        self.patience = options.read_timeout_s
        """Seconds that the store may send nothing."""
        self._made: dict[str, Any] = {}
        self._checksums = options.checksums
        if options.storage_class is not None:
            self._made["StorageClass"] = options.storage_class
        if options.encryption.algorithm is not None:
            self._made["ServerSideEncryption"] = options.encryption.algorithm
        if options.encryption.kms_key_id is not None:
            self._made["SSEKMSKeyId"] = options.encryption.kms_key_id

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def look(self) -> None:
        """Return if the bucket is there and may be looked at."""
        with explained("look at", f"the {self._place}"):
            self._client.head_bucket(Bucket=self._bucket)

    def put(self, name: str, data: bytes, subject: str) -> str:
        """Store `data`, whatever was there, and return the ETag."""
        key = self.prefix + name
        with explained("write", subject):
            return _unhindered(
                lambda: self._client.put_object(
                    Bucket=self._bucket, Key=key, Body=data, **self._made, **self._checksum([data])
                )["ETag"]
            )

    def put_new(self, name: str, data: bytes, subject: str, writer: str) -> None:
        """Store `data`. `writer`: a word that nobody else uses. Raises InvalidKey if the name is taken."""
        if not self.conditional and self._is_taken(name, subject):
            raise InvalidKey(f"{subject} is taken: an object is never overwritten")
        key, made = self.prefix + name, {**self._made, **self._checksum([data]), "Metadata": {_WRITER: writer}}
        if self.conditional:
            made["IfNoneMatch"] = "*"
        try:
            _unhindered(lambda: self._client.put_object(Bucket=self._bucket, Key=key, Body=data, **made))
        except ClientError as error:
            # An attempt whose answer was lost is repeated, and then finds what it wrote itself.
            if code_of(error) in CHANGED and not self._wrote(name, writer, subject):
                raise InvalidKey(f"{subject} is taken: an object is never overwritten") from error
            if code_of(error) not in CHANGED:
                with explained("write", subject):
                    raise
        except BotoCoreError:
            with explained("write", subject):
                raise

    def head(self, name: str, subject: str) -> Found:
        """Say what an object is. Raises ObjectMissing."""
        return self._found(name, self._head(name, subject))

    def get(self, name: str, first: int, last: int, subject: str, etag: str = "") -> "tuple[StreamingBody, Found]":
        """Return the bytes from `first` to `last`, still to be read, and what the object is.

        Raises ObjectMissing; InvalidRange, a kind of StorageUnavailable, if it has no byte at `first`. With `etag`,
        StorageUnavailable if the object has another.
        """
        asked: dict[str, Any] = {"IfMatch": etag} if etag else {}
        try:
            with explained("read", subject):
                answer = self._client.get_object(
                    Bucket=self._bucket, Key=self.prefix + name, Range=f"bytes={first}-{last}", **asked
                )
        except StorageError as error:
            if code_of(error.__cause__) == "NoSuchKey":
                raise ObjectMissing(f"{subject} does not exist") from error
            if code_of(error.__cause__) == "InvalidRange":
                raise InvalidRange(str(error)) from error
            raise
        span = answer.get("ContentRange", "")
        if not span.startswith(f"bytes {first}-") or not span.rpartition("/")[2].isdigit():
            answer["Body"].close()
            raise StorageUnavailable(f"cannot read {subject}: the store sends another range than it was asked for")
        size = int(span.rpartition("/")[2])
        return answer["Body"], Found(name, size, answer.get("ETag", ""), answer["LastModified"].timestamp())

    def delete(self, name: str, subject: str) -> None:
        """Delete an object, or nothing."""
        try:
            with explained("delete", subject):
                self._client.delete_object(Bucket=self._bucket, Key=self.prefix + name)
        except StorageUnavailable as error:
            if code_of(error.__cause__) != "NoSuchKey":
                raise

    def delete_own(self, name: str, subject: str, writer: str) -> None:
        """Delete an object that `put_new` stored for this writer, if it is there, and not another's."""
        with suppress(ObjectMissing):
            if self._wrote(name, writer, subject):
                self.delete(name, subject)

    def delete_all(self, names: list[str], subject: str) -> None:
        """Delete a few objects, those that are there. One by one: not every store knows how to delete many at once."""
        for name in names:
            self.delete(name, subject)

    def delete_many(self, names: list[str]) -> dict[str, str]:
        """Delete up to 1,000 objects with one request. Return S3's words for what went wrong, by name."""
        asked: Any = {"Objects": [{"Key": self.prefix + name} for name in names], "Quiet": True}
        with explained("delete", f"{len(names)} objects"):
            answer = self._client.delete_objects(Bucket=self._bucket, Delete=asked)
        refused = {one["Key"].removeprefix(self.prefix): one.get("Code", "") for one in answer.get("Errors", [])}
        return {name: code for name, code in refused.items() if code != "NoSuchKey"}

    def page(self, prefix: str, after: str, most: int = 1000) -> tuple[list[Found], bool]:
        """List objects whose names begin with `prefix`, after one, in order; and say whether there are more."""
        asked: dict[str, Any] = {"StartAfter": self.prefix + after} if after else {}
        with explained("list", f"the {self._place}"):
            answer = self._client.list_objects_v2(
                Bucket=self._bucket, Prefix=self.prefix + prefix, MaxKeys=most, **asked
            )
        return [
            Found(
                one["Key"].removeprefix(self.prefix), one["Size"], one.get("ETag", ""), one["LastModified"].timestamp()
            )
            for one in answer.get("Contents", [])
        ], answer["IsTruncated"]

    def folders(self, prefix: str, token: str = "") -> tuple[list[str], str]:
        """List what names that begin with `prefix` go on with up to the next slash, and what to ask for more with.

        Args:
            prefix: ends with a slash.
            token: what the page before ended with; empty for the first. There is no more once it is empty.
        """
        asked: dict[str, Any] = {"ContinuationToken": token} if token else {}
        whole = self.prefix + prefix
        with explained("list", f"the {self._place}"):
            answer = self._client.list_objects_v2(Bucket=self._bucket, Prefix=whole, Delimiter="/", **asked)
        names = [one["Prefix"].removeprefix(whole).removesuffix("/") for one in answer.get("CommonPrefixes", [])]
        return names, answer.get("NextContinuationToken", "") if answer["IsTruncated"] else ""

    def multiparts(self, prefix: str, after: str = "") -> tuple[list[Multipart], bool]:
        """List multipart uploads whose objects' names will begin with `prefix`, after one, and whether there are more.

        Names are never used for two.
        """
        asked: dict[str, Any] = {"KeyMarker": self.prefix + after} if after else {}
        with explained("list", f"the {self._place}"):
            answer = self._client.list_multipart_uploads(Bucket=self._bucket, Prefix=self.prefix + prefix, **asked)
        return [
            Multipart(one["Key"].removeprefix(self.prefix), one["UploadId"], one["Initiated"].timestamp())
            for one in answer.get("Uploads", [])
            if one["Key"].startswith(self.prefix + prefix)
        ], answer.get("IsTruncated", False)

    def begin(self, name: str, subject: str) -> Multipart:
        """Begin a multipart upload."""
        made = {**self._made, **({"ChecksumAlgorithm": "CRC32", **_OF_THE_WHOLE} if self._checksums else {})}
        with explained("begin", subject):
            answer = self._client.create_multipart_upload(Bucket=self._bucket, Key=self.prefix + name, **made)
        return Multipart(name, answer["UploadId"], time.time())

    def upload_part(self, upload: Multipart, number: int, collected: Collected, subject: str) -> Part:
        """Send a part. Raises UploadMissing."""
        size = collected.size
        given: dict[str, Any] = {"PartNumber": number, "ContentLength": size, **self._checksum(collected.each())}
        with _upload_there("write", subject):
            answer = self._client.upload_part(**self._named(upload), **given, Body=collected.body())
        return Part(number, size, answer["ETag"], crc=given.get("ChecksumCRC32", ""))

    def upload_bytes(self, upload: Multipart, number: int, data: bytes, subject: str) -> Part:
        """Send bytes that are at hand as a part. Raises UploadMissing."""
        given: dict[str, Any] = {"PartNumber": number, **self._checksum([data])}
        with _upload_there("write", subject):
            answer = self._client.upload_part(**self._named(upload), **given, Body=data)
        return Part(number, len(data), answer["ETag"], crc=given.get("ChecksumCRC32", ""))

    def copy_part(self, upload: Multipart, number: int, source: Found, span: tuple[int, int], subject: str) -> Part:
        """Make a part of the bytes of an object between two positions, inside the store.

        Raises UploadMissing, UploadDamaged if the object is not what it was.
        """
        first, end = span
        with _upload_there("copy", subject):
            answer = self._client.upload_part_copy(
                **self._named(upload),
                PartNumber=number,
                CopySource={"Bucket": self._bucket, "Key": self.prefix + source.name},
                CopySourceRange=f"bytes={first}-{end - 1}",
                CopySourceIfMatch=source.etag,
            )
        made = answer["CopyPartResult"]
        return Part(number, end - first, made["ETag"], crc=made.get("ChecksumCRC32", ""))

    def parts(self, upload: Multipart, subject: str) -> list[Part]:
        """List the parts of a multipart upload, by number. Raises UploadMissing."""
        found: list[Part] = []
        marker = 0
        while True:
            with _upload_there("list", subject):
                answer = self._client.list_parts(**self._named(upload), PartNumberMarker=marker)
            for one in answer.get("Parts", []):
                modified = one["LastModified"].timestamp() if "LastModified" in one else 0.0
                crc = one.get("ChecksumCRC32", "")
                found.append(Part(one["PartNumber"], one["Size"], one["ETag"], modified, crc))
            if not answer.get("IsTruncated") or not answer.get("Parts"):
                return found
            marker = found[-1].number

    def complete(self, upload: Multipart, parts: Iterable[Part], subject: str) -> None:
        """Make the parts an object. Raises UploadMissing, UploadDamaged if a part is another."""
        listed = [
            {"PartNumber": part.number, "ETag": part.etag, **({"ChecksumCRC32": part.crc} if part.crc else {})}
            for part in parts
        ]
        with _upload_there("complete", subject):
            _unhindered(
                lambda: self._client.complete_multipart_upload(
                    **self._named(upload),
                    MultipartUpload={"Parts": listed},  # type: ignore[typeddict-item]  # plain dicts will do
                    **(_OF_THE_WHOLE if self._checksums else {}),
                )
            )

    def abort(self, upload: Multipart, subject: str) -> None:
        """End a multipart upload and forget its parts; one that is not there is none."""
        with suppress(UploadMissing), _upload_there("remove", subject):
            self._client.abort_multipart_upload(**self._named(upload))

    def _checksum(self, pieces: Iterable[bytes | memoryview]) -> dict[str, Any]:
        """Return the parameter that makes the store compare what it gets with what was sent."""
        if not self._checksums:
            return {}
        crc = 0
        for piece in pieces:
            crc = zlib.crc32(piece, crc)
        return {"ChecksumCRC32": b64encode(crc.to_bytes(4, "big")).decode()}

    def _named(self, upload: Multipart) -> "dict[str, Any]":
        return {"Bucket": self._bucket, "Key": self.prefix + upload.name, "UploadId": upload.id}

    def _head(self, name: str, subject: str) -> Mapping[str, Any]:
        try:
            with explained("look at", subject):
                return cast("Mapping[str, Any]", self._client.head_object(Bucket=self._bucket, Key=self.prefix + name))
        except StorageUnavailable as error:
            if code_of(error.__cause__) not in {"404", "NoSuchKey"}:
                raise
            # A HEAD has no body that would tell a missing object from a missing bucket, or from another server.
            self.look()
            raise ObjectMissing(f"{subject} does not exist") from error

    def _found(self, name: str, answer: Mapping[str, Any]) -> Found:
        return Found(name, answer["ContentLength"], answer.get("ETag", ""), answer["LastModified"].timestamp())

    def _is_taken(self, name: str, subject: str) -> bool:
        with suppress(ObjectMissing):
            self._head(name, subject)
            return True
        return False

    def _wrote(self, name: str, writer: str, subject: str) -> bool:
        return bool(self._head(name, subject).get("Metadata", {}).get(_WRITER) == writer)


class InvalidRange(StorageUnavailable):
    """The object has no such bytes."""


def is_unknown(error: StorageError) -> bool:
    """Say whether a request failed because the store does not know what it was asked for."""
    return code_of(error.__cause__) in UNKNOWN_HERE


def _unhindered(request: Callable[[], Result]) -> Result:
    """Return what `request` does, asked again where another is in its way."""
    for attempt in range(1, _CONFLICT_ATTEMPTS):
        try:
            return request()
        except ClientError as error:
            if code_of(error) not in _CONFLICTS:
                raise
            time.sleep(_CONFLICT_PAUSE_S * attempt)
    return request()


@contextmanager
def _upload_there(operation: str, subject: str) -> Iterator[None]:
    """Turn what boto3 raises inside into UploadMissing, UploadDamaged or what `explained` makes of it."""
    try:
        with explained(operation, subject):
            yield
    except StorageError as error:
        code = code_of(error.__cause__)
        if code in GONE:
            raise UploadMissing(f"{subject} is not in the store any more") from error
        if code in CHANGED:
            raise UploadDamaged(f"{subject} is not what it was: the store answered {code}") from error
        raise
