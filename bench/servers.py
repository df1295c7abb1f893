"""The servers that are measured: each a process of its own, with its data in a folder of its own."""

import http.client
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from registry import __version__

_TICK = os.sysconf("SC_CLK_TCK")
_START_SECONDS = 120
_END_SECONDS = 40
# distribution's own config-example.yml, but for authentication, the folder and the address; deletion switched on, as
# it is in Stowage. The levels of logging are the defaults.
_PEER_CONFIG = """version: 0.1
log:
  fields: {{service: registry}}
storage:
  cache: {{blobdescriptor: inmemory}}
  {driver}
  delete: {{enabled: true}}
{more}http:
  addr: 127.0.0.1:{port}
  headers:
    X-Content-Type-Options: [nosniff]
health:
  storagedriver: {{enabled: true, interval: 10s, threshold: 3}}
"""


class MissingPeer(Exception):
    """A program that is to be measured is not installed."""


class ServerFailed(Exception):
    """A server ended, or did not become ready."""


class Server(ABC):
    """A registry on a free port of loopback, with default settings; its log goes to a file.

    Attributes:
        tls: with what clients connect; None for plain HTTP.
        authorization: the field that says who asks, with the CRLF at its end; empty where nobody is asked.
        lacks: what it can't do (`Scenario.needs`).
    """

    name: str
    ready_path = "/v2/"
    tls: ssl.SSLContext | None = None
    authorization = b""
    lacks: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True)

    @classmethod
    @abstractmethod
    def version(cls) -> str:
        """Return which version is measured. Raises MissingPeer."""

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command line. Raises MissingPeer."""

    def environment(self) -> dict[str, str]:
        """Return the environment: nothing that configures a server, but for what distribution's image sets."""
        ours = ("STOWAGE_", "REGISTRY_", "OTEL_", "AWS_")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
        # Without it distribution tries in vain to send traces to a collector on this machine.
        return kept | {"OTEL_TRACES_EXPORTER": "none"}

    def launch(self) -> None:
        """Start it without waiting. Raises MissingPeer."""
        command = self.command()
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment(),
                start_new_session=True,  # so that its process group is it and its workers
            )

    def start(self) -> None:
        """Start it and wait until it is ready. Raises MissingPeer, ServerFailed."""
        self.launch()
        self.wait_for(self._is_ready, every=0.05)

    def wait_for(self, is_so: Callable[[], bool], *, every: float) -> None:
        """Ask `every` so many seconds until it is so. Raises ServerFailed when the server ends or time runs out."""
        assert self._process is not None
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end and self._process.poll() is None:
            if is_so():
                return
            time.sleep(every)
        self.stop()
        text = (self.folder / "log").read_text(errors="replace")
        raise ServerFailed(f"{self.name} did not become ready; the end of its log: {text[-1000:]}")

    def stop(self) -> None:
        """End it."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def cpu_seconds(self) -> float:
        """Return the CPU time, user and system, that its processes used so far, those that ended included."""
        # Fields 14 to 17 of /proc/PID/stat: its own, and that of children it waited for (proc_pid_stat(5)).
        return sum(sum(map(int, fields[11:15])) for _, fields in self._processes()) / _TICK

    def peak_mib(self) -> float:
        """Return the greatest resident size so far; of several processes, the sum of each one's greatest."""
        return sum(self.peaks_mib().values())

    def peaks_mib(self) -> dict[int, float]:
        """Return the greatest resident size so far of each process, by its id; that of the first process comes first.

        Pages that processes share count in each.
        """
        assert self._process is not None
        first = str(self._process.pid)
        peaks: dict[int, float] = {}
        for process, _ in sorted(self._processes(), key=lambda one: one[0].name != first):
            for line in (process / "status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    peaks[int(process.name)] = int(line.split()[1]) / 1024
        return peaks

    def _processes(self) -> list[tuple[Path, list[str]]]:
        """Return its processes: the folder in /proc, and the fields of `stat` from the third on."""
        assert self._process is not None
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                fields = (process / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended
            if int(fields[2]) == self._process.pid:
                found.append((process, fields))
        if not found:
            raise ServerFailed(f"{self.name} ended by itself")
        return found

    def _is_ready(self) -> bool:
        return get_status(self.port, self.ready_path, self.tls) == 200


class Stowage(Server):
    """This project, as `stowage serve` runs it."""

    name = "stowage"
    ready_path = "/readyz"

    @classmethod
    def version(cls) -> str:
        """Return the version of this checkout."""
        return __version__

    def command(self) -> list[str]:
        """Return the command line."""
        serve = [sys.executable, "-m", "registry", "serve"]
        return [*serve, "--data", str(self.folder / "data"), "--port", str(self.port)]


class Distribution(Server):
    """CNCF distribution v3 on a folder."""

    name = "distribution"
    program: ClassVar[str] = "distribution"
    more: ClassVar[str] = "  tag: {concurrencylimit: 8}\n"
    """What this version's config-example.yml has beside, under `storage`."""

    @classmethod
    def version(cls) -> str:
        """Return what the program says. Raises MissingPeer."""
        said = subprocess.run([find_program(cls.program), "--version"], capture_output=True, text=True, check=True)
        return said.stdout.split()[-1].removeprefix("v").removesuffix("+unknown")

    def command(self) -> list[str]:
        """Return the command line. Raises MissingPeer."""
        config = self.folder / "config.yml"
        config.write_text(_PEER_CONFIG.format(driver=self.driver(), port=self.port, more=self.more))
        return [find_program(self.program), "serve", str(config)]

    def driver(self) -> str:
        """Return the line of the configuration that says where it stores."""
        return f"filesystem: {{rootdirectory: {self.folder / 'data'}}}"


class DockerRegistry(Distribution):
    """Debian's docker-registry (distribution v2) on a folder."""

    name = "docker-registry"
    program = "docker-registry"
    more = ""
    lacks = frozenset({"pages of tags"})  # 2.8 answers with the whole list, in no order


PEERS: dict[str, type[Server]] = {"distribution": Distribution, "docker-registry": DockerRegistry}


def find_program(name: str) -> str:
    """Return a program's path: installed by `make test` or `make bench`, or on PATH. Raises MissingPeer."""
    tools = Path(os.environ.get("STOWAGE_TOOLS", Path(__file__).parents[1] / ".tools"))
    # Debian puts servers where an ordinary user's PATH does not reach.
    found = shutil.which(name, path=os.pathsep.join([str(tools / "bin"), os.environ.get("PATH", ""), "/usr/sbin"]))
    if found is None:
        raise MissingPeer(f"{name} is missing: `make bench` installs it")
    return found


def get_status(port: int, path: str, tls: ssl.SSLContext | None = None) -> int:
    """GET `path` from a server of this machine on a connection of its own. Return the status, 0 without an answer."""
    if tls is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    else:
        connection = http.client.HTTPSConnection("localhost", port, timeout=5, context=tls)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def free_port() -> int:
    """Return a port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
