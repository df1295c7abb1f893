"""What a server did to its files, call by call, from a log of strace(1)."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# What changes files, what makes that durable, and what would change them unseen.
_CALLS = (
    "open,openat,openat2,creat,mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,rmdir,link,linkat,symlink,"
    "symlinkat,mknod,mknodat,write,writev,pwrite64,pwritev,pwritev2,truncate,ftruncate,fallocate,copy_file_range,"
    "sendfile,splice,fsync,fdatasync,sync_file_range,syncfs,sync,mmap,io_uring_setup"
)
_LONGEST_STRING = 8 * 1024 * 1024


class TraceError(Exception):
    """The log does not say what is needed."""


@dataclass(eq=False)
class Call:
    """A system call. Everything in hexadecimal is kept so until it is asked for.

    Attributes:
        time: of its beginning, in seconds since the epoch.
        name: of the system call.
        arguments: as strace prints them: strings and the paths of descriptors are in hexadecimal.
        result: what it returned; None if it failed, or has not ended yet.
    """

    time: float
    name: str
    arguments: tuple[bytes, ...]
    result: int | None = None

    def path(self, position: int, folder: int | None = None) -> Path:
        """The path at a position; one that is not absolute is below that of the descriptor at the position `folder`."""
        path = Path(os.fsdecode(self.data(position)))
        if not path.is_absolute():
            base = None if folder is None else self.file(folder)
            if base is None:
                raise TraceError(f"{self.name} of the relative path {path}")
            path = base / path
        return Path(os.path.normpath(path))

    def file(self, position: int) -> Path | None:
        """The path of the file that a descriptor leads to; None if it has none, or none any more."""
        found = re.fullmatch(rb"(?:-?\d+|AT_FDCWD)(?:<([\\x0-9a-f]*)>(\(deleted\))?)?", self.arguments[position])
        if found is None:
            raise TraceError(f"{self.name} of {self.arguments[position][:200]!r}, which is no descriptor")
        path = os.fsdecode(_from_hex(found[1] or b""))
        return Path(path) if path.startswith("/") and not found[2] else None

    def data(self, position: int) -> bytes:
        """The bytes at a position: of a string, or of a list of vectors."""
        _, *parts = self.arguments[position].split(b'"')
        if not parts or any(part.startswith(b"...") for part in parts[1::2]):
            raise TraceError(f"{self.name} of {self.arguments[position][:200]!r}, which is no whole string")
        return b"".join(_from_hex(part) for part in parts[::2])

    def number(self, position: int) -> int:
        """The number at a position."""
        return int(self.arguments[position], 0)


@dataclass(frozen=True)
class Event:
    """A call begins, or has ended."""

    call: Call
    ended: bool


def recording(log: Path) -> tuple[str, ...]:
    """The command, to be put before another, that records what it and all that it starts do to files.

    strace runs beside it and not as its parent, so that signals reach it as ever. It ends when all of them have ended.
    They find no io_uring, through which writes would go unseen.
    """
    options = ["-f", "-qq", "-y", "-xx", "-ttt", "--seccomp-bpf", "--signal=none", "-s", str(_LONGEST_STRING)]
    options += ["-e", f"trace={_CALLS}", "-e", "inject=io_uring_setup:error=ENOSYS"]
    return ("strace", "-DD", *options, "-o", str(log))


def recorder_of(process: int) -> int:
    """The process that records another."""
    status = Path(f"/proc/{process}/status").read_text()
    found = re.search(r"^TracerPid:\t([1-9]\d*)$", status, re.MULTILINE)
    if found is None:
        raise TraceError(f"process {process} is not recorded")
    return int(found[1])


def events(log: Path) -> Iterator[Event]:
    """Beginnings and ends of calls, in the order in which they happened.

    A call that the end of its process cut off has no end, or, where strace had not seen all of it, is left out.
    """
    begun: dict[bytes, Call] = {}
    with log.open("rb") as lines:
        for line in lines:
            thread, clock, what = line.rstrip(b"\n").split(maxsplit=2)
            if what.startswith((b"+++", b"---")) or what.endswith(b"<detached ...>"):
                continue
            if what.startswith(b"<... "):
                call = begun.pop(thread)
            elif what.endswith(b"<unfinished ...>"):
                begun[thread] = call = _call(clock, what.removesuffix(b"<unfinished ...>").rstrip())
                yield Event(call, ended=False)
                continue
            else:
                call = _call(clock, what[: what.rindex(b" = ")].rstrip().removesuffix(b")"))
                yield Event(call, ended=False)
            call.result = _result(what)
            yield Event(call, ended=True)


def _call(clock: bytes, what: bytes) -> Call:
    name, _, arguments = what.partition(b"(")
    return Call(float(clock), name.decode(), tuple(_split(arguments)))


def _split(arguments: bytes) -> Iterator[bytes]:
    """Split at commas outside of lists and structures; in strings there are only hexadecimal digits."""
    depth, parts = 0, []
    for part in arguments.split(b", "):
        parts.append(part)
        depth += part.count(b"[") + part.count(b"{") - part.count(b"]") - part.count(b"}")
        if depth == 0:
            yield b", ".join(parts)
            parts = []


def _result(what: bytes) -> int | None:
    result = what[what.rindex(b" = ") + 3 :].split(maxsplit=1)[0].partition(b"<")[0]
    return int(result, 0) if result[:1].isdigit() else None


def _from_hex(text: bytes) -> bytes:
    return bytes.fromhex(text.replace(b"\\x", b"").decode("ascii"))
