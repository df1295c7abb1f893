"""A disk that forgets what was not synced: what is left after power loss, worked out from a trace.

The model is the strictest that POSIX allows. What was written to a file is durable once that file was synced; a name
(created, renamed, removed) is durable once its folder was synced, and so a file renamed from one folder to another may
be found under both names, or neither. Real filesystems promise more. What is not durable may have reached the disk all
the same, in any order and by halves: `Forgetting` says how much of it.
"""

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.trace import Call, Event, TraceError

_SECTOR = 512
_PAGE = 4096


@dataclass(eq=False)
class Write:
    """Bytes written to a file. `data` None: the file's length was set to `offset`."""

    offset: int
    data: bytes | None


@dataclass(eq=False)
class File:
    """A file: its length, what is durable of it, and what was done to it since, in order.

    `synced` counts what is durable of all that was ever done to it.
    """

    length: int = 0
    durable: bytearray = field(default_factory=bytearray)
    pending: list[Write] = field(default_factory=list)
    synced: int = 0

    def write(self, offset: int, data: bytes | None) -> None:
        """Change bytes, or with None the length."""
        self.length = offset if data is None else max(self.length, offset + len(data))
        self.pending.append(Write(offset, data))

    def sync(self, until: int) -> None:
        """Make durable what was done first, `until` changes of all."""
        done, self.pending = self.pending[: until - self.synced], self.pending[max(0, until - self.synced) :]
        for write in done:
            _apply(self.durable, write)
        self.synced += len(done)


@dataclass(eq=False)
class Folder:
    """A folder: the names in it, those that are durable, and what was done to them since, in order.

    Names that a change sets at once are durable at once; None removes one.
    """

    names: dict[str, "File | Folder"] = field(default_factory=dict)
    durable: dict[str, "File | Folder"] = field(default_factory=dict)
    pending: list[dict[str, "File | Folder | None"]] = field(default_factory=list)
    synced: int = 0

    def set(self, names: dict[str, "File | Folder | None"]) -> None:
        """Change names."""
        _rename(self.names, names)
        self.pending.append(names)

    def sync(self, until: int) -> None:
        """Like File.sync."""
        done, self.pending = self.pending[: until - self.synced], self.pending[max(0, until - self.synced) :]
        for names in done:
            _rename(self.durable, names)
        self.synced += len(done)


@dataclass
class Forgetting:
    """What becomes of what is not durable.

    Args:
        kept: how likely each write, and each change of a name, has reached the disk all the same, 0 to 1. Of what is
            kept a part is torn: some of its sectors or pages are there, others aren't.
        choice: draws.
    """

    kept: float = 0.0
    choice: random.Random = field(default_factory=random.Random)

    def keeps(self) -> bool:
        """Whether something has reached the disk."""
        return self.choice.random() < self.kept

    def pieces(self, write: Write) -> list[Write]:
        """The parts of a write that have reached the disk."""
        if not self.keeps():
            return []
        if write.data is None or self.choice.random() < 0.5:
            return [write]
        size = self.choice.choice((_SECTOR, _PAGE))
        starts = range(0, len(write.data), size)
        parts = [Write(write.offset + start, write.data[start : start + size]) for start in starts]
        return [part for part in parts if self.choice.random() < 0.5]


