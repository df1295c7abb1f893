"""One repository of another registry's storage, read through its links. Nothing that a link says is trusted."""

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from registry.oci.names import RepositoryName
from registry.services.takeover_report import Reason, Report
from storage.digest import Digest, algorithm_of, encoded_of, is_digest
from storage.foreign import ForeignStorage, Unreadable

_LINK_LIMIT = 1024
_MOST_TOLD = 100_000
"""So many faults of a repository are remembered."""


class Link(NamedTuple):
    """What a link file says: the digest it stands for, the digest under which the bytes lie, and when it was written.

    The two differ for content that was pushed with another algorithm than the registry stores it by.
    """

    digest: Digest
    target: Digest
    written_at: int


class Source:
    """A repository that is taken over. `report` hears of what can't be used."""

    def __init__(self, storage: ForeignStorage, name: RepositoryName, report: Report) -> None:
        self.storage = storage
        self.name = name
        self.report = report
        self._base = f"repositories/{name}"
        self._told: set[tuple[Reason, str, str]] = set()

    async def digests(self, folder: str) -> AsyncIterator[list[Digest]]:
        """List the digests that have a folder `ALGORITHM/HEX` in `folder`, in pages."""
        async for algorithms in self.storage.folders(f"{self._base}/{folder}"):
            for algorithm in algorithms:
                async for page in self.storage.folders(f"{self._base}/{folder}/{algorithm}"):
                    digests = [f"{algorithm}:{encoded}" for encoded in page]
                    for text in digests:
                        if not is_digest(text):
                            self.leave_out(Reason.NAME_INVALID, f"{folder}/{text}", "the name is no digest known here")
                    yield [Digest(text) for text in digests if is_digest(text)]

    async def links(self, folder: str, digests: Sequence[Digest]) -> list[Link]:
        """Read the links of digests in a folder. What has none was deleted there."""
        paths = [f"{folder}/{algorithm_of(one)}/{encoded_of(one)}/link" for one in digests]
        return [
            Link(digest, *found)
            for digest, path, found in zip(digests, paths, await self._read(paths), strict=True)
            if found is not None and self._agrees(digest, path, found[0])
        ]

    async def targets(self, paths: Sequence[str]) -> list[tuple[Digest, int] | None]:
        """Read links by path: what each names, and when it was written; None for what is not there or damaged."""
        return await self._read(paths)

    def leave_out(self, reason: Reason, item: str, message: str) -> None:
        """Note what could not be taken over; once, though it may be looked at again."""
        finding = (reason, item, message)
        if finding not in self._told:
            self.report.leave_out(reason, self.name, item, message)
            if len(self._told) < _MOST_TOLD:
                self._told.add(finding)

    def _agrees(self, digest: Digest, path: str, target: Digest) -> bool:
        """A link leads to its own digest, or to one of another algorithm over the same bytes."""
        if digest == target or algorithm_of(digest) != algorithm_of(target):
            return True
        self.leave_out(Reason.LINK_DAMAGED, path, f"the link of {digest} leads to {target}")
        return False

    async def _read(self, paths: Sequence[str]) -> list[tuple[Digest, int] | None]:
        files = await self.storage.read([f"{self._base}/{path}" for path in paths], _LINK_LIMIT)
        found: list[tuple[Digest, int] | None] = []
        for path, file in zip(paths, files, strict=True):
            if isinstance(file, Unreadable):
                self.leave_out(Reason.UNREADABLE, path, file.reason)
                found.append(None)
            elif file is None:
                found.append(None)
            else:
                text = file.content.strip().decode("ascii", "replace")
                if is_digest(text):
                    found.append((Digest(text), file.modified_at))
                else:
                    self.leave_out(Reason.LINK_DAMAGED, path, f"the link holds no digest: {text[:100]!r}")
                    found.append(None)
        return found
