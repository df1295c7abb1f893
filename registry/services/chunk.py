"""The body of a push, on its way to a writer."""

from collections.abc import AsyncIterator, Awaitable, Callable

from storage.driver import CLAIM_STEP, Source, UploadWriter

Check = Callable[[], Awaitable[None]]
"""Raises if what is being done may not go on."""


class Chunk:
    """The body of a push.

    Args:
        body: its bytes as they come.
        span: first and last position by Content-Range, if the client said.
        source: what fills memory with it instead, never for an empty body.
    """

    def __init__(
        self, body: AsyncIterator[bytes], span: tuple[int, int] | None = None, source: Source | None = None
    ) -> None:
        self.span = span
        self.source = source
        self._body = body
        self._first = b""

    async def is_empty(self) -> bool:
        """Say whether the body has no bytes at all. Raises BodyCut."""
        if self.source is not None:
            return False
        while not self._first:
            try:
                self._first = await anext(self._body)
            except StopAsyncIteration:
                return True
        return False

    async def copy_to(self, writer: UploadWriter, check: Check | None = None) -> None:
        """Write all of the body. Raises BodyCut, StorageError, and what `check` raises.

        Args:
            check: asked before each CLAIM_STEP bytes.
        """
        due = writer.offset
        if self.source is not None:
            count = 1
            while count:
                due = await _checked(check, writer.offset, due)
                count = await writer.append_from(self.source)
        else:
            async for data in self:
                due = await _checked(check, writer.offset, due)
                await writer.write(data)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the body's bytes. Raises BodyCut."""
        if self._first:
            yield self._first
            self._first = b""
        async for data in self._body:
            yield data


async def _checked(check: Check | None, offset: int, due: int) -> int:
    """Ask `check` if it is time to; return the offset at which to ask again."""
    if check is None or offset < due:
        return due
    await check()
    return offset + CLAIM_STEP
