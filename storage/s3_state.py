"""What is written down of an unfinished upload: the text in its session's row.

Of the parts only runs of numbers, their bytes and a hash over their ETags are kept: ten thousand of them would not fit,
and the store lists them.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from storage.errors import UploadDamaged, UploadMissing
from storage.s3_bucket import Multipart, Part

_LONGEST = 64 * 1024


@dataclass(frozen=True, slots=True)
class Tail:
    """Bytes after the last part, too few to be one: an object of their own under the upload's folder."""

    name: str
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class State:
    """An upload as it was flushed.

    Attributes:
        multipart: what the parts belong to, if there are any.
        runs: the numbers of the parts, as first and last of each run; other numbers are another writer's.
        size: bytes in the parts.
        seal: hash over the parts' numbers, sizes and ETags.
        etag: the ETag of an object made of these parts; empty if the store has its own way to make them.
        tail: what comes after them.
        spent: names of objects that are not needed once this state is recorded.
    """

    multipart: Multipart | None = None
    runs: tuple[tuple[int, int], ...] = ()
    size: int = 0
    seal: str = ""
    etag: str = ""
    tail: Tail | None = None
    spent: tuple[str, ...] = ()

    @property
    def flushed(self) -> int:
        """Bytes in all."""
        return self.size + (self.tail.size if self.tail is not None else 0)

    def encode(self) -> str:
        """Return the text."""
        text = json.dumps({"v": 1, **asdict(self)}, separators=(",", ":"))
        if len(text) > _LONGEST:
            raise UploadDamaged("the upload was taken over too often: its state no longer fits")
        return text

    @classmethod
    def decode(cls, text: str, subject: str) -> "State":
        """Read a text back. Raises UploadMissing if it is none."""
        try:
            found = json.loads(text)
            if found.pop("v") != 1:
                raise ValueError("another version's")
            multipart, tail = found["multipart"], found["tail"]
            return cls(
                multipart=None if multipart is None else Multipart(**multipart),
                runs=tuple((first, last) for first, last in found["runs"]),
                size=found["size"],
                seal=found["seal"],
                etag=found["etag"],
                tail=None if tail is None else Tail(**tail),
                spent=tuple(found["spent"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UploadMissing(f"{subject} does not exist") from None

    def chosen(self, listed: Sequence[Part], subject: str) -> list[Part]:
        """Return those of the parts in the store that are this upload's. Raises UploadDamaged if one is another."""
        parts = [part for part in listed if any(first <= part.number <= last for first, last in self.runs)]
        if seal(parts) != self.seal or sum(part.size for part in parts) != self.size:
            raise UploadDamaged(f"{subject} is not what it was: parts are missing or were written over")
        return parts


def runs(parts: Iterable[Part]) -> tuple[tuple[int, int], ...]:
    """Return the parts' numbers as runs."""
    found: list[tuple[int, int]] = []
    for part in parts:
        if found and found[-1][1] == part.number - 1:
            found[-1] = (found[-1][0], part.number)
        else:
            found.append((part.number, part.number))
    return tuple(found)


def seal(parts: Iterable[Part]) -> str:
    """Return a hash that only the same parts have."""
    hasher = hashlib.sha256()
    for part in parts:
        hasher.update(f"{part.number} {part.size} {part.etag}\n".encode())
    return hasher.hexdigest()


def etag_of(parts: Sequence[Part]) -> str:
    """Return the ETag that most stores give to the object made of these parts: the hash of their hashes, in quotes.

    Empty if the parts' own ETags are not hashes. Where keys of KMS are used, an object has another.
    """
    hasher = hashlib.md5(usedforsecurity=False)
    for part in parts:
        try:
            hasher.update(bytes.fromhex(part.etag.strip('"')))
        except ValueError:
            return ""
    return f'"{hasher.hexdigest()}-{len(parts)}"'
