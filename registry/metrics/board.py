"""Memory that the processes of a server share: each counts in a region of its own, whoever is asked adds them up.

A region outlives its process, however that ended, and is the next one's: what was counted is never lost and never
goes back. No two processes write to one region at a time, so counting needs no lock. What is read while it is written
is a little old at worst: a cell is eight bytes, aligned, and changes as one.
"""

import mmap
import os
from array import array

from registry.metrics.families import Kind, Layout

CELL = 8
"""Bytes of a cell, a float64: whole numbers are exact up to 2**53."""

_PID = 0  # the first cell of a region: the process that counts here, 0 for none


class Board:
    """The regions. Made by the supervisor before it forks; a file in memory, without a name.

    Args:
        layout: what stands in each region.

    Attributes:
        owner: the process that made it.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.owner = os.getpid()
        self._cells = layout.cells + 1
        page = mmap.PAGESIZE
        self._size = -(-self._cells * CELL // page) * page
        self._descriptor = os.memfd_create("stowage-metrics")
        self._count = 0
        self._free: list[int] = []

    def close(self) -> None:
        """Let go of the memory, as far as it is this process's."""
        os.close(self._descriptor)

    def take(self) -> int:
        """Return a region for a process that is about to be started. Raises OSError where there is no memory."""
        if self._free:
            return self._free.pop(0)
        os.ftruncate(self._descriptor, (self._count + 1) * self._size)
        self._count += 1
        return self._count - 1

    def release(self, region: int) -> None:
        """Forget what was true of the process that had a region, keep what it had counted, and give it to the next."""
        os.pwrite(self._descriptor, bytes((1 + self.layout.gauges) * CELL), region * self._size)
        self._free = sorted([*self._free, region])

    def open(self, region: int) -> "memoryview[float]":
        """Return the cells of a region, for the process that counts in it."""
        memory = mmap.mmap(self._descriptor, self._size, offset=region * self._size)
        cells = memoryview(memory).cast("d")[: self._cells]
        cells[_PID] = os.getpid()
        return cells[1:]

    def processes(self) -> list[tuple[int, int]]:
        """Return each region that has a process, and its id."""
        found = ((number, int(cells[_PID])) for number, cells in enumerate(self._regions()))
        return [(number, pid) for number, pid in found if pid]

    def totals(self) -> "array[float]":
        """Return all regions as one, by the kind of each figure."""
        regions = self._regions()
        totals = array("d", map(sum, zip(*regions, strict=True)))[1:]
        for family, start in self.layout.families.values():
            if family.kind is Kind.LATEST:
                for at in range(start, start + family.size):
                    totals[at] = max(cells[at + 1] for cells in regions)
        return totals

    def _regions(self) -> "list[array[float]]":
        """Copy what is there now, of regions that were added meanwhile too."""
        size = os.fstat(self._descriptor).st_size
        with mmap.mmap(self._descriptor, size, prot=mmap.PROT_READ) as memory:
            starts = range(0, size, self._size)
            return [array("d", memory[start : start + self._cells * CELL]) for start in starts]