class ForgetfulDisk:
    """The files below a folder, as the events of a trace change them.

    Args:
        root: the folder, empty and durable when the trace begins.
        lies: which calls that sync something are to have no effect.
    """

    def __init__(self, root: Path, *, lies: Callable[[Call], bool] = lambda call: False) -> None:
        self._root = root.resolve()
        self._top = Folder()
        self._lies = lies
        self._syncing: dict[Call, list[tuple[File | Folder, int]]] = {}

    def take(self, event: Event) -> None:
        """Go on by one event.

        Raises:
            TraceError: it changes files in a way that this model does not know.
        """
        call = event.call
        if call.name in {"fsync", "fdatasync", "syncfs", "sync"}:
            if not event.ended:
                # What is done while it runs need not be covered by it.
                self._syncing[call] = [(one, one.synced + len(one.pending)) for one in self._covered(call)]
            elif call.result is not None and not self._lies(call):
                for one, until in self._syncing.pop(call):
                    one.sync(until)
        elif event.ended and call.result is not None:
            self._change(call)

    def materialise(self, target: Path, forgetting: Forgetting) -> None:
        """Write what is left after power loss to a folder that is empty or is not there."""
        _write_folder(self._top, target, forgetting, {})

    def _covered(self, call: Call) -> list[File | Folder]:
        if call.name == "sync" or (call.name == "syncfs" and self._inside(call.file(0))):
            return list(_all_below(self._top))
        found = self._find(call.file(0))
        return [] if found is None else [found]

    def _inside(self, path: Path | None) -> bool:
        return path is not None and path.is_relative_to(self._root)

    def _find(self, path: Path | None) -> File | Folder | None:
        """What a path below the root names; None for a path elsewhere."""
        if path is None or not path.is_relative_to(self._root):
            return None
        found: File | Folder = self._top
        for name in path.relative_to(self._root).parts:
            if not isinstance(found, Folder) or name not in found.names:
                raise TraceError(f"{path} is in the trace, but never came to be")
            found = found.names[name]
        return found

    def _file(self, path: Path | None) -> File | None:
        found = self._find(path)
        if isinstance(found, Folder):
            raise TraceError(f"{path} is a folder")
        return found

    def _folder(self, path: Path) -> Folder | None:
        """The folder that holds a path; None for a path that is not below the root."""
        found = None if path == self._root else self._find(path.parent)
        if isinstance(found, File):
            raise TraceError(f"{path.parent} is no folder")
        return found

    def _change(self, call: Call) -> None:
        match call.name:
            case "open" | "creat":
                self._open(call.path(0), b"O_CREAT|O_TRUNC" if call.name == "creat" else call.arguments[1])
            case "openat" | "openat2":
                self._open(call.path(1, 0), call.arguments[2])
            case "mkdir":
                self._make(call.path(0), Folder())
            case "mkdirat":
                self._make(call.path(1, 0), Folder())
            case "unlink" | "rmdir":
                self._make(call.path(0), None)
            case "unlinkat":
                self._make(call.path(1, 0), None)
            case "rename":
                self._move(call.path(0), call.path(1))
            case "renameat":
                self._move(call.path(1, 0), call.path(3, 2))
            case _:
                self._change_content(call)

    def _change_content(self, call: Call) -> None:
        match call.name:
            case "pwrite64" | "pwritev":
                self._write(call.file(0), call.number(3), call.data(1)[: call.result])
            case "ftruncate":
                self._resize(call.file(0), call.number(1))
            case "truncate":
                self._resize(call.path(0), call.number(1))
            case "fallocate":
                self._allocate(call)
            case "mmap":
                self._map(call)
            case _:
                self._other(call)

    def _other(self, call: Call) -> None:
        """A call that has no effect on the files, or one that the model does not know."""
        if call.name == "sync_file_range":  # promises nothing
            return
        file = {"write": 0, "writev": 0, "pwritev2": 0, "sendfile": 0, "splice": 2, "copy_file_range": 2}
        if call.name not in file or self._inside(call.file(file[call.name])):
            raise TraceError(f"{call.name} changes files in a way that is not known")

    def _open(self, path: Path, flags: bytes) -> None:
        if not self._inside(path) or b"O_DIRECTORY" in flags:
            return
        if any(flag in flags for flag in (b"O_TMPFILE", b"O_SYNC", b"O_DSYNC")):
            raise TraceError(f"{path} is opened with {flags.decode()}")
        folder = self._folder(path)
        if folder is not None and b"O_CREAT" in flags and path.name not in folder.names:
            folder.set({path.name: File()})
        elif b"O_TRUNC" in flags and (file := self._file(path)) is not None and file.length:
            file.write(0, None)

    def _make(self, path: Path, made: File | Folder | None) -> None:
        if (folder := self._folder(path)) is not None:
            folder.set({path.name: made})

    def _move(self, old: Path, new: Path) -> None:
        source, target = self._folder(old), self._folder(new)
        if source is None and target is None:
            return
        if source is None or target is None:
            raise TraceError(f"{old} is moved to {new}, and one of them is elsewhere")
        if source is target:
            source.set({old.name: None, new.name: source.names[old.name]})
        else:
            moved = source.names[old.name]
            source.set({old.name: None})
            target.set({new.name: moved})

    def _write(self, path: Path | None, offset: int, data: bytes) -> None:
        if (file := self._file(path)) is not None:
            file.write(offset, data)

    def _resize(self, path: Path | None, length: int) -> None:
        if (file := self._file(path)) is not None:
            file.write(length, None)

    def _allocate(self, call: Call) -> None:
        file = self._file(call.file(0))
        if file is not None:
            if call.arguments[1] != b"0":
                raise TraceError(f"fallocate with {call.arguments[1].decode()}")
            file.write(max(file.length, call.number(2) + call.number(3)), None)

    def _map(self, call: Call) -> None:
        path = call.file(4)
        shared = b"MAP_SHARED" in call.arguments[3] and b"PROT_WRITE" in call.arguments[2]
        if shared and path is not None and self._inside(path) and not path.name.endswith("-shm"):
            raise TraceError(f"{path} is mapped to be written: what reaches the disk can't be seen")


def _write_folder(folder: Folder, target: Path, forgetting: Forgetting, made: dict[File, Path]) -> None:
    target.mkdir(exist_ok=True)
    names = dict(folder.durable)
    for change in folder.pending:
        if forgetting.keeps():
            _rename(names, change)
    for name, to in names.items():
        if isinstance(to, Folder):
            _write_folder(to, target / name, forgetting, made)
        elif to in made:
            os.link(made[to], target / name)
        elif not name.endswith("-shm"):  # SQLite's shared memory, made anew by who opens the database first
            content = bytearray(to.durable)
            for write in to.pending:
                for piece in forgetting.pieces(write):
                    _apply(content, piece)
            (target / name).write_bytes(content)
            made[to] = target / name


def _apply(content: bytearray, write: Write) -> None:
    end = write.offset + len(write.data or b"")
    if end > len(content):
        content.extend(bytes(end - len(content)))
    if write.data is None:
        del content[write.offset :]
    else:
        content[write.offset : end] = write.data


def _rename(names: dict[str, File | Folder], changes: dict[str, "File | Folder | None"]) -> None:
    for name, to in changes.items():
        names.pop(name, None)
        if to is not None:
            names[name] = to


def _all_below(folder: Folder) -> Iterator[File | Folder]:
    yield folder
    for one in folder.names.values():
        if isinstance(one, Folder):
            yield from _all_below(one)
        else:
            yield one
