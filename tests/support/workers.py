"""The processes of a server, and which of them has a connection: what Linux tells of them."""

import os
import socket
from pathlib import Path


def children(pid: int) -> list[int]:
    """The processes whose parent is `pid`, the oldest first. What has ended and was not waited for is left out."""
    found: list[tuple[int, int]] = []
    for process in Path("/proc").glob("[0-9]*"):
        fields = _stat(process)
        if fields and int(fields[1]) == pid and fields[0] != "Z":
            found.append((int(fields[19]), int(process.name)))  # by the time they were started
    return [child for _, child in sorted(found)]


def alive(pid: int) -> bool:
    """Whether the process exists and has not ended."""
    fields = _stat(Path(f"/proc/{pid}"))
    return bool(fields) and fields[0] != "Z"


def stopped(pid: int) -> bool:
    """Whether the process stands still, with all its threads, since it was told to (SIGSTOP)."""
    return {fields[0] for task in Path(f"/proc/{pid}/task").glob("*") if (fields := _stat(task))} == {"T"}


def group_is_gone(leader: int) -> bool:
    """Whether all processes of a group have ended, with all their threads: these have its sockets until then."""
    for process in Path("/proc").glob("[0-9]*"):
        fields = _stat(process)
        if fields and int(fields[2]) == leader and (fields[0] != "Z" or int(fields[17]) > 1):
            return False
    return True


def worker_of(connection: socket.socket, workers: list[int]) -> int | None:
    """Which of `workers` has accepted this connection on loopback, over IPv4; None if it waits in a queue."""
    inode = _other_end(connection)[9]
    return next((worker for worker in workers if f"socket:[{inode}]" in open_files(worker)), None)


def worker_has_taken(connection: socket.socket) -> bool:
    """Whether a worker has read all that was sent on this connection."""
    unread = int(_other_end(connection)[4].partition(":")[2], 16)
    return unread == 0


def _other_end(connection: socket.socket) -> list[str]:
    """What the system knows of the server's end of a connection on loopback, over IPv4 (proc_net(5))."""
    here, there = connection.getsockname()[1], connection.getpeername()[1]
    for fields in _tcp():
        if [int(fields[at].rpartition(":")[2], 16) for at in (1, 2)] == [there, here]:
            return fields
    raise LookupError(f"there is no connection between the ports {there} and {here}")


def _tcp() -> list[list[str]]:
    return [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]


def listening(pid: int) -> set[str]:
    """The inodes of the listening sockets over IPv4 that a process has open."""
    inodes = {fields[9] for fields in _tcp() if fields[3] == "0A"}
    return {inode for inode in inodes if f"socket:[{inode}]" in open_files(pid)}


def connections(pid: int) -> int:
    """How many established connections over IPv4 a process has accepted; what it opened itself does not count."""
    lines = _tcp()
    ports = {_port(fields) for fields in lines if fields[3] == "0A"}
    inodes = {fields[9] for fields in lines if fields[3] == "01" and _port(fields) in ports}
    return len([file for file in open_files(pid) if file.removeprefix("socket:[").removesuffix("]") in inodes])


def _port(fields: list[str]) -> str:
    return fields[1].rpartition(":")[2]


def open_files(pid: int) -> set[str]:
    """What the descriptors of a process lead to; nothing if it is gone."""
    found = set()
    try:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            try:
                found.add(os.readlink(descriptor))
            except FileNotFoundError:
                pass  # closed meanwhile
    except FileNotFoundError:
        pass
    return found


def _stat(process: Path) -> list[str]:
    """The fields of `stat` from the third on: state, parent and so on (proc_pid_stat(5)); none if it is gone."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
